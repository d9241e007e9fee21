"""What a login costs in each store: a code put, redeemed once, and its refresh token rotated twice are four commits."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from tailseal.state.grants import Family, Kind, Record
from tailseal.state.postgres import PostgresStore
from tailseal.state.postgres.connect import Connector
from tailseal.state.protocol import Store
from tailseal.state.sqlite import FILE, SQLiteStore
from tailseal.state.url import DatabaseURL
from tailseal_dev.bench.report import Row
from tailseal_dev.postgres import PostgresServer, programs

FLOWS = 1500
"""Logins in a round, of either store; of the yardstick, which waits for the disk each time, a tenth."""

AT_ONCE = 64
WRITES = 4

Spent = tuple[float, float]
"""Seconds of a flow: those that passed, and those of our CPU."""


def rows(rounds: int, _tailseal: Path, *, flows: int = FLOWS) -> Iterator[Row]:
    """Beside SQLite with a commit for each write, as one would do it at first; PostgreSQL on the same disk."""
    with tempfile.TemporaryDirectory(prefix="tailseal-bench-") as folder:
        raw, ours = [], []
        for number in range(rounds):
            place = Path(folder, str(number))
            place.mkdir()
            raw.append(_raw(place / "raw.db", max(10, flows // 10)))
            ours.append(asyncio.run(_measured(partial(SQLiteStore, place / FILE, clock=time.time), flows)))
    yardstick = _median(raw)
    yield Row("login in raw SQLite, a commit a write (its yardstick)", _figures(yardstick))
    yield _row("SQLite", _median(ours), yardstick)
    if programs() is None:
        yield Row("login in PostgreSQL", "not measured: no PostgreSQL is installed")
        return
    with PostgresServer() as server:
        shared = [asyncio.run(_measured(partial(_postgres, server.url), flows // 3)) for _ in range(rounds)]
    yield _row("PostgreSQL", _median(shared), yardstick)


def _row(name: str, spent: Spent, yardstick: Spent) -> Row:
    title = f"login in {name}, {AT_ONCE} at once: how many for one of raw SQLite"
    return Row(title, _figures(spent), yardstick[0] / spent[0])


def _figures(spent: Spent) -> str:
    return f"{1 / spent[0]:,.0f} flows/s, {1 / spent[1]:,.0f} per CPU second of the worker"


def _median(spent: Sequence[Spent]) -> Spent:
    return median(passed for passed, _ in spent), median(cpu for _, cpu in spent)


def _raw(path: Path, flows: int) -> Spent:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE record (digest BLOB PRIMARY KEY, content BLOB, used INTEGER)")
    passed, cpu = time.perf_counter(), time.process_time()
    for _ in range(flows * WRITES):
        database.execute("INSERT INTO record VALUES (?, ?, 0)", (os.urandom(32), bytes(80)))
    database.close()
    return (time.perf_counter() - passed) / flows, (time.process_time() - cpu) / flows


async def _measured(opened: Callable[[], Store], flows: int) -> Spent:
    store = opened()
    await _flow(store)
    left = iter(range(flows))

    async def work() -> None:
        for _ in left:
            await _flow(store)

    passed, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    spent = (time.perf_counter() - passed) / flows, (time.process_time() - cpu) / flows
    await store.aclose()
    return spent


async def _flow(store: Store) -> None:
    login = Family(os.urandom(16), "userid:1", "client", os.urandom(32), bytes(300), time.time() + 600)
    current = _record(Kind.CODE, login)
    await store.put([current], login)
    for _ in range(WRITES - 1):
        following = _record(Kind.REFRESH, login)
        taken = await store.use(current.kind, current.digest, [following])
        if taken is None or not taken.first:
            raise RuntimeError("a first use was not told so: the figures mean nothing")
        current = following


def _record(kind: Kind, login: Family) -> Record:
    return Record(kind, os.urandom(32), bytes(80), time.time() + 600, login.id)


def _postgres(url: str) -> Store:
    async def same(host: str) -> Sequence[str]:
        return (host,)

    resolve: Callable[[str], Awaitable[Sequence[str]]] = same
    return PostgresStore(Connector(DatabaseURL.parse(url), "", resolve), patience=60.0)
