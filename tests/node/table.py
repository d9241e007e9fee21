"""What was done on the real node, what was expected and what was seen: one table, printed when all is over."""

from __future__ import annotations

import os
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Final

import pytest

FULL: Final = bool(os.environ.get("TAILSEAL_NODE_FULL"))
"""Whether everything is measured at its full length, as `make e2e` does; else so that it ends soon."""

_HEAD: Final = ("step", "expected", "seen", "seconds")
_WIDEST: Final = 200
_SECONDS: Final = re.compile(r"([\d.]+) s")


@dataclass(frozen=True, slots=True)
class _Row:
    step: str
    expected: str
    seen: str
    seconds: str

    @property
    def cells(self) -> tuple[str, ...]:
        seen = self.seen if len(self.seen) <= _WIDEST else f"{self.seen[:_WIDEST]}…"
        return (self.step, self.expected, seen, self.seconds)


_NEW: list[_Row] = []
_ROWS: list[_Row] = []
_NAME: Final = "seen on the real node"


def measured(step: str, seen: str, expected: str = "", seconds: float | None = None) -> None:
    """A row of the table; where only seconds were seen, they are its last column."""
    alone = _SECONDS.fullmatch(seen)
    if seconds is None and alone is not None:
        _NEW.append(_Row(step, expected, "so it is", alone[1]))
        return
    _NEW.append(_Row(step, expected, seen, "" if seconds is None else f"{seconds:.1f}"))


def tell(report: pytest.TestReport) -> None:
    """Have a test's report take along what is new, as it may go to another process that prints."""
    report.user_properties += [(_NAME, astuple(row)) for row in _NEW]
    _NEW.clear()


def hear(report: pytest.TestReport) -> None:
    """Keep what a report has brought."""
    _ROWS.extend(_Row(*row) for name, row in report.user_properties if name == _NAME)


def render() -> Iterator[str]:
    """The table as Markdown, aligned."""
    if not _ROWS:
        return
    rows = [_HEAD, *(row.cells for row in _ROWS)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    yield "on the real node:"
    for number, row in enumerate(rows):
        yield f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        if number == 0:
            yield f"| {' | '.join('-' * width for width in widths)} |"


def quantiles(seconds: Sequence[float]) -> str:
    """Median and 99th percentile as text."""
    ordered = sorted(seconds)
    worst = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    return f"p50 {statistics.median(ordered):.2f} s, p99 {worst:.2f} s ({len(ordered)} changes)"
