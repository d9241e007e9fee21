"""Token buckets by key, one number each: pure, of bounded memory, whoever comes up with however many keys."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

_ROUNDING: Final = 1e-6
"""Seconds; who waited as long as he was told is let in."""


class Limiter:
    """Lets in `burst` at once and `rate` a second, for each key by itself.

    It is the generic cell rate algorithm (ITU-T I.371): of each key only the instant is kept at which its bucket will
    be full again. The key that came least recently leaves first, with its bucket as if full.

    Args:
        rate: a second.
        burst: at once, at least 1.
        most: keys kept.
    """

    __slots__ = ("_full_at", "_most", "_pause", "_slack")

    def __init__(self, rate: float, burst: int, most: int) -> None:
        self._pause = 1 / rate
        self._slack = (burst - 1) / rate
        self._most = most
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable, now: float) -> float:
        """Draw one; 0.0: done; else the seconds after which it can be, and nothing was drawn.

        Args:
            key: whose bucket.
            now: seconds of a clock that never goes back.
        """
        full_at = self._full_at
        known = full_at.get(key)
        begin = now if known is None or known < now else known
        wait = begin - now - self._slack
        if wait <= _ROUNDING:
            full_at[key], wait = begin + self._pause, 0.0
        full_at.move_to_end(key)
        if len(full_at) > self._most:
            full_at.popitem(last=False)
        return wait

    def give_back(self, key: Hashable, now: float) -> None:
        """Undo one `take`; a key whose bucket is full is forgotten."""
        known = self._full_at.get(key)
        if known is None:
            return
        if known - self._pause <= now + _ROUNDING:
            del self._full_at[key]
        else:
            self._full_at[key] = known - self._pause
