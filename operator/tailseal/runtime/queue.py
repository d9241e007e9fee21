"""The keyed work queue, with the semantics of client-go's: many events, one run; never the same key twice at once."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait after a failure: `first` seconds, doubled with each further failure up to `cap`.

    `least` is what the server asked for (Retry-After).
    """

    first: float
    cap: float
    least: float = 0.0

    def delay(self, failures: int, jitter: float) -> float:
        """Seconds after the n-th failure in a row (from 1); jitter in [0, 1) shortens by up to a half."""
        grown = min(self.cap, self.first * 2.0 ** min(failures - 1, 32))
        return max(self.least, grown * (1.0 - jitter / 2.0))


class Queue(Generic[K]):
    """Runs `work` for keys: a queued key is queued once; one that is added while it runs is run once more.

    Args:
        work: looks at one key; returns the seconds after which it wants to look again, or None.
        failed: called with the key and what `work` raised; returns how to back off.
        urgency: keys with a smaller number run before all others that wait; equal ones in the order they came.
        deadline: seconds after which a run is given up (and has failed with a TimeoutError).
        jitter: numbers in [0, 1).
    """

    def __init__(
        self,
        work: Callable[[K], Awaitable[float | None]],
        failed: Callable[[K, Exception], Backoff],
        *,
        urgency: Callable[[K], int] = lambda _key: 0,
        deadline: float = 60.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._work = work
        self._failed = failed
        self._urgency = urgency
        self._deadline = deadline
        self._jitter = jitter
        self._ready: asyncio.PriorityQueue[tuple[int, int, K]] = asyncio.PriorityQueue()
        self._arrivals = itertools.count()
        self._queued: set[K] = set()
        self._running: set[K] = set()
        self._dirty: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}

    def add(self, key: K, *, after: float = 0.0) -> None:
        """Have the key run, now or after some seconds; of several later instants the earliest counts."""
        if after > 0.0:
            self._later(key, after)
        elif key in self._running:
            self._dirty.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.put_nowait((self._urgency(key), next(self._arrivals), key))

    @property
    def depth(self) -> int:
        """Keys that wait for a worker."""
        return len(self._queued)

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits for a worker; keys that wait for their time do not count."""
        return not (self._queued or self._running)

    async def run(self, workers: int = 4) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._serve())
        finally:
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    def _later(self, key: K, after: float) -> None:
        loop = asyncio.get_running_loop()
        known = self._timers.get(key)
        if known is not None:
            if known.when() <= loop.time() + after:
                return
            known.cancel()
        self._timers[key] = loop.call_later(after, self._due, key)

    def _due(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    async def _serve(self) -> None:
        while True:
            _, _, key = await self._ready.get()
            self._queued.discard(key)
            self._running.add(key)
            try:
                await self._run(key)
            finally:
                self._running.discard(key)
                if key in self._dirty:
                    self._dirty.discard(key)
                    self.add(key)

    async def _run(self, key: K) -> None:
        try:
            async with asyncio.timeout(self._deadline):
                again = await self._work(key)
        except Exception as error:  # noqa: BLE001 - whatever it is, the key must be tried again
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            self._later(key, self._failed(key, error).delay(failures, self._jitter()))
            return
        self._failures.pop(key, None)
        if again is not None:
            self._later(key, max(again, 0.001))
