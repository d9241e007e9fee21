"""Drops from the file what nobody can ask for any more, a bounded number at a time."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Final

from tailseal.state.grants import Kind
from tailseal.state.limits import FAMILY, LIMITS, MARK, USED
from tailseal.state.sqlite.engine import Tables

_EXPIRED: Final = """
DELETE FROM tailseal_record WHERE rowid IN (SELECT rowid FROM tailseal_record WHERE expires_at <= ? LIMIT ?)
RETURNING kind, family, used_at"""
_FALLEN: Final = """
SELECT id FROM tailseal_family WHERE ended UNION SELECT id FROM tailseal_family WHERE expires_at <= ? LIMIT ?"""
_MEMBERS: Final = """
DELETE FROM tailseal_record WHERE rowid IN (
    SELECT rowid FROM tailseal_record WHERE family = ? AND family <> x'' LIMIT ?
) RETURNING kind"""
_OLDEST: Final = """
DELETE FROM tailseal_record WHERE rowid IN (
    SELECT rowid FROM tailseal_record WHERE family = ? AND family <> x'' AND used_at IS NOT NULL
    ORDER BY used_at DESC LIMIT -1 OFFSET ?
) RETURNING kind"""


def count(database: sqlite3.Connection) -> dict[str, int]:
    """How much of everything the file holds."""
    held = dict.fromkeys(LIMITS, 0)
    held[MARK] = database.execute("SELECT count(*) FROM tailseal_once").fetchone()[0]
    held[FAMILY] = database.execute("SELECT count(*) FROM tailseal_family").fetchone()[0]
    return held | dict(database.execute("SELECT kind, count(*) FROM tailseal_record GROUP BY kind"))


def drop_expired(tables: Tables, now: float, most: int) -> int:
    """Drop records that have expired; how many.

    A family whose code nobody redeemed ends with that: nothing was ever issued from it.
    """
    gone = tables.database.execute(_EXPIRED, (now, most)).fetchall()
    unredeemed = [(family,) for kind, family, used_at in gone if kind == Kind.CODE and used_at is None and family]
    tables.database.executemany("UPDATE tailseal_family SET ended = 1 WHERE id = ?", unredeemed)
    return _dropped(tables, [(kind,) for kind, _, _ in gone])


def drop_fallen(tables: Tables, now: float, most: int) -> int:
    """Drop families that have ended or expired, with their records; how many records and families."""
    dropped = 0
    for (identifier,) in tables.database.execute(_FALLEN, (now, most)).fetchall():
        dropped += _dropped(tables, tables.database.execute(_MEMBERS, (identifier, most - dropped)).fetchall())
        if dropped >= most:
            return dropped
        dropped += tables.database.execute("DELETE FROM tailseal_family WHERE id = ?", (identifier,)).rowcount
        tables.held[FAMILY] -= 1
    return dropped


def drop_oldest(tables: Tables, families: Sequence[bytes]) -> None:
    """Drop the used records of families beyond those that they keep."""
    for family in families:
        _dropped(tables, tables.database.execute(_OLDEST, (family, USED)).fetchall())


def _dropped(tables: Tables, kinds: list[tuple[str]]) -> int:
    for kind, number in Counter(kind for (kind,) in kinds).items():
        tables.held[kind] -= number
    return len(kinds)
