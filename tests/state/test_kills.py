"""Whatever dies at whatever moment: what was answered is kept, and nothing is won twice."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fakes.answered import Told, check, nothing
from fakes.stores import postgres_store
from tailseal.state.grants import Family, Kind, Record
from tailseal.state.protocol import StateUnavailable, Store
from tailseal.state.sqlite import FILE, SQLiteStore
from tailseal_dev.postgres import PostgresServer

KILLS = int(os.environ.get("TAILSEAL_KILLS", "8"))

REDEEMS_UNTIL_KILLED = """
import asyncio, os, pathlib, sys, time
from tailseal.state.grants import Family, Kind, Record
from tailseal.state.sqlite import SQLiteStore

def say(word, digest):
    os.write(1, f"{word} {digest.hex()}\\n".encode())

async def log_in(store):
    while True:
        login = Family(os.urandom(16), "o", "c", b"", b"", 1e12)
        code, token = (Record(kind, os.urandom(32), b"", 1e12, login.id) for kind in (Kind.CODE, Kind.REFRESH))
        await store.put([code], login)
        say("code", code.digest)
        taken = await store.use(Kind.CODE, code.digest, [token])
        assert taken.first
        say("won", code.digest)
        say("refresh", token.digest)
        following = Record(Kind.REFRESH, os.urandom(32), b"", 1e12, login.id)
        taken = await store.use(Kind.REFRESH, token.digest, [following])
        assert taken.first
        say("rotated", token.digest)
        say("refresh", following.digest)

async def run():
    store = SQLiteStore(pathlib.Path(sys.argv[1]), clock=time.time)
    await asyncio.gather(*(log_in(store) for _ in range(8)))

asyncio.run(run())
"""


def told_until_killed(file: Path, lines: int) -> Told:
    """What a process was answered before it was killed."""
    process = subprocess.Popen([sys.executable, "-c", REDEEMS_UNTIL_KILLED, str(file)], stdout=subprocess.PIPE)
    assert process.stdout
    told = [process.stdout.readline() for _ in range(lines)]
    time.sleep(random.random() * 0.02)
    process.kill()
    told += process.communicate()[0].splitlines(keepends=True)
    found = nothing()
    for word, digest in (line.decode().split() for line in told if line.endswith(b"\n")):
        found[word].add(bytes.fromhex(digest))
    return found


async def test_a_process_that_is_killed_while_it_redeems_loses_nothing(tmp_path: Path) -> None:
    for _ in range(KILLS):
        told = await asyncio.to_thread(told_until_killed, tmp_path / FILE, random.randrange(1, 400))
        store = SQLiteStore(tmp_path / FILE, clock=time.time)
        await check(store, told)
        await store.aclose()


@dataclass
class Load:
    """Logins at a store, one after the other, whatever comes of them; and what was answered."""

    store: Store
    told: Told = field(default_factory=nothing)
    refused: int = 0

    async def run(self) -> None:
        while True:
            try:
                await self.log_in()
            except StateUnavailable:
                self.refused += 1
                await asyncio.sleep(0.02)

    async def log_in(self) -> None:
        login = Family(os.urandom(16), "o", "c", b"", b"", 1e12)
        code = Record(Kind.CODE, os.urandom(32), b"", 1e12, login.id)
        await self.store.put([code], login)
        self.told["code"].add(code.digest)
        current = code
        for used in ("won", "rotated", "rotated"):
            following = Record(Kind.REFRESH, os.urandom(32), b"", 1e12, login.id)
            taken = await self.store.use(current.kind, current.digest, [following])
            assert taken is not None
            assert taken.first
            self.told[used].add(current.digest)
            self.told["refresh"].add(following.digest)
            current = following


@pytest.mark.parametrize("stop", [PostgresServer.kill, PostgresServer.stop_immediately], ids=["kill -9", "immediate"])
async def test_a_database_that_dies_under_load_loses_nothing_and_comes_back(
    stop: Callable[[PostgresServer], None], postgres: PostgresServer
) -> None:
    with PostgresServer() as server:
        stores = [postgres_store(server.url) for _ in range(2)]
        loads = [Load(store) for store in stores for _ in range(8)]
        tasks = [asyncio.create_task(load.run()) for load in loads]
        for _ in range(max(1, KILLS // 4)):
            await until(lambda: sum(len(load.told["rotated"]) for load in loads) > 50)
            await asyncio.to_thread(stop, server)
            refused = [load.refused for load in loads]
            await until(lambda before=refused: all(load.refused > was for load, was in zip(loads, before, strict=True)))
            await asyncio.to_thread(server.start)
            seen = sum(len(load.told["rotated"]) for load in loads)
            await until(lambda before=seen: sum(len(load.told["rotated"]) for load in loads) > before)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not [task for task in tasks if not task.cancelled()]
        fresh = postgres_store(server.url, patience=60.0)
        for load in loads:
            await check(fresh, load.told)
        await asyncio.gather(*(store.aclose() for store in (*stores, fresh)))


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(180):
        while not met():  # noqa: ASYNC110 - what others do, and tell nobody
            await asyncio.sleep(0.01)
