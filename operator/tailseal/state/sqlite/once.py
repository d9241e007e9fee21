"""Marks of what counts once, in the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from tailseal.state.limits import MARK, full
from tailseal.state.protocol import Fault, Mark, StateUnavailable
from tailseal.state.sqlite.engine import Tables

_SWEEP: Final = "DELETE FROM tailseal_once WHERE mark IN (SELECT mark FROM tailseal_once WHERE expires_at <= ? LIMIT ?)"


def claim(tables: Tables, marks: Sequence[Mark], now: float, limit: int) -> bool:
    """Take all of the marks; False: one of them was taken.

    Raises:
        StateUnavailable: full, or a mark has expired.
    """
    if tables.held[MARK] + len(marks) > limit:
        raise full(MARK, limit)
    if min(expires_at for _, expires_at in marks) <= now:
        raise StateUnavailable(Fault.CLOCK, "the mark has expired")
    try:
        tables.database.executemany("INSERT INTO tailseal_once VALUES (?, ?)", marks)
    except sqlite3.IntegrityError:
        return False
    tables.held[MARK] += len(marks)
    return True


def drop(tables: Tables, now: float, most: int) -> int:
    """Drop marks that have expired; how many."""
    dropped = tables.database.execute(_SWEEP, (now, most)).rowcount
    tables.held[MARK] -= dropped
    return dropped
