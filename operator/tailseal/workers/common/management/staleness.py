"""Knows whether a replica may be behind: what it was told is wanted, when it last heard, when it must stop granting.

A replica that cannot know whether trust was withdrawn must not grant for ever. Keys and metadata are not affected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

from tailseal.domain.poll import Question
from tailseal.workers.common.bundle.snapshot import Snapshot


class Withheld(StrEnum):
    """Why nothing is granted, whatever is asked: 503 `temporarily_unavailable`."""

    NO_BUNDLE = "BundleMissing"
    BEHIND = "ReplicaBehind"
    UNHEARD = "OperatorUnheard"


class Staleness:
    """What the operator's polls say about this replica.

    Args:
        clock: Unix seconds.
        expected: False where no operator polls (`tailseal serve`): then only a missing bundle withholds.
    """

    def __init__(self, clock: Callable[[], float], *, expected: bool = True) -> None:
        self._clock, self._expected = clock, expected
        self._started_at = clock()
        self._asked_at = float("-inf")
        self._wanted: Mapping[str, str] = {}
        self._behind_since: float | None = None
        self.heard_at: float | None = None

    def hear(self, question: Question, snapshot: Snapshot) -> None:
        """Take note of a genuine question; one older than the last (replayed, or overtaken) changes nothing."""
        if question.time < self._asked_at:
            return
        self._asked_at, self._wanted = question.time, question.wanted
        self.heard_at = self._clock()
        self.compare(snapshot)

    def compare(self, snapshot: Snapshot) -> None:
        """Take note of whether the snapshot is the wanted one."""
        if any(snapshot.applied.get(volume) != digest for volume, digest in self._wanted.items()):
            self._behind_since = self._clock() if self._behind_since is None else self._behind_since
        else:
            self._behind_since = None

    def behind(self) -> float:
        """For how many seconds this replica has known that it is behind."""
        return 0.0 if self._behind_since is None else max(0.0, self._clock() - self._behind_since)

    def withheld(self, snapshot: Snapshot | None) -> Withheld | None:
        """Why nothing may be granted now, or None."""
        if snapshot is None:
            return Withheld.NO_BUNDLE
        if not self._expected:
            return None
        limits = snapshot.settings.staleness
        if self.behind() > limits.behind:
            return Withheld.BEHIND
        if self._clock() - (self.heard_at or self._started_at) > limits.unheard:
            return Withheld.UNHEARD
        return None
