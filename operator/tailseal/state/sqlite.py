"""The store of a single process: a file, one thread that writes, many claims in one commit.

A lock on the file refuses a second process, as two could not share it safely and people would try.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tailseal.state.protocol import CAPACITY, Fault, Mark, StateUnavailable

WAITING: Final = 10_000
"""Questions that are not answered yet; more are turned away at once."""

_GROUP: Final = 256
_BATCH: Final = 1000
_BUSY_SECONDS: Final = 1.0
_VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS tailseal_once (mark BLOB PRIMARY KEY, expires_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tailseal_once_expires_at ON tailseal_once (expires_at);
"""

_SWEEP: Final = "DELETE FROM tailseal_once WHERE mark IN (SELECT mark FROM tailseal_once WHERE expires_at <= ? LIMIT ?)"

Question = Callable[[sqlite3.Connection], Any]


@dataclass(frozen=True, slots=True)
class _Job:
    question: Question
    future: asyncio.Future[Any]


class SQLiteStore:
    """Marks in a file.

    Args:
        path: of the file; its folder must be there.
        clock: Unix seconds.
        capacity: marks at most.

    Raises:
        StateUnavailable: the file cannot be used, or another process uses it.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float], capacity: int = CAPACITY) -> None:
        self._clock, self._capacity = clock, capacity
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = _lock(path)
        try:
            self._database = _opened(path)
            self._held: int = self._database.execute("SELECT count(*) FROM tailseal_once").fetchone()[0]
        except sqlite3.Error as error:
            os.close(self._lock)
            raise StateUnavailable(Fault.UNREACHABLE, f"{path}: {type(error).__name__}") from None
        self._thread = threading.Thread(target=self._work, name="state", daemon=True)
        self._thread.start()

    async def claim(self, marks: Sequence[Mark]) -> bool:
        """See `protocol.Once`."""
        claimed: bool = await self._ask(lambda database: self._claim(database, marks))
        return claimed

    async def sweep(self) -> int:
        """See `protocol.Store`."""
        while await self._ask(self._drop) == _BATCH:
            pass
        return self._held

    async def aclose(self) -> None:
        """See `protocol.Store`."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    async def _ask(self, question: Question) -> Any:  # noqa: ANN401 - whatever the question gives
        if self._jobs.qsize() >= WAITING or not self._thread.is_alive():
            raise StateUnavailable(Fault.UNREACHABLE, "too many wait for it, or it is closed")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(question, future))
        return await future

    def _claim(self, database: sqlite3.Connection, marks: Sequence[Mark]) -> bool:
        if self._held + len(marks) > self._capacity:
            raise StateUnavailable(Fault.FULL, f"it holds {self._held} marks, and {self._capacity} is the limit")
        if min(expires_at for _, expires_at in marks) <= self._clock():
            raise StateUnavailable(Fault.CLOCK, "the mark has expired")
        try:
            database.executemany("INSERT INTO tailseal_once VALUES (?, ?)", marks)
        except sqlite3.IntegrityError:
            return False
        self._held += len(marks)
        return True

    def _drop(self, database: sqlite3.Connection) -> int:
        dropped = database.execute(_SWEEP, (self._clock(), _BATCH)).rowcount
        self._held -= dropped
        return dropped

    def _work(self) -> None:
        """Answer until told to stop: what came in the meantime is one commit, and answered after it."""
        while (first := self._jobs.get()) is not None:
            group, stop = [first], False
            with suppress(queue.Empty):
                while len(group) < _GROUP and not stop:
                    job = self._jobs.get_nowait()
                    stop = job is None
                    group += [job] if job is not None else []
            self._commit(group)
            if stop:
                break
        self._database.close()
        os.close(self._lock)

    def _commit(self, group: list[_Job]) -> None:
        held = self._held
        try:
            self._database.execute("BEGIN IMMEDIATE")
            answers = [self._try(job.question) for job in group]
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            self._held = held
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            answers = [StateUnavailable(Fault.UNREACHABLE, f"the file: {type(error).__name__}")] * len(group)
        for loop in {job.future.get_loop() for job in group}:
            mine = [(job.future, answer) for job, answer in zip(group, answers, strict=True)]
            with suppress(RuntimeError):  # nobody waits any more where the loop is closed
                loop.call_soon_threadsafe(_answer, [entry for entry in mine if entry[0].get_loop() is loop])

    def _try(self, question: Question) -> Any:  # noqa: ANN401 - whatever the question gives, or why not
        self._database.execute("SAVEPOINT question")
        try:
            answer = question(self._database)
        except StateUnavailable as error:
            answer = error
        if answer is False or isinstance(answer, StateUnavailable):
            self._database.execute("ROLLBACK TO question")
        self._database.execute("RELEASE question")
        return answer


def _answer(answers: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, answer in answers:
        if future.done():
            continue
        if isinstance(answer, StateUnavailable):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def _lock(path: Path) -> int:
    """The lock on the file, held until it is closed; it ends with the process, however that ends."""
    try:
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateUnavailable(Fault.UNREACHABLE, f"{path}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise StateUnavailable(Fault.UNREACHABLE, f"{path}: another process uses it") from None
    return lock


def _opened(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    if database.execute("PRAGMA user_version").fetchone()[0] > _VERSION + 1:
        database.close()
        raise StateUnavailable(Fault.UNREACHABLE, f"{path}: a later version of this program made it: update")
    database.executescript(_SCHEMA)
    database.execute(f"PRAGMA user_version={_VERSION}")
    return database
