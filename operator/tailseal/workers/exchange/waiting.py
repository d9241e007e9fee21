"""Waits for the keys of a request's sources: some at a time, and in no more than half of all places."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

from tailseal.domain.policy.source import KeySource
from tailseal.tokens.exchange import NeedKeys
from tailseal.tokens.refusals import Outage
from tailseal.workers.common.outbound.keycache import KeyCache, KeysUnavailable

AT_ONCE: Final = 8
"""Key sources of one issuer that a request waits for at the same time, its own first."""


class Places:
    """Where requests wait for keys: slow sources must not take the places of those who need none.

    Args:
        limit: requests in progress.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._taken = limit, 0

    @contextlib.contextmanager
    def place(self) -> Iterator[bool]:
        """A place; False: there is none, as half of all are taken so."""
        free = 2 * self._taken < self._limit
        self._taken += free
        try:
            yield free
        finally:
            self._taken -= free


class Loads:
    """The key sources that one request waits for, each once at most.

    Args:
        keys: loads them.
    """

    def __init__(self, keys: KeyCache) -> None:
        self._keys = keys
        self._tasks: dict[KeySource, asyncio.Task[str]] = {}
        self.missing: dict[KeySource, str] = {}
        """Those whose keys cannot be had, with the reason word."""

    async def wait(self, need: NeedKeys) -> None:
        """Until the keys of one source more are there, or are known to be missing."""
        sources = need.sources[:AT_ONCE]
        for source in sources:
            load = self._tasks.get(source)
            if load is None:
                self._tasks[source] = asyncio.create_task(self._outage(source, need.kid))
            elif load.done():
                self.missing[source] = load.result() or Outage.KEYS_UNREACHABLE
        awaited = [self._tasks[source] for source in sources if source not in self.missing]
        if awaited:
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)

    def cancel(self) -> None:
        """Wait for none of them any more."""
        for task in self._tasks.values():
            task.cancel()

    async def _outage(self, source: KeySource, kid: str | None) -> str:
        """Why the source's keys cannot be had; empty where they are there."""
        try:
            await self._keys.load(source, kid)
        except KeysUnavailable as error:
            return error.reason
        return ""
