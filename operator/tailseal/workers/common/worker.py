"""One worker process: bundle in, endpoints out, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import structlog
from starlette.types import ASGIApp

from tailseal.workers.common.bundle.loader import Loader
from tailseal.workers.common.bundle.problem import Problem
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.bundle.source import Source
from tailseal.workers.common.http.address import Address, UnixAddress
from tailseal.workers.common.http.serving import Listener
from tailseal.workers.common.http.tls import Certificates, TLSError
from tailseal.workers.common.management import endpoints as management
from tailseal.workers.common.management.endpoints import Health
from tailseal.workers.common.management.staleness import Staleness
from tailseal.workers.common.management.status import Status
from tailseal.workers.common.outbound.fetch import KeyFetcher
from tailseal.workers.common.outbound.keycache import KeyCache
from tailseal.workers.common.outbound.signing import RemoteSigning
from tailseal.workers.common.outbound.state import State
from tailseal.workers.common.outbound.upstreams import TailscaleUpstreams
from tailseal.workers.common.runtime import Runtime
from tailseal.workers.common.telemetry.audit import Audit
from tailseal.workers.common.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from tailseal.egress.client import Egress

_CERTIFICATE_PAUSE: Final = 1.0
_EGRESS_REST: Final = 15.0
_PER_KEY_HOST: Final = 8
_PER_UPSTREAM: Final = 32
"""Requests to one host at once: each exchange asks its upstream, and only the platform names those."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker listens.

    Args:
        serving: for callers.
        management: for the node and the operator.
        tls: folder with the serving certificate; None: plain http.
        drain: seconds between becoming unready and closing the serving port.
        tailnet: where what comes over the tailnet comes in, which nothing else may; None: there is none.
        hands_over: whether that is closed at once when told to stop: readiness tells nobody on a tailnet, and who is
            refused tries another.
    """

    serving: Address
    management: Address
    tls: Path | None = None
    drain: float = 0.0
    tailnet: Address | UnixAddress | None = None
    hands_over: bool = False


class Worker:
    """Everything of a worker but its endpoints.

    Args:
        component: `sts`, `idp` or `serve`.
        source: where the bundle comes from.
        clock: Unix seconds.
        pod_uid: who we are to the operator.
        polled: whether an operator is expected to poll us.
        audit: where decisions are written.
        observe: told of each attempt to load a volume, besides the log.
    """

    def __init__(
        self,
        component: str,
        source: Source,
        *,
        clock: Callable[[], float],
        pod_uid: str = "",
        polled: bool = True,
        audit: Audit | None = None,
        observe: Callable[[str, tuple[Problem, ...]], None] | None = None,
    ) -> None:
        self.metrics = Metrics()
        self._clock, self._observe = clock, observe or _log_problems
        self._staleness = Staleness(clock, expected=polled)
        self.loader = Loader(source, clock=clock, observe=self._observed, swapped=self._swapped)
        self.health = Health(lambda: self.loader.snapshot, lambda: self.loader.problems)
        self.status = Status(pod_uid, lambda: self.loader.snapshot, self._staleness, clock)
        self._egress = (_Egress(self._current, _PER_KEY_HOST), _Egress(self._current, _PER_UPSTREAM))
        remote = RemoteSigning()
        self.state = State(self._current, self.metrics)
        self.runtime = Runtime(
            component=component,
            current=self._current,
            withheld=lambda: self._staleness.withheld(self.loader.snapshot),
            keys=KeyCache(
                KeyFetcher(self._egress[0]),
                clock=clock,
                monotonic=monotonic,
                count=lambda ok: self.metrics.fetch(ok=ok),
            ),
            upstreams=TailscaleUpstreams(
                self._egress[1], self.metrics, remote=remote, current=self._current, clock=clock
            ),
            audit=audit or Audit(),
            metrics=self.metrics,
            clock=clock,
            decision_id=lambda: os.urandom(16).hex(),
            once=self.state,
            remote=remote,
        )

    async def egress(self) -> Egress:
        """The guarded client under the present settings."""
        return await self._egress[0]()

    async def run(
        self,
        app: ASGIApp,
        place: Place,
        *,
        stop: asyncio.Event | None = None,
        started: Callable[[Listener, Listener], None] = lambda _s, _m: None,
        beside: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
        over_tailnet: ASGIApp | None = None,
    ) -> None:
        """Serve until told to stop.

        Args:
            app: the endpoints for callers.
            place: where to listen.
            stop: ends it when set; without: SIGTERM or SIGINT do.
            started: told the serving and the management listener once both accept connections.
            beside: what else runs as long.
            over_tailnet: the endpoints for callers who come over the tailnet, where `place` says that there are any.

        Raises:
            OSError: an address cannot be bound.
        """
        with contextlib.ExitStack() as sockets:
            public = [Listener(app, place.serving, refused=self.metrics.refused_head)]
            sockets.callback(public[0].close)
            if place.tailnet is not None and over_tailnet is not None:
                public.append(Listener(over_tailnet, place.tailnet, refused=self.metrics.refused_head))
                sockets.callback(public[1].close)
            private = Listener(self._management(), place.management, refused=self.metrics.refused_head)
            sockets.callback(private.close)
            self.loader.refresh()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(run()) for run in beside]
                await self._run(group, public, private, place, stop or stop_signal(), started)
                for task in tasks:
                    task.cancel()
        await self.state.aclose()
        for egress in self._egress:
            await egress.aclose()

    async def _run(
        self,
        group: asyncio.TaskGroup,
        public: Sequence[Listener],
        private: Listener,
        place: Place,
        stop: asyncio.Event,
        started: Callable[[Listener, Listener], None],
    ) -> None:
        managing = group.create_task(private.run())
        kept = (self.loader.run(), self.runtime.remote.keep(self._current), self.state.keep())
        background = [group.create_task(task) for task in kept]
        certificates = await self._certificates(place.tls, stop)
        if certificates is not None:
            for listener in public:
                if not isinstance(listener.address, UnixAddress):  # whoever hands on through a socket is here already
                    listener.secure(certificates)
            background.append(group.create_task(certificates.run()))
        if not stop.is_set():
            serving = [group.create_task(listener.run()) for listener in public]
            for listener in public:
                await listener.accepting()
            _log.info("listening", serving=[listener.url for listener in public], management=private.url)
            started(public[0], private)
            await stop.wait()
            await self._drain(public, serving, place)
        private.stop()
        await managing
        for task in background:
            task.cancel()

    async def _drain(self, public: Sequence[Listener], serving: Sequence[asyncio.Task[None]], place: Place) -> None:
        """Become unready, wait until nobody sends callers here any more, answer those that are here."""
        self.health.draining = True
        for listener in public:
            listener.wind_down()
        if place.tailnet is not None and place.hands_over:
            public[-1].stop()
        _log.info("draining", seconds=place.drain)
        await asyncio.sleep(place.drain)
        for listener in public:
            listener.stop()
        await asyncio.gather(*serving)

    def _management(self) -> ASGIApp:
        return management.application(self.health, self.metrics, self.status, self._staleness)

    async def _certificates(self, folder: Path | None, stop: asyncio.Event) -> Certificates | None:
        """The serving certificate; where it is not there yet, we wait for it, unready."""
        told = ""
        while folder is not None and not stop.is_set():
            try:
                certificates = Certificates(folder, refused=lambda error: _log.error("certificate", why=str(error)))
            except TLSError as error:
                if told != str(error):
                    _log.error("certificate", why=str(error))
                told = self.health.waiting = str(error)
                await asyncio.sleep(_CERTIFICATE_PAUSE)
            else:
                self.health.waiting = ""
                return certificates
        return None

    def _current(self) -> Snapshot | None:
        return self.loader.snapshot

    def _observed(self, volume: str, problems: tuple[Problem, ...]) -> None:
        self.metrics.load(volume, ok=not problems)
        self._observe(volume, problems)

    def _swapped(self, snapshot: Snapshot) -> None:
        settings, signing = snapshot.settings, snapshot.signing
        self._staleness.compare(snapshot)
        self.metrics.use_provider(f"{settings.namespace}/{settings.name}")
        self.metrics.policies.set(snapshot.policies)
        self.metrics.loaded_at.set(self._clock())
        self.metrics.sign_until.clear()
        for algorithm, kid in signing.model.active.items():
            self.metrics.sign_until.labels(algorithm).set(signing.held[kid].sign_until)


class _Egress:
    """The guarded client under the present settings: made when first needed, made anew when they change."""

    def __init__(self, current: Callable[[], Snapshot | None], per_host: int) -> None:
        self._current, self._per_host = current, per_host
        self._client: Egress | None = None
        self._made_for: tuple[tuple[str, ...], str] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def __call__(self) -> Egress:
        snapshot = self._current()
        wanted = (snapshot.settings.open_hosts, snapshot.settings.extra_ca) if snapshot else ((), "")
        module = await asyncio.to_thread(importlib.import_module, "tailseal.egress.client")
        if self._client is None or wanted != self._made_for:
            if self._client is not None:
                self._let_go(self._client)
            self._client, self._made_for = module.Egress(*wanted, per_host=self._per_host), wanted
        client: Egress = self._client
        return client

    def _let_go(self, client: Egress) -> None:
        """Close a client after its last request is over."""

        async def close() -> None:
            await asyncio.sleep(_EGRESS_REST)
            await client.aclose()

        task = asyncio.get_running_loop().create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        for task in self._closing:
            task.cancel()
        if self._client is not None:
            await self._client.aclose()


def stop_signal() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _log_problems(volume: str, problems: tuple[Problem, ...]) -> None:
    if not problems:
        _log.info("bundle loaded", volume=volume)
    for problem in problems:
        _log.error("bundle problem", volume=volume, reason=problem.reason, why=problem.message)


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end on uvloop."""
    import uvloop  # noqa: PLC0415 - only processes need it, tests of this module do not

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
