"""The operator without its event source: what it knows, what it queues, and which controller does the work."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import structlog

from tailseal.api import meta
from tailseal.api.reasons import Reason
from tailseal.cluster import kinds
from tailseal.cluster.kube import KubeCluster
from tailseal.cluster.port import Kind, Object
from tailseal.publish.outside import Internet
from tailseal.reconcile.context import Context, Done, Key, OperatorSettings
from tailseal.runtime import health, retry, routing
from tailseal.runtime.clock import SystemClock, SystemEntropy
from tailseal.runtime.election import Heartbeat
from tailseal.runtime.metrics import OperatorMetrics
from tailseal.runtime.probe import Probe
from tailseal.runtime.queue import Backoff, Queue
from tailseal.runtime.reach import PodAddress, PodProxy
from tailseal.runtime.recorder import EventRecorder
from tailseal.runtime.resync import Feed, Source
from tailseal.runtime.settings import Settings
from tailseal.runtime.store import Store
from tailseal.runtime.territory import Territory

Reconcile = Callable[[Context, str, str], Awaitable[Done]]

CONTROLLERS: Final = {
    routing.SIGNING_KEY: "tailseal.reconcile.signingkey.controller",
    routing.IDENTITY_PROVIDER: "tailseal.reconcile.identityprovider.controller",
    routing.TRUST_POLICY: "tailseal.reconcile.trustpolicy",
    routing.OAUTH_CLIENT: "tailseal.reconcile.oauthclient.controller",
    routing.BUNDLE: "tailseal.reconcile.bundle.controller",
    routing.PROPAGATION: "tailseal.reconcile.propagation",
    routing.PUBLISH: "tailseal.reconcile.publish.controller",
}
"""Module of each controller; its function is `reconcile`."""

_OURS: Final = ((meta.MANAGED_BY, meta.MANAGER),)
_ALLOWED: Final = ((meta.ALLOW_LABEL, "true"),)
_GRACE: Final = 5.0
_FIRST_LOOK: Final = 30.0

log = structlog.get_logger("tailseal.operator")


def load_controllers() -> dict[str, Reconcile]:
    """The reconcile function of every controller in the table."""
    return {name: importlib.import_module(module).reconcile for name, module in CONTROLLERS.items()}


def streams(
    namespaces: Sequence[str],
    providers: Sequence[str] = (),
    clients: Sequence[str] = (),
    *,
    reads_namespaces: bool = False,
) -> tuple[tuple[Source, ...], ...]:
    """Everything to watch, in groups that one event source each can follow.

    Kopf joins the selectors of a kind by *and*, so a kind that is watched by two labels needs two event sources; and it
    watches all kinds of one source in the same namespaces.

    Args:
        namespaces: of policies and clients; none means all.
        providers: where keys and providers are, and all that they own; none means in `namespaces`.
        clients: where clients have Secrets besides.
        reads_namespaces: whether to watch namespaces themselves, which goes with all of them only.
    """
    tenants: list[tuple[Kind, tuple[tuple[str, str], ...]]] = [
        (kind, ()) for kind in kinds.CUSTOM if kind not in kinds.PLATFORM
    ]
    if reads_namespaces and not namespaces:
        tenants.append((kinds.NAMESPACE, ()))
    ours = [*((kind, ()) for kind in kinds.PLATFORM), *((kind, _OURS) for kind in (*kinds.OWNED, kinds.POD))]
    allowed = [(kinds.SECRET, _ALLOWED)]
    if not providers:
        return _sources(tenants + ours, namespaces), _sources(allowed, namespaces)
    where = dict.fromkeys((*namespaces, *providers)) if namespaces else ()
    groups = [_sources(tenants, tuple(where)), _sources(ours, providers), _sources(allowed, (*providers, *clients))]
    if clients:
        groups.append(_sources([(kinds.SECRET, _OURS)], clients))
    return tuple(groups)


def _sources(
    watched: Sequence[tuple[Kind, tuple[tuple[str, str], ...]]], namespaces: Sequence[str]
) -> tuple[Source, ...]:
    return tuple(Source(kind, namespace, labels) for kind, labels in watched for namespace in namespaces or ("",))


class Operator:
    """Store, queue, feed, probe and controllers on one cluster.

    Args:
        cluster: the connected adapter.
        settings: of the process.
        policy: what reconcilers see of it.
        controllers: reconcile functions by name.
        metrics: where to count.
    """

    def __init__(
        self,
        cluster: KubeCluster,
        settings: Settings,
        policy: OperatorSettings,
        controllers: Mapping[str, Reconcile],
        metrics: OperatorMetrics,
    ) -> None:
        clock = SystemClock()
        self._cluster = cluster
        self._settings = settings
        self._policy = policy
        self._controllers = controllers
        self._clock = clock
        self.metrics = metrics
        self.heartbeat = Heartbeat()
        reads_namespaces = settings.reads_namespaces and not settings.namespaces
        self.store = Store(self._changed, reads_namespaces=reads_namespaces, lacking=self._list_again)
        self.queue: Queue[Key] = Queue(self._work, self._failed, urgency=_urgency)
        self.streams = streams(
            settings.namespaces,
            settings.provider_namespaces,
            settings.client_namespaces,
            reads_namespaces=reads_namespaces,
        )
        self.feed = Feed(
            cluster,
            self.store,
            [source for group in self.streams for source in group],
            time=asyncio.get_running_loop().time,
            missed=self.metrics.missed.inc,
            timing=settings.timing,
        )
        self._reach = PodAddress()
        ask = PodProxy(cluster).ask if settings.pod_proxy else self._reach.ask
        self.probe = Probe(self.store, ask, self._news, now=clock.now, observe=self._polled)
        self.recorder = EventRecorder(cluster, settings.identity, clock.now, dropped=self.metrics.events_dropped.inc)
        self._territory = Territory(
            cluster, self.store, settings.provider_namespaces, asyncio.get_running_loop().time, self._left, self._all
        )
        self._outside = Internet(policy.open_hosts, policy.extra_ca)
        self._context: Context | None = None
        self.standby = settings.leader_elect

    async def prime(self) -> None:
        """See everything, then queue everything.

        Raises:
            ClusterError: something cannot be listed.
        """
        await self.feed.prime()
        policy = replace(self._policy, fast_propagation=await self._may_stamp())
        self._context = Context(
            cluster=self._cluster,
            objects=self.store,
            replicas=self.probe,
            clock=self._clock,
            entropy=SystemEntropy(),
            recorder=self.recorder,
            enqueue=self.queue.add,
            settings=policy,
            outside=self._outside,
        )
        for key in sorted(routing.everything(self.store)):
            if _urgency(key) == 0:
                self.queue.add(key)

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[asyncio.Task[None]]:
        """Reconcile, resync and post events while inside; the task that is given ends only if one of them fails."""
        tasks = asyncio.create_task(self._tasks())
        try:
            yield tasks
        finally:
            tasks.cancel()
            await asyncio.gather(tasks, return_exceptions=True)
            await self.probe.close()
            await self._outside.aclose()
            await self.recorder.flush(_GRACE)

    def checks(self) -> health.Checks:
        """What the health server asks."""
        return health.Checks(sick=self._sick, unready=self._unready, metrics=self._expose)

    async def _tasks(self) -> None:
        async with self._reach, asyncio.TaskGroup() as group:
            group.create_task(self.queue.run(self._settings.workers))
            group.create_task(self.feed.run())
            group.create_task(self.recorder.run())
            group.create_task(self._judge_policies())

    async def _judge_policies(self) -> None:
        """Look at policies when all else has been looked at once: before, nobody remembers what is served of them."""
        deadline = asyncio.get_running_loop().time() + _FIRST_LOOK
        while not self.queue.idle and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - rare
            await asyncio.sleep(0.02)
        for key in sorted(routing.everything(self.store)):
            if _urgency(key) > 0:
                self.queue.add(key)

    async def _work(self, key: Key) -> float | None:
        context = self._context
        if context is None:
            return 1.0
        turn = await self._territory.turn(key)
        if not turn.ours:
            return turn.after
        loop = asyncio.get_running_loop()
        started = loop.time()
        done = await self._controllers[key.controller](context, key.namespace, key.name)
        self.metrics.reconciles.labels(key.controller, "ok").inc()
        self.metrics.duration.labels(key.controller).observe(loop.time() - started)
        return done.after

    async def _left(self, obj: Object, text: str) -> None:
        await self.recorder.event(obj, warning=True, reason=Reason.NAMESPACE_CLAIMED, message=text)

    def _all(self) -> None:
        for key in sorted(routing.everything(self.store)):
            self.queue.add(key)

    def _failed(self, key: Key, error: Exception) -> Backoff:
        found = retry.treatment(error)
        self.metrics.reconciles.labels(key.controller, found.result).inc()
        log.log(
            found.level,
            "reconcile failed",
            controller=key.controller,
            namespace=key.namespace,
            name=key.name,
            error=retry.describe(error),
        )
        return found.backoff

    def _changed(self, before: Object | None, after: Object | None) -> None:
        obj = after or before
        if obj is not None and obj["kind"] == kinds.POD.kind:
            self.probe.changed(before, after)
        if self.store.primed:
            for key in sorted(routing.wakes(before, after, self.store)):
                self.queue.add(key)

    def _news(self, namespace: str, provider: str) -> None:
        for key in sorted(routing.reported(namespace, provider, self.store)):
            self.queue.add(key)

    def _list_again(self) -> None:
        self.feed.relisted()

    def _polled(self, outcome: str) -> None:
        self.metrics.polls.labels(outcome).inc()

    async def _may_stamp(self) -> bool:
        """Whether we may annotate pods anywhere: asked by dry run in each namespace that has a provider."""
        if not self._policy.fast_propagation:
            return False
        namespaces = {obj["metadata"]["namespace"] for obj in self.store.select(kinds.IDENTITY_PROVIDER)}
        namespaces.update(self._settings.provider_namespaces or self._settings.namespaces)
        answers = [await self._cluster.may_patch(kinds.POD, namespace) for namespace in sorted(namespaces)]
        return any(answers) or not answers

    def _sick(self) -> str:
        return "" if self.standby else self.feed.dead()

    def _unready(self) -> str:
        return "" if self.standby or self.store.primed else "not everything has been listed yet"

    def _expose(self) -> bytes:
        self.metrics.depth.set(self.queue.depth)
        self.metrics.leading.set(0 if self.standby else 1)
        for kind in (*kinds.CUSTOM, *kinds.OWNED, kinds.POD):
            self.metrics.objects.labels(kind.kind).set(self.store.count(kind))
        return self.metrics.expose()


def _urgency(key: Key) -> int:
    """What withdraws trust and moves keys goes before the thousands of policies whose status waits to be looked at."""
    return 1 if key.controller in {routing.TRUST_POLICY, routing.OAUTH_CLIENT} else 0
