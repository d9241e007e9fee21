"""Keys of foreign issuers, one entry per key source: fetched once for all waiting callers, and never too often."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tailseal.domain.policy.source import KeySource
    from tailseal.tokens.keyset import KeySet

REFETCH_INTERVAL: Final = 30.0
"""Seconds between two fetches of a source that answers, whatever key ids callers name; the longest after failures."""

FIRST_PAUSE: Final = 1.0
"""Seconds after a first failure; doubled with each further one: a moment's trouble must not be an outage of half a
minute, nor a source that stays away be asked without end."""

REFRESH_AFTER: Final = 300.0
"""Seconds after which a set is fetched anew beside its use, so that a key its issuer withdrew stops counting."""

AGE_LIMIT: Final = 86_400.0
"""Seconds for which the last good set may be used while its source cannot be reached."""

LARGEST: Final = 2048
"""Sources kept; the one unused for longest leaves first."""

MOST_WAITING: Final = 128
"""Callers who wait for one source at once: each holds a place, and a slow source may not take them all."""

Fetch = Callable[["KeySource"], Awaitable["KeySet"]]
"""Gets a source's keys through the guarded client; raises `KeysUnavailable`."""


class KeysUnavailable(Exception):  # noqa: N818 - a state of a source, not a fault of ours
    """A source's keys cannot be had now.

    Args:
        reason: a stable word, e.g. `KeysUnreachable`, `KeysMalformed`, `KeysExpired`, `KeysSlow`.
        message: what and where, without content.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(slots=True)
class _Entry:
    """One source; all times are of the monotonic clock."""

    keys: KeySet | None = None
    fetched_at: float = float("-inf")
    tried_at: float = float("-inf")
    used_at: float = float("-inf")
    failure: KeysUnavailable | None = None
    failures: int = 0
    pending: asyncio.Task[None] | None = None
    waiting: int = 0


class KeyCache:
    """Sets of keys by source, for a synchronous reader and an asynchronous loader.

    The exchange core asks `get`; where that gives None it lets its shell `await load` and asks again, once.

    Args:
        fetch: gets a source's keys.
        clock: Unix seconds, for the expiry of keys that stand in a policy.
        monotonic: seconds since whenever, for all intervals: a wall clock that is put right would stretch them.
        count: called with True or False after each fetch.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        count: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._fetch, self._clock, self._monotonic, self._count = fetch, clock, monotonic, count
        self._entries: dict[KeySource, _Entry] = {}

    def get(self, source: KeySource, kid: str | None) -> KeySet | None:
        """The set to verify with, or None if `load` should be awaited first.

        A set without the key id is given while its source was asked, and answered, less than the interval ago: then
        the key is unknown, and no caller can make us ask again.
        """
        entry, now = self._entries.get(source), self._monotonic()
        if entry is None or entry.keys is None or not self._usable(source, entry):
            return None
        entry.used_at = now
        rested = _rested(source, entry, now)
        if kid is not None and kid not in entry.keys and (rested or entry.pending is not None):
            return None  # just when an issuer rotates, all its callers come with the new key at once
        if rested and now - entry.fetched_at > REFRESH_AFTER:
            self._start(source, entry, now)
        return entry.keys

    async def load(self, source: KeySource, kid: str | None) -> None:
        """Fetch the source's keys if that could help; callers at the same time share one fetch.

        Afterwards `get` gives a set for the same source and key id.

        Raises:
            KeysUnavailable: there is no usable set, neither new nor within the age limit; or too many wait for it.
        """
        entry, now = self._entry(source), self._monotonic()
        if entry.pending is None and _rested(source, entry, now) and self.get(source, kid) is None:
            self._start(source, entry, now)
        if entry.pending is not None:
            await _wait(source, entry, entry.pending)
        if entry.keys is None or not self._usable(source, entry):
            raise entry.failure or KeysUnavailable("KeysExpired", f"the keys for {source.issuer} have expired")

    def _entry(self, source: KeySource) -> _Entry:
        if source not in self._entries and len(self._entries) >= LARGEST:
            del self._entries[min(self._entries, key=lambda known: self._entries[known].used_at)]
        return self._entries.setdefault(source, _Entry())

    def _start(self, source: KeySource, entry: _Entry, now: float) -> None:
        if entry.pending is None:
            entry.tried_at = now
            entry.pending = asyncio.get_running_loop().create_task(self._refresh(source, entry))

    async def _refresh(self, source: KeySource, entry: _Entry) -> None:
        try:
            entry.keys = await self._fetch(source)
            entry.fetched_at, entry.failure, entry.failures = self._monotonic(), None, 0
        except KeysUnavailable as failure:
            entry.failure = failure
        except Exception as error:  # noqa: BLE001 - whatever a source does to us, it is that source's outage
            entry.failure = KeysUnavailable("InternalFault", f"{type(error).__name__} for keys of {source.issuer}")
        finally:
            entry.pending = None
            entry.failures += entry.failure is not None
            self._count(entry.failure is None)

    def _usable(self, source: KeySource, entry: _Entry) -> bool:
        if source.kind == "jwks":
            return source.expires_at is None or self._clock() < source.expires_at
        return self._monotonic() - entry.fetched_at <= AGE_LIMIT


async def _wait(source: KeySource, entry: _Entry, fetch: asyncio.Task[None]) -> None:
    if entry.waiting >= MOST_WAITING:
        raise KeysUnavailable("KeysSlow", f"{MOST_WAITING} callers already wait for the keys of {source.issuer}")
    entry.waiting += 1
    try:
        await asyncio.shield(fetch)
    finally:
        entry.waiting -= 1


def _rested(source: KeySource, entry: _Entry, now: float) -> bool:
    if source.kind == "jwks" and entry.keys is not None:
        return False  # written into the policy: asking again cannot bring anything new
    return now - entry.tried_at >= _pause(entry.failures)


def _pause(failures: int) -> float:
    """Seconds between two tries, after so many failures in a row."""
    doublings = min(failures - 1, 10)
    return min(FIRST_PAUSE * 2.0**doublings, REFETCH_INTERVAL) if failures else REFETCH_INTERVAL
