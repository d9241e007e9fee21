"""One thread that writes: what was asked while it wrote becomes one commit, and is answered after that."""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from tailseal.state.protocol import Fault, StateUnavailable
from tailseal.state.sqlite import file

WAITING: Final = 10_000
"""Questions that are not answered yet; more are turned away at once."""

_GROUP: Final = 256

T = TypeVar("T")


@dataclass(slots=True)
class Tables:
    """The open file as a question sees it, in a transaction that ends with it.

    Args:
        database: the connection.
        held: how much of everything there is; put back along with what a question wrote, where that is undone.
    """

    database: sqlite3.Connection
    held: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Job:
    question: Callable[[Tables], Any]
    future: asyncio.Future[Any]


class Engine:
    """Answers questions about a file; each is done wholly or not at all.

    Args:
        path: of the file; its folder must be there.
        count: how much the file holds.

    Raises:
        StateUnavailable: the file cannot be used, or another process uses it.
    """

    def __init__(self, path: Path, count: Callable[[sqlite3.Connection], dict[str, int]]) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = file.lock(path)
        try:
            database = file.opened(path)
            self._tables = Tables(database, count(database))
        except sqlite3.Error as error:
            os.close(self._lock)
            raise StateUnavailable(Fault.UNREACHABLE, f"{path}: {file.why(error)}") from None
        except BaseException:
            os.close(self._lock)
            raise
        self._thread = threading.Thread(target=self._work, name="state", daemon=True)
        self._thread.start()

    @property
    def held(self) -> dict[str, int]:
        """How much of everything there is, as of a moment ago."""
        return dict(self._tables.held)

    async def ask(self, question: Callable[[Tables], T]) -> T:
        """The answer to a question, once what it wrote is on the disk.

        Args:
            question: asked in the writing thread; what it wrote is undone if it raises, or answers False.

        Raises:
            StateUnavailable: too many wait, the store is closed, or the disk failed.
        """
        if self._jobs.qsize() >= WAITING or not self._thread.is_alive():
            raise StateUnavailable(Fault.UNREACHABLE, "too many wait for it, or it is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(question, future))
        return await future

    async def aclose(self) -> None:
        """Answer who is waiting, then let go of the file."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
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
        self._tables.database.close()
        os.close(self._lock)

    def _commit(self, group: list[_Job]) -> None:
        database, held = self._tables.database, self._tables.held.copy()
        answers: list[Any]
        try:
            database.execute("BEGIN IMMEDIATE")
            answers = [self._try(job.question) for job in group]
            database.execute("COMMIT")
        except sqlite3.Error as error:
            self._tables.held = held
            with suppress(sqlite3.Error):
                database.execute("ROLLBACK")
            answers = [StateUnavailable(Fault.UNREACHABLE, f"the file: {file.why(error)}") for _ in group]
        for loop in {job.future.get_loop() for job in group}:
            mine = [(job.future, answer) for job, answer in zip(group, answers, strict=True)]
            with suppress(RuntimeError):  # nobody waits any more where the loop is closed
                loop.call_soon_threadsafe(_answer, [entry for entry in mine if entry[0].get_loop() is loop])

    def _try(self, question: Callable[[Tables], Any]) -> Any:  # noqa: ANN401 - whatever it gives, or why not
        database, held = self._tables.database, self._tables.held.copy()
        database.execute("SAVEPOINT question")
        try:
            answer = question(self._tables)
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - one bad question must not end the thread that answers all
            answer = error
        if answer is False or isinstance(answer, Exception):
            self._tables.held = held
            database.execute("ROLLBACK TO question")
        database.execute("RELEASE question")
        return answer


def _answer(answers: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, answer in answers:
        if future.done():
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
