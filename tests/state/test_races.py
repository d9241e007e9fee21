"""Two replicas, or two tasks of one process, race for the same code or refresh token: there are never two winners."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fakes.stores import postgres_store
from tailseal.state.grants import Family, Kind, Record, Taken
from tailseal.state.protocol import Store
from tailseal.state.sqlite import FILE, SQLiteStore
from tailseal_dev.postgres import PostgresServer

RACES = int(os.environ.get("TAILSEAL_RACES", "400"))
AT_ONCE = 10


def record(kind: Kind, family: bytes) -> Record:
    return Record(kind, os.urandom(32), b"", time.time() + 600, family)


async def race(pair: tuple[Store, Store], contested: Record) -> Record:
    """What followed for the winner."""
    wanted = [record(Kind.REFRESH, contested.family) for _ in pair]
    taken = await asyncio.gather(
        *(store.use(contested.kind, contested.digest, [entry]) for store, entry in zip(pair, wanted, strict=True))
    )
    first = [won(one, contested) for one in taken]
    assert sum(first) == 1
    kept = [await pair[0].get(Kind.REFRESH, entry.digest) for entry in wanted]
    assert [entry is not None for entry in kept] == first
    return wanted[first.index(True)]


def won(taken: Taken | None, contested: Record) -> bool:
    assert taken is not None
    assert taken.record == contested
    return taken.first


async def chain(pair: tuple[Store, Store], links: int) -> None:
    login = Family(os.urandom(16), "userid:1", "client", b"", b"", time.time() + 600)
    contested = record(Kind.CODE, login.id)
    await pair[0].put([contested], login)
    for _ in range(links):
        contested = await race(pair, contested)
    await pair[1].end(login.id)
    assert await pair[0].use(contested.kind, contested.digest) is None


async def sweeping(store: Store) -> None:
    while True:
        await store.sweep()
        await asyncio.sleep(0.02)


async def run(pair: tuple[Store, Store], links: int) -> None:
    sweepers = [asyncio.create_task(sweeping(store)) for store in pair]
    chains = iter(range(RACES // links))

    async def work() -> None:
        for _ in chains:
            await chain(pair, links)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    assert not any(sweeper.done() for sweeper in sweepers)
    for sweeper in sweepers:
        sweeper.cancel()
    await asyncio.gather(*sweepers, return_exceptions=True)


@asynccontextmanager
async def opened(*stores: Store) -> AsyncIterator[None]:
    yield
    await asyncio.gather(*(store.aclose() for store in stores))


@pytest.mark.parametrize("links", [1, 40], ids=["codes", "refresh tokens"])
async def test_of_two_replicas_one_wins(links: int, postgres: PostgresServer) -> None:
    pair = (postgres_store(postgres.url, patience=60.0), postgres_store(postgres.url, patience=60.0))
    async with opened(*pair):
        await run(pair, links)


@pytest.mark.parametrize("links", [1, 40], ids=["codes", "refresh tokens"])
async def test_of_two_tasks_one_wins(links: int, tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / FILE, clock=time.time)
    async with opened(store):
        await run((store, store), links)
