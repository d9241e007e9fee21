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
        burst: at once, at least 1; what costs more is never let in.
        most: keys kept.
    """

    __slots__ = ("_depth", "_full_at", "_most", "_pause")

    def __init__(self, rate: float, burst: int, most: int) -> None:
        self._pause = 1 / rate
        self._depth = burst / rate
        self._most = most
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable, now: float, cost: float = 1) -> float:
        """Draw; 0.0: done; else the seconds after which it can be, and nothing was drawn.

        Args:
            key: whose bucket.
            now: seconds of a clock that never goes back.
            cost: how much.
        """
        full_at = self._full_at
        known = full_at.get(key)
        begin = now if known is None or known < now else known
        full = begin + cost * self._pause
        wait = full - now - self._depth
        if wait <= _ROUNDING:
            full_at[key], wait = full, 0.0
        elif known is None:
            return wait
        full_at.move_to_end(key)
        if len(full_at) > self._most:
            full_at.popitem(last=False)
        return wait

    def is_open(self, key: Hashable, now: float) -> bool:
        """Whether anything is left to draw."""
        return self._full_at.get(key, now) - now < self._depth

    def charge(self, key: Hashable, now: float, cost: float) -> None:
        """Draw what was used already, be it more than was left."""
        self._full_at[key] = max(self._full_at.get(key, now), now) + cost * self._pause
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)

    def give_back(self, key: Hashable, now: float, cost: float = 1) -> None:
        """Undo a `take`; a key whose bucket is full is forgotten."""
        known = self._full_at.get(key)
        if known is None:
            return
        former = known - cost * self._pause
        if former <= now + _ROUNDING:
            del self._full_at[key]
        else:
            self._full_at[key] = former
