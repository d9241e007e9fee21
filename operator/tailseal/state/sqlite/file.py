"""Opens the file: one process at a time, durable at each commit, with the tables of this version.

A lock beside the file refuses a second process, as two could not share it safely and people would try.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final

from tailseal.state.protocol import Fault, StateUnavailable

STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE IF NOT EXISTS tailseal_once (mark BLOB PRIMARY KEY, expires_at REAL NOT NULL) WITHOUT ROWID",
        "CREATE INDEX IF NOT EXISTS tailseal_once_expires_at ON tailseal_once (expires_at)",
    ),
    (
        """CREATE TABLE tailseal_family (id BLOB PRIMARY KEY, owner TEXT NOT NULL, client TEXT NOT NULL,
            session BLOB NOT NULL, content BLOB NOT NULL, expires_at REAL NOT NULL,
            ended INTEGER NOT NULL DEFAULT 0)""",
        "CREATE INDEX tailseal_family_expires_at ON tailseal_family (expires_at)",
        "CREATE INDEX tailseal_family_owner ON tailseal_family (owner, expires_at)",
        "CREATE INDEX tailseal_family_session ON tailseal_family (session) WHERE session <> x''",
        "CREATE INDEX tailseal_family_ended ON tailseal_family (id) WHERE ended",
        """CREATE TABLE tailseal_record (kind TEXT NOT NULL, digest BLOB NOT NULL, content BLOB NOT NULL,
            expires_at REAL NOT NULL, family BLOB NOT NULL, owner TEXT NOT NULL, used_at REAL,
            PRIMARY KEY (kind, digest))""",
        "CREATE INDEX tailseal_record_expires_at ON tailseal_record (expires_at)",
        "CREATE INDEX tailseal_record_owner ON tailseal_record (owner, kind, expires_at) WHERE owner <> ''",
        "CREATE INDEX tailseal_record_family ON tailseal_record (family, used_at) WHERE family <> x''",
    ),
)
"""What leads from version N to N + 1, beginning with an empty file; a step only ever adds."""

VERSION: Final = len(STEPS)

_BUSY_SECONDS: Final = 1.0


class InUse(StateUnavailable):
    """Another process has the file; one that is ending lets go of it soon."""


def lock(path: Path) -> int:
    """The lock on the file, held until it is closed; it ends with the process, however that ends.

    Raises:
        InUse: another process has it.
        StateUnavailable: the folder cannot be written.
    """
    try:
        held = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateUnavailable(Fault.UNREACHABLE, f"{path}: {error.strerror}") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        raise InUse(Fault.UNREACHABLE, f"{path}: another process uses it") from None
    return held


def opened(path: Path) -> sqlite3.Connection:
    """The file with its tables, made where it was not there.

    Raises:
        StateUnavailable: it cannot be read or written, or a later version of this program made it.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _prepare(database, path)
        except BaseException:
            database.close()
            raise
    except OSError as error:
        raise StateUnavailable(Fault.UNREACHABLE, f"{path}: {error.strerror}") from None
    except sqlite3.Error as error:
        raise StateUnavailable(Fault.UNREACHABLE, f"{path}: {why(error)}") from None
    return database


def why(error: sqlite3.Error) -> str:
    """What SQLite says of a file or disk that fails it: its own words, and none of what was to be written."""
    return f"{error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    found: int = database.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION + 1:
        raise StateUnavailable(Fault.UNREACHABLE, f"{path}: a later version of this program made it: update")
    if found < VERSION:
        database.execute("BEGIN EXCLUSIVE")
        for step in STEPS[found:]:
            for statement in step:
                database.execute(statement)
        database.execute(f"PRAGMA user_version={VERSION}")
        database.execute("COMMIT")
