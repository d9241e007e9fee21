"""How far a replica's clock is off ours, said so coarsely that a drifting clock does not tick in anybody's status."""

from __future__ import annotations

from typing import Final

from tailseal.domain.evidence import Report

_STEPS: Final = (10, 30, 60, 120, 300, 600, 1800, 3600, 6 * 3600, 24 * 3600)
_UNITS: Final = ((24 * 3600, "d"), (3600, "h"), (60, "m"), (1, "s"))


def offset(report: Report) -> float:
    """Seconds by which the replica's clock is at least ahead of ours (negative: behind): the way takes time, too."""
    if report.clock > report.heard_at:
        return report.clock - report.heard_at
    return min(0.0, report.clock - report.sent_at)


def coarse(seconds: float) -> int:
    """The largest of a few steps that is not beyond it, with its sign; 0 for a clock that is right."""
    step = max((step for step in _STEPS if step <= abs(seconds)), default=0)
    return -step if seconds < 0 else step


def text(seconds: int) -> str:
    """A step in words, such as `2m`."""
    size, unit = next((size, unit) for size, unit in _UNITS if abs(seconds) % size == 0 and abs(seconds) >= size)
    return f"{abs(seconds) // size}{unit}"
