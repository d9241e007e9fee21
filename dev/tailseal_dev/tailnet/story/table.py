"""What was expected of each step, what was seen, and how long it took: printed as it happens, and kept."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TextIO

from tailseal_dev.tailnet.headscale import TailnetError

PATIENCE: Final = 120.0
"""Seconds within which news must have spread: on an idle machine it takes a tenth of one."""

_WIDTHS: Final = (59, 53, 53)
_HEADER: Final = ("step", "expected", "seen", "seconds")


@dataclass(frozen=True, slots=True)
class Row:
    """One step.

    Args:
        step: what was done.
        expected: what should come of it.
        seen: what did.
        seconds: until it was seen.
        holds: whether it is as it must be.
        left_out: whether it was not tried.
    """

    step: str
    expected: str
    seen: str
    seconds: float
    holds: bool
    left_out: bool = False


class Table:
    """Rows so far.

    Args:
        out: where to print; None: standard output.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self.rows: list[Row] = []
        self._out = out or sys.stdout
        self._started = time.monotonic()
        self._print(_line(*_HEADER))
        self._print("-|-".join("-" * width for width in (*_WIDTHS, 7)))

    @property
    def holds(self) -> bool:
        """Whether all rows do that were tried."""
        return bool(self._tried) and all(row.holds for row in self._tried)

    @property
    def _tried(self) -> list[Row]:
        return [row for row in self.rows if not row.left_out]

    def once(self, step: str, expected: str, ask: Callable[[], str], *, since: float | None = None) -> None:
        """A step that must be right at once, such as that nobody is taken for somebody else.

        Args:
            step: what is done.
            expected: what should come of it.
            ask: does it, and says what was seen.
            since: when it began by the monotonic clock; None: now.
        """
        began = time.monotonic() if since is None else since
        self._add(step, expected, _seen(ask), began)

    def soon(self, step: str, expected: str, ask: Callable[[], str]) -> None:
        """A step that is asked about until it is as expected."""
        began = time.monotonic()
        while (seen := _seen(ask)) != expected and time.monotonic() - began < PATIENCE:
            time.sleep(0.02)
        self._add(step, expected, seen, began)

    def left_out(self, step: str, why: str) -> None:
        """A step that cannot be shown here; says why, fails nothing, and counts for nothing."""
        self.rows.append(Row(step, why, "left out", 0.0, holds=False, left_out=True))
        self._print(_line(step, why, "left out", "") + "   <- left out")

    def end(self) -> None:
        """The sum of it."""
        tried, good = len(self._tried), sum(row.holds for row in self._tried)
        left = f", {len(self.rows) - tried} left out" if len(self.rows) > tried else ""
        self._print(f"\n{good} of {tried} as expected{left}, {time.monotonic() - self._started:.0f} s in all")

    def _add(self, step: str, expected: str, seen: str, began: float) -> None:
        row = Row(step, expected, seen, time.monotonic() - began, seen == expected)
        self.rows.append(row)
        mark = "" if row.holds else "   <- not as expected"
        self._print(_line(step, expected, seen, f"{row.seconds:7.2f}") + mark)

    def _print(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def _seen(ask: Callable[[], str]) -> str:
    """The answer, or why there is none that could be read."""
    try:
        return ask()
    except (LookupError, ValueError, StopIteration, TailnetError) as error:
        return f"{type(error).__name__}: {error}"


def _line(step: str, expected: str, seen: str, seconds: str) -> str:
    cells = (f"{text:{width}}" for text, width in zip((step, expected, seen), _WIDTHS, strict=True))
    return " | ".join((*cells, seconds)).rstrip()
