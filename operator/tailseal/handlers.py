"""The only place that knows kopf, which here is an event source and nothing else.

Kopf writes nothing: no annotations, no finalizers, no events of its own. Its storages are null objects, because with
the usual ones whoever may edit an object can make its later events vanish by spoiling one annotation.
"""

from __future__ import annotations

import asyncio
import functools
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import aiohttp
import kopf

from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.hangup import hang_up
from tailseal.cluster.kube import KubeCluster
from tailseal.cluster.port import Kind, Object
from tailseal.cluster.transport import Credentials
from tailseal.runtime.resync import Feed, Source

See = Callable[[str | None, Object], None]
"""Takes in an event: its type, and the object."""

_LARGE = (kinds.SECRET, kinds.CONFIG_MAP)
"""Kinds whose objects can have a megabyte each."""

_IDENTITY: Any = "tailseal-operator"
"""Kopf would ask for the user's name, and an image's user has none. It is for peering only, which is off."""


class EventSource:
    """One kopf operator in a thread of its own, whose events are handed to the feed in the main loop.

    At its end kopf cancels every task of its loop that it does not know, so it gets a loop to itself; and while it
    takes in a long list, the main loop goes on.
    """

    def __init__(self, feed: Feed, cluster: KubeCluster, group: Sequence[Source]) -> None:
        self.stop = threading.Event()
        self.ended: Future[None] = Future()
        loop = asyncio.get_running_loop()

        def see(change: str | None, obj: Object) -> None:
            loop.call_soon_threadsafe(feed.see, change, obj)

        def listed() -> None:
            loop.call_soon_threadsafe(feed.relisted)

        registry, settings = _registry(see, listed, cluster, group), _kopf_settings(group)
        namespaces = sorted({source.namespace for source in group} - {""})
        operator = functools.partial(self._operate, registry, settings, namespaces)
        threading.Thread(target=self._run, args=(operator,), name="kopf", daemon=True).start()

    def _run(self, operator: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            asyncio.run(operator())
        except BaseException as error:  # noqa: BLE001 - the main loop is told, whatever it was
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)

    async def _operate(
        self, registry: kopf.OperatorRegistry, settings: kopf.OperatorSettings, namespaces: Sequence[str]
    ) -> None:
        try:
            await kopf.operator(
                registry=registry,
                settings=settings,
                standalone=True,
                clusterwide=not namespaces,
                namespaces=namespaces,
                stop_flag=self.stop,
                identity=_IDENTITY,
            )
        finally:
            await hang_up()


def _registry(
    see: See, listed: Callable[[], None], cluster: KubeCluster, group: Iterable[Source]
) -> kopf.OperatorRegistry:
    """An explicit registry: a login, and one event handler for each kind."""
    registry = kopf.OperatorRegistry()

    async def login(**_: Any) -> kopf.AiohttpSession:  # noqa: ANN401 - kopf's arguments
        return _session(await cluster.credentials(), listed)

    kopf.on.login(registry=registry, errors=kopf.ErrorsMode.PERMANENT)(login)
    for kind in {source.kind for source in group}:
        kopf.on.event(group=kind.group, version=kind.version, plural=kind.plural, registry=registry)(
            _handler(see, kind)
        )
    return registry


def _session(found: Credentials, listed: Callable[[], None]) -> kopf.AiohttpSession:
    """Kopf's HTTP session, which also tells of every page that kopf lists.

    Kopf itself hands on the objects of a list, but not that there was one: of an empty list we should never hear,
    and that is what is left when the last policy goes while a watch is down.
    """
    info = kopf.ConnectionInfo(
        server=found.server,
        ca_path=found.ca_path,
        insecure=found.insecure,
        token=found.token,
        certificate_path=found.certificate_path,
        private_key_path=found.private_key_path,
    )

    async def ended(_session: Any, _context: Any, params: aiohttp.TraceRequestEndParams) -> None:  # noqa: ANN401
        if "limit" in params.url.query and "watch" not in params.url.query:
            listed()

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(ended)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers=info.as_http_headers(),
        proxy=found.proxy,
        trace_configs=[trace],
    )
    return kopf.AiohttpSession(aiohttp_session=session, server=found.server)


def _handler(see: See, kind: Kind) -> Callable[..., Awaitable[None]]:
    async def on_event(event: Mapping[str, Any], **_: Any) -> None:  # noqa: ANN401 - kopf's arguments
        see(event["type"], {"apiVersion": kind.api_version, "kind": kind.kind} | dict(event["object"]))

    return on_event


def _kopf_settings(group: Iterable[Source]) -> kopf.OperatorSettings:
    """All of kopf's settings, in one place; each line has its reason."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # events are the recorder's
    settings.scanning.disabled = True  # no rights on CRDs and namespaces needed
    settings.peering.standalone = True  # two peers pause each other; we have a Lease
    # A list of 100k objects at once takes a gigabyte; so does one of 2,000 Secrets that somebody filled.
    settings.watching.chunk_size = 50 if any(source.kind in _LARGE for source in group) else 500
    settings.watching.reconnect_backoff = 1.0
    settings.watching.inactivity_timeout = 70.0  # bookmarks come every minute
    settings.queueing.idle_timeout = 0.1  # memory: each object's worker lives this long
    settings.queueing.worker_limit = None
    settings.networking.request_timeout = 30.0
    settings.networking.connect_timeout = 10.0
    settings.networking.error_backoffs = _Backoffs()
    settings.persistence.finalizer = f"{meta.GROUP}/unused"  # ours, should kopf ever set one
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = _NoProgress()
    settings.execution.max_workers = 1  # there are no synchronous handlers
    settings.process.ultimate_exiting_timeout = 20.0  # below the pod's grace period
    for source in group:
        if source.selector:
            key = (source.kind.group, source.kind.version, source.kind.plural)
            settings.watching.label_selectors[key] = source.selector
    return settings


class _Backoffs:
    """Jittered pauses that outlast an API server's outage of an hour: a watcher that gives up ends the process."""

    def __iter__(self) -> Iterator[float]:
        for attempt in range(400):
            yield min(10.0, 0.5 * 2.0 ** min(attempt, 5)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


class _NoDiffBase(kopf.DiffBaseStorage):
    """Keeps no copy of objects in their annotations, and reads none that others put there."""

    def build(self, **_: Any) -> Any:  # noqa: ANN401 - kopf's own types
        """Nothing is compared."""
        return {}

    def fetch(self, **_: Any) -> None:  # noqa: ANN401
        """Nothing was kept."""

    def store(self, **_: Any) -> None:  # noqa: ANN401
        """Nothing is kept."""


class _NoProgress(kopf.ProgressStorage):
    """Keeps no progress of handlers in annotations or status."""

    def fetch(self, **_: Any) -> None:  # noqa: ANN401
        """Nothing was kept."""

    def store(self, **_: Any) -> None:  # noqa: ANN401
        """Nothing is kept."""

    def purge(self, **_: Any) -> None:  # noqa: ANN401
        """There is nothing."""

    def touch(self, **_: Any) -> None:  # noqa: ANN401
        """Nothing is written."""

    def clear(self, *, essence: Any) -> Any:  # noqa: ANN401
        """Nothing of ours is in it."""
        return essence
