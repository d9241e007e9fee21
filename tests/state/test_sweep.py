"""However much there is to drop, a sweep takes it in small bites, so that nobody who logs in waits for it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from fakes.stores import Clock, Open
from tailseal.state.grants import Family, Kind, Record
from tailseal.state.limits import MARK
from tailseal.state.sqlite import SQLiteStore

BITE, MANY = 1000, 2500
TABLES = ("tailseal_once", "tailseal_record", "tailseal_family")
COUNT = f"SELECT {', '.join(f'(SELECT count(*) FROM {table})' for table in TABLES)}"


def login(number: int, seconds: float) -> Family:
    return Family(number.to_bytes(16), "o", "c", b"", b"", time.time() + seconds)


def records(kind: Kind, number: int, seconds: float, family: bytes = b"") -> list[Record]:
    until = time.time() + seconds
    return [Record(kind, os.urandom(32), b"", until, family) for _ in range(number)]


def watched(store: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:  # noqa: ANN401 - either store
    """How many rows each table has after each question that the store asks."""
    seen: list[tuple[int, ...]] = []
    lite = isinstance(store, SQLiteStore)
    asks = store._engine if lite else store._database
    ask: Callable[..., Any] = asks.ask

    async def counted(question: Callable[..., Any], *patience: float) -> Any:  # noqa: ANN401 - as what is asked
        answer = await ask(question, *patience)
        rows = (
            ask(lambda tables: tables.database.execute(COUNT).fetchone()) if lite else ask(lambda c: c.fetchrow(COUNT))
        )
        seen.append(tuple(await rows))
        return answer

    monkeypatch.setattr(asks, "ask", counted)
    return seen


async def test_a_sweep_drops_no_more_than_a_thousand_rows_of_a_table_at_a_time(
    opened: Open, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, long, stands = opened(), login(0, 3600.0), login(1, 3600.0)
    await store.put(records(Kind.ACCESS, MANY, 3600.0, long.id), long)
    await store.put(records(Kind.ACCESS, 3, 3600.0, stands.id), stands)
    await store.put(records(Kind.SESSION, MANY, 1500.0))
    short = [login(number, 1500.0) for number in range(2, 2 + BITE + 200)]
    await asyncio.gather(*(store.put(records(Kind.REFRESH, 1, 3600.0, each.id), each) for each in short))
    assert await store.claim([(os.urandom(32), time.time() + 1500.0) for _ in range(MANY)])
    await store.end(long.id)
    clock.wait(3000.0)
    seen = watched(store, monkeypatch)
    held = await store.sweep()
    begun = (MANY, 2 * MANY + 3 + len(short), 2 + len(short))
    dropped = [max(was - now for was, now in zip(*each, strict=True)) for each in pairwise((begun, *seen))]
    assert max(dropped) == BITE
    assert seen[-1] == (0, 3, 1)
    assert (held[MARK], held[Kind.ACCESS], held["family"]) == (0, 3, 1)
