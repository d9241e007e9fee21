"""Lets an upstream that is down rest: for a while nobody waits for it, then one request tries again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tailseal.upstream.errors import UpstreamError, UpstreamReason

FAILURES: Final = 5
"""In a row, after which it rests."""

REST: Final = 5.0
"""Seconds of the first rest; each one doubles."""

LONGEST_REST: Final = 60.0

_Result = TypeVar("_Result")


class Breaker:
    """Of one upstream. Only outages count: what it refuses is an answer, and grants are never kept.

    Args:
        monotonic: seconds of any clock that never goes back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._failures = 0
        self._until = 0.0

    async def run(self, ask: Callable[[], Awaitable[_Result]]) -> _Result:
        """What the upstream gives.

        Raises:
            UpstreamError: what `ask` raises, or `UpstreamResting` where it was not asked.
        """
        now = self._monotonic()
        if now < self._until:
            left = max(1, round(self._until - now))
            raise UpstreamError(UpstreamReason.RESTING, "the upstream was down a moment ago", retry_after=left)
        former = self._until
        if self._failures >= FAILURES:
            self._until = now + REST  # everybody else waits for what becomes of this one
        try:
            result = await ask()
        except UpstreamError as error:
            self._note(error, former)
            raise
        self._failures, self._until = 0, 0.0
        return result

    def _note(self, error: UpstreamError, former: float) -> None:
        if error.outage is None:  # nothing was learned, so the next one tries
            self._until = former
            return
        if not error.outage:
            self._failures, self._until = 0, 0.0
            return
        self._failures += 1
        rest = REST * 2.0 ** min(self._failures - FAILURES, 8) if self._failures >= FAILURES else 0.0
        if rest or error.retry_after:
            self._until = self._monotonic() + min(max(rest, error.retry_after or 0), LONGEST_REST)
