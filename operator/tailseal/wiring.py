"""Puts the operator together: connection, lead, events in, work, and a good end to all of them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from typing import Any

import structlog

from tailseal.api.crd import skew
from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError, Transient
from tailseal.cluster.kube import KubeCluster
from tailseal.cluster.port import Cluster, Ref
from tailseal.handlers import EventSource
from tailseal.machine import Operator, Reconcile, load_controllers
from tailseal.reconcile.context import OperatorSettings
from tailseal.runtime import health
from tailseal.runtime.election import ElectionThread, Elector
from tailseal.runtime.metrics import OperatorMetrics
from tailseal.runtime.settings import Settings

log = structlog.get_logger("tailseal.operator")


class StartError(Exception):
    """The operator cannot start; the text is one line that says what is missing and what would be right."""


async def run(
    settings: Settings,
    policy: OperatorSettings,
    *,
    stop: asyncio.Event | None = None,
    started: Callable[[Operator, int], None] = lambda _operator, _port: None,
    lost: Callable[[], None] = lambda: None,
    controllers: Mapping[str, Reconcile] | None = None,
) -> None:
    """Run the operator until it is told to stop, by a signal or by `stop`.

    Args:
        settings: of the process.
        policy: what reconcilers see of it.
        stop: set it to end the operator in good order.
        started: called with the operator and its health port, before anything is listed.
        lost: called from another thread when the lead is lost: it must end the process.
        controllers: others than the real ones.

    Raises:
        StartError: the CRDs are missing.
        ClusterError: the API server cannot be reached at the start (in a pod we wait for it), or refuses what we need.
        Exception: whatever ended a part that must not end; the process had better start anew.
    """
    stop = stop or asyncio.Event()
    _stop_on_signals(stop)
    async with AsyncExitStack() as stack:
        metrics = OperatorMetrics()
        cluster = await stack.enter_async_context(_connect(settings, metrics))
        if settings.in_pod and not await unless(stop, answered(cluster, settings)):
            return
        await check_kinds(cluster)
        settings = replace(settings, reads_namespaces=not settings.namespaces and await _reads_namespaces(cluster))
        operator = Operator(cluster, settings, policy, controllers or load_controllers(), metrics)
        port = await stack.enter_async_context(
            health.serve(settings.health_host, settings.health_port, operator.checks())
        )
        started(operator, port)
        if not (await _leads(stack, settings, operator, stop, lost) and await unless(stop, operator.prime())):
            return
        for text in await _crds(cluster):
            log.warning(text)
        log.info("primed", objects={kind.plural: operator.store.count(kind) for kind in kinds.CUSTOM})
        working = await stack.enter_async_context(operator.working())
        await _follow(operator, cluster, working, stop)


async def _leads(
    stack: AsyncExitStack, settings: Settings, operator: Operator, stop: asyncio.Event, lost: Callable[[], None]
) -> bool:
    """Wait for the lead, where there is one, and keep it as long as the stack; false: told to end before."""
    if not settings.leader_elect:
        return True
    stack.callback(asyncio.create_task(operator.heartbeat.run()).cancel)
    led = await unless(stop, stack.enter_async_context(_election(settings, operator, lost).leading()))
    operator.standby = not led
    return led


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, object]) -> bool:
    """Whether something was done before we were told to end; if not, it is given up."""
    doing, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({doing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        done = doing.done()
    finally:
        for task in (doing, stopped):
            task.cancel()
        await asyncio.wait({doing, stopped})
    if done:
        await doing
    return done


async def answered(cluster: Cluster, settings: Settings, *, pause: float = 2.0) -> None:
    """Wait, alive, until the API server answers.

    A container that ends instead is started ever more seldom: after ten minutes' outage it is away for up to five more.
    Whoever runs the operator at a terminal is told, and it ends.

    Args:
        cluster: to ask.
        settings: where to say meanwhile that we live.
        pause: seconds from one question to the next.
    """
    why = await _silence(cluster)
    if not why:
        return
    checks = health.Checks(sick=str, unready=lambda: f"waiting for the API server: {why}", metrics=bytes)
    async with health.serve(settings.health_host, settings.health_port, checks):
        told = ""
        while why:
            if why != told:
                log.warning("waiting for the API server", why=why)
            told = why
            await asyncio.sleep(pause)
            why = await _silence(cluster)
    log.info("the API server answers")


async def _silence(cluster: Cluster) -> str:
    """Why the API server cannot be asked; empty where it says anything else, which is said where it is needed."""
    try:
        await cluster.serves(kinds.CUSTOM[0])
    except Transient as error:
        return str(error)
    except ClusterError:
        pass
    return ""


async def check_kinds(cluster: KubeCluster) -> None:
    """See that our kinds are installed.

    Raises:
        StartError: some are not.
    """
    missing = [f"{kind.plural}.{kind.group}" for kind in kinds.CUSTOM if not await cluster.serves(kind)]
    if missing:
        raise StartError(
            f"the API server does not know {', '.join(missing)}: install the CRDs first "
            "(kubectl apply --server-side -k crds)"
        )


async def _reads_namespaces(cluster: KubeCluster) -> bool:
    """Whether bounds can select namespaces: an installation may leave that right out, and a restart notices it."""
    may = await cluster.may_list(kinds.NAMESPACE)
    if not may:
        log.info("namespaces may not be read: bounds cannot select them by labels")
    return may


async def _crds(cluster: KubeCluster) -> list[str]:
    """What is to be said of the CRDs; nothing where the API server does not describe them."""
    try:
        return skew.skew(await cluster.document(skew.OPENAPI_PATH))
    except ClusterError:
        return []


def _stop_on_signals(stop: asyncio.Event) -> None:
    """SIGTERM and SIGINT end the operator in good order; only the main thread may ask for that."""
    with contextlib.suppress(RuntimeError, ValueError, NotImplementedError):
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)


def _connect(settings: Settings, metrics: OperatorMetrics) -> AbstractAsyncContextManager[KubeCluster]:
    def wrote(method: str) -> None:
        metrics.writes.labels(method).inc()

    return KubeCluster(kubeconfig=settings.kubeconfig, context=settings.context, wrote=wrote)


def _election(settings: Settings, operator: Operator, lost: Callable[[], None]) -> ElectionThread:
    lease = Ref(kinds.LEASE, settings.lease_namespace, "tailseal-operator")
    frozen_after = 30.0
    return ElectionThread(
        lambda: _connect(settings, operator.metrics),
        lambda cluster: Elector(
            cluster, lease, settings.identity, frozen=lambda: operator.heartbeat.age > frozen_after
        ),
        lost,
    )


async def _follow(operator: Operator, cluster: KubeCluster, working: asyncio.Task[None], stop: asyncio.Event) -> None:
    """Feed events in until told to stop; a part that ends by itself ends everything."""
    sources = [EventSource(operator.feed, cluster, group) for group in operator.streams]
    ends = [asyncio.wrap_future(source.ended) for source in sources]
    stopped = asyncio.create_task(stop.wait())
    parts: list[asyncio.Future[Any]] = [working, stopped, *ends]
    try:
        await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        for source in sources:
            source.stop.set()
        results = await asyncio.gather(*ends, return_exceptions=True)
    if working.done():
        await working
    for result in results:
        if isinstance(result, BaseException):
            raise result
