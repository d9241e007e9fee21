"""Keeps the store true: lists everything before anything is rendered, and again whenever a watch may have missed some.

The event source delivers changes, but after a re-list of its own it tells of no deletion that happened meanwhile.
So each re-list is followed by one of ours, compared with the store; so is every ten minutes that pass in peace.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError
from tailseal.cluster.port import Cluster, Kind, Object, Ref
from tailseal.runtime.store import Store, version_of


@dataclass(frozen=True, slots=True)
class Source:
    """What is watched: a kind in a namespace (empty: in all), with these labels, as pairs of name and value."""

    kind: Kind
    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def selector(self) -> str:
        """The label selector as the API server wants it."""
        return ",".join(f"{name}={value}" for name, value in self.labels)

    def covers(self, ref: Ref, obj: Mapping[str, Any]) -> bool:
        """Whether the source would show that object."""
        if ref.kind != self.kind or self.namespace not in ("", ref.namespace):
            return False
        labels = obj["metadata"].get("labels", {})
        return set(self.labels) <= set(labels.items())


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: of quiet after a re-list before we list; at most; till once more; between resyncs; till a watch is dead.

    Once more, since another watch may come back later, and what it then has not to show it does not tell of.
    """

    quiet: float = 5.0
    longest: float = 30.0
    again: float = 45.0
    interval: float = 600.0
    retry: float = 5.0
    dead: float = 60.0


class Feed:
    """Takes in what the event source sees, and repairs what it missed.

    Args:
        cluster: where to list.
        store: what to keep true.
        sources: everything that is watched.
        time: monotonic seconds.
        missed: called with the number of deletions that no watch had told of.
        jitter: numbers in [0, 1).
    """

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        sources: Sequence[Source],
        *,
        time: Callable[[], float],
        missed: Callable[[int], None] = lambda _count: None,
        timing: Timing | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._sources = tuple(sources)
        self._time = time
        self._missed = missed
        self._timing = timing or Timing()
        self._jitter = jitter
        self._listed: dict[Source, float] = {}
        self._unheard: dict[Ref, tuple[int, float]] = {}
        self._unwatched: dict[Kind, float] = {}
        self._relisted: float | None = None
        self._relisting_since = 0.0
        self._woken = asyncio.Event()

    async def prime(self) -> None:
        """List everything: when this returns, the store is complete.

        Raises:
            ClusterError: something cannot be listed; the process had better start anew.
        """
        for source in self._sources:
            await self._list(source)
        self._unheard.clear()
        self._store.primed = True
        self._unwatched = {source.kind: self._time() for source in self._sources if self._store.count(source.kind) > 0}

    def see(self, change: str | None, obj: Object) -> None:
        """Take in an event: ADDED, MODIFIED, DELETED, or None for an object that a re-list of the source shows."""
        ref = kinds.ref(obj)
        version = version_of(obj)
        self._unwatched.pop(ref.kind, None)
        if self._unheard.get(ref, (version + 1, 0.0))[0] <= version:
            del self._unheard[ref]
        if change == "DELETED":
            if self._shown_twice(ref, obj):
                self.relisted()
            else:
                self._store.remove(ref, version)
            return
        self._store.put(obj)
        if change is None and self._store.primed:
            self.relisted()

    def _shown_twice(self, ref: Ref, obj: Object) -> bool:
        """Whether another source may go on showing what this one tells the end of: it may only have lost a label."""
        known = self._store.get(ref) or obj
        return any(sum(source.covers(ref, seen) for source in self._sources) > 1 for seen in (known, obj))

    def relisted(self) -> None:
        """The event source listed anew: deletions may be missing, so we shall list soon."""
        now = self._time()
        if self._relisted is None:
            self._relisting_since = now
        self._relisted = now
        self._woken.set()

    async def run(self) -> None:
        """Resync when due, until cancelled."""
        once_more = False
        while True:
            once_more = await self._due(self._timing.again if once_more else self._timing.interval)
            try:
                await self.resync()
            except ClusterError:
                await asyncio.sleep(self._timing.retry * (1.0 + self._jitter()))
                self.relisted()

    async def resync(self) -> None:
        """List everything, take in what is newer, and forget what is gone.

        Raises:
            ClusterError: something could not be listed; the rest was not tried.
        """
        self._relisted = None
        for source in self._sources:
            await self._list(source)

    def dead(self) -> str:
        """Why the store cannot be trusted any more; empty if it can."""
        now = self._time()
        for source, at in self._listed.items():
            if now - at > 3.0 * self._timing.interval:
                return f"{source.kind.plural} were last listed {now - at:.0f} s ago"
        for source, at in self._listed.items():
            # An event source shows all that there is when it begins; in an outage it cannot, but neither can we list.
            since = self._unwatched.get(source.kind, now)
            if now - since > self._timing.dead and at - since > self._timing.dead / 2:
                return f"the watch of {source.kind.plural} never began: nothing was told for {now - since:.0f} s"
        for ref, (_, since) in self._unheard.items():
            if now - since > self._timing.dead:
                return f"the watch of {ref.kind.plural} is silent: a change was not told for {now - since:.0f} s"
        return ""

    async def _due(self, interval: float) -> bool:
        """Wait for the next resync: the interval, or quiet after the source's re-list; whether it was the latter."""
        try:
            async with asyncio.timeout(interval * (0.9 + 0.2 * self._jitter())):
                while True:
                    self._woken.clear()
                    if self._relisted is None:
                        await self._woken.wait()
                        continue
                    now = self._time()
                    quiet = min(self._relisted + self._timing.quiet, self._relisting_since + self._timing.longest)
                    if quiet <= now:
                        return True
                    await asyncio.sleep(quiet - now)
        except TimeoutError:
            return False

    async def _list(self, source: Source) -> None:
        """One LIST of a source; an object that we knew before it and that it does not show is gone."""
        before = self._store.versions(source.kind)
        seen: set[Ref] = set()
        async for obj in self._cluster.list(source.kind, source.namespace, label_selector=source.selector):
            ref = kinds.ref(obj)
            seen.add(ref)
            if self._store.primed and version_of(obj) > before.get(ref, 0):
                self._await_watch(ref, obj)
            self._store.put(obj)
        self._forget(self._gone(source, before, seen))
        self._listed[source] = self._time()

    def _gone(self, source: Source, before: Mapping[Ref, int], seen: set[Ref]) -> Iterable[Ref]:
        for ref, version in before.items():
            obj = self._store.get(ref)
            if ref not in seen and obj is not None and version_of(obj) == version and source.covers(ref, obj):
                yield ref

    def _forget(self, gone: Iterable[Ref]) -> None:
        refs = list(gone)
        for ref in refs:
            self._unheard.pop(ref, None)
            self._store.remove(ref)
        if refs:
            self._missed(len(refs))

    def _await_watch(self, ref: Ref, obj: Object) -> None:
        """The list showed what no watch has told yet: it should within moments."""
        known = self._store.get(ref)
        if known is None or version_of(known) < version_of(obj):
            self._unheard.setdefault(ref, (version_of(obj), self._time()))
