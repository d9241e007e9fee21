"""Both stores, behind the same doors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.stores import Clock, Open, postgres_store
from tailseal.state.protocol import Store
from tailseal.state.sqlite import SQLiteStore
from tailseal_dev.postgres import PostgresServer


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def clock(request: pytest.FixtureRequest) -> Clock:
    """The clock of the store that is tested."""
    if request.param == "SQLite":
        return Clock()
    server: PostgresServer = request.getfixturevalue("postgres")
    return Clock(server=server, url=server.timed())


@pytest.fixture
async def opened(clock: Clock, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the store, each time with an empty table the first time."""
    stores: list[Store] = []

    def make(**options: object) -> Store:
        if clock.server is None:
            stores.append(SQLiteStore(tmp_path / f"state-{len(stores)}.db", clock=clock, **options))
        else:
            stores.append(postgres_store(clock.url, **options))
        return stores[-1]

    yield make
    await asyncio.gather(*(store.aclose() for store in stores))
