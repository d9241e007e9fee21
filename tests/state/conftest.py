"""Both stores, behind the same doors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.postgres import PostgresServer
from fakes.stores import Open, postgres_store
from tailseal.state.protocol import Store
from tailseal.state.sqlite import SQLiteStore


@pytest.fixture(params=["SQLite", "PostgreSQL"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the store, each time with an empty table the first time."""
    stores: list[Store] = []
    if request.param == "PostgreSQL":
        server: PostgresServer = request.getfixturevalue("postgres")
        server.sql("DROP TABLE IF EXISTS tailseal_once, tailseal_family, tailseal_record, tailseal_schema")

    def make(**options: object) -> Store:
        if request.param == "SQLite":
            stores.append(SQLiteStore(tmp_path / f"state-{len(stores)}.db", clock=time.time, **options))
        else:
            stores.append(postgres_store(server.url, **options))
        return stores[-1]

    yield make
    await asyncio.gather(*(store.aclose() for store in stores))
