"""Rows of the result, their gates, and the table that people read."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cryptography
import jwt

_HEADER: Final = ("what", "measured", "ratio", "gate", "aim", "")


@dataclass(frozen=True, slots=True)
class Row:
    """One measured thing.

    Args:
        name: what.
        measured: absolute figures, for orientation.
        ratio: what the gate is about; None: only reported.
        gate: `>= 0.12` or `<= 2.2`; empty: only reported.
        aim: likewise, not enforced.
    """

    name: str
    measured: str
    ratio: float | None = None
    gate: str = ""
    aim: str = ""

    @property
    def passed(self) -> bool:
        """Whether the gate is kept; true where there is none."""
        return self.ratio is None or not self.gate or _holds(self.ratio, self.gate)

    def cells(self) -> tuple[str, ...]:
        """The columns of the table."""
        if not self.gate:
            verdict = ""
        elif not self.passed:
            verdict = "FAILED"
        else:
            verdict = "aim" if self.aim and _holds(self.ratio or 0.0, self.aim) else "ok"
        return (
            self.name,
            self.measured,
            "" if self.ratio is None else f"{self.ratio:.3g}",
            self.gate,
            self.aim,
            verdict,
        )


def _holds(value: float, bound: str) -> bool:
    comparison, _, limit = bound.partition(" ")
    return value >= float(limit) if comparison == ">=" else value <= float(limit)


def table(rows: Sequence[Row]) -> str:
    """All rows as a Markdown table, without columns that nothing stands in."""
    cells = [_HEADER, *(row.cells() for row in rows)]
    columns = [column for column in zip(*cells, strict=True) if any(column[1:])]
    lines = list(zip(*columns, strict=True))
    widths = [max(map(len, column)) for column in columns]
    padded = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    padded.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in padded)


def machine() -> str:
    """What it ran on, in one line."""
    return (
        f"Python {platform.python_version()}, cryptography {cryptography.__version__}, PyJWT {jwt.__version__}, "
        f"{os.cpu_count()} cores, {_processor()}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
