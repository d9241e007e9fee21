"""PostgreSQL as it is on a bad day: killed, slow, shut to us, or changed by another version of this program."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fakes.stores import postgres_store, proxy
from tailseal.state.grants import Kind, Record
from tailseal.state.postgres import PostgresStore, schema
from tailseal.state.postgres.circuit import Circuit
from tailseal.state.protocol import Mark, StateUnavailable
from tailseal_dev.ports import free_ports
from tailseal_dev.postgres import PASSWORD, PostgresServer

RACER = """
import asyncio, sys, time
from tailseal.state.postgres.connect import Connector
from tailseal.state.postgres import PATIENCE, PostgresStore
from tailseal.state.url import DatabaseURL

async def same(host):
    return (host,)

async def race(url, digests):
    store = PostgresStore(Connector(DatabaseURL.parse(url), "", same), patience=60.0)
    await store.open()
    print("ready", flush=True)
    sys.stdin.readline()
    expires_at = time.time() + 600
    won = await asyncio.gather(*(store.claim([(bytes.fromhex(digest), expires_at)]) for digest in digests))
    print("".join("1" if mine else "0" for mine in won), flush=True)
    await store.aclose()

asyncio.run(race(sys.argv[1], sys.argv[2].split(",")))
"""


def mark(seconds: float = 600.0) -> Mark:
    return os.urandom(32), time.time() + seconds


@asynccontextmanager
async def store_at(url: str) -> AsyncIterator[PostgresStore]:
    store = postgres_store(url)
    yield store
    await store.aclose()


@pytest.fixture
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """One of our own, to be mistreated."""
    with PostgresServer() as own:
        yield own


def test_of_processes_that_race_for_the_same_marks_each_mark_has_one_winner(postgres: PostgresServer) -> None:
    digests = [os.urandom(32).hex()] * 200 + [os.urandom(32).hex() for _ in range(100)]
    command = [sys.executable, "-c", RACER, postgres.url, ",".join(digests)]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
    won = [racer.communicate(timeout=120)[0].strip() for racer in racers]
    assert sum(line[:200].count("1") for line in won) == 1
    assert [sum(line[position] == "1" for line in won) for position in range(200, 300)] == [1] * 100


async def test_what_was_claimed_before_the_server_was_killed_stays_claimed(server: PostgresServer) -> None:
    async with store_at(server.url) as store:
        marks = [mark() for _ in range(200)]
        claims = [asyncio.create_task(store.claim([entry])) for entry in marks]
        await asyncio.wait(claims[:40])
        await asyncio.to_thread(server.kill)
        answers = await asyncio.gather(*claims, return_exceptions=True)
        assert {type(answer) for answer in answers} <= {bool, StateUnavailable}
        with pytest.raises(StateUnavailable):
            await store.claim([mark()])
        await asyncio.to_thread(server.start)
        await asyncio.sleep(0.6)
        again = [await store.claim([entry]) for entry in marks]
        assert not any(now and answer is True for now, answer in zip(again, answers, strict=True))
        assert any(answer is True for answer in answers)


async def test_a_server_that_stalls_costs_a_caller_no_more_than_his_patience(postgres: PostgresServer) -> None:
    now = 0.0
    async with proxy(postgres.port) as way, store_at(postgres.url_at(way.port)) as store:
        assert await store.claim([mark()])
        store._database._patience, store._database._circuit = 0.4, Circuit(lambda: now, 0.5)
        way.flowing.clear()
        answers = await asyncio.gather(*(store.claim([mark()]) for _ in range(50)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {StateUnavailable}
        with pytest.raises(StateUnavailable, match="a moment ago"):
            await store.claim([mark()])
        way.flowing.set()
        store._database._patience, now = 60.0, 0.6
        assert await store.claim([mark()])


async def test_a_wrong_password_is_said_without_saying_it(postgres: PostgresServer) -> None:
    async with store_at(postgres.url.replace(PASSWORD, "canary-wrong-word")) as store:
        with pytest.raises(StateUnavailable) as error:
            await store.claim([mark()])
    assert str(error.value) == "it answered InvalidPasswordError (SQLSTATE 28P01)"
    assert "canary" not in repr(store) + repr(vars(store)) + repr(vars(store._database._connector))


async def test_a_server_that_is_not_there_is_said() -> None:
    async with store_at(f"postgresql://tailseal:x@127.0.0.1:{free_ports(1)[0]}/x?sslmode=disable") as store:
        with pytest.raises(StateUnavailable, match="no connection"):
            await store.claim([mark()])


async def test_a_commit_is_durable_even_where_the_database_would_not_mind(server: PostgresServer) -> None:
    server.sql("ALTER SYSTEM SET synchronous_commit = off")
    server.sql("SELECT pg_reload_conf()")
    async with store_at(server.url) as store:
        shown = await store._database.ask(lambda connection: connection.fetchval("SHOW synchronous_commit"))
    assert shown == "on"


async def test_replicas_that_start_together_make_the_tables_once(server: PostgresServer) -> None:
    stores = [postgres_store(server.url) for _ in range(6)]
    await asyncio.gather(*(store.open() for store in stores))
    assert server.sql("SELECT version FROM tailseal_schema") == str(schema.VERSION)
    await asyncio.gather(*(store.aclose() for store in stores))


async def test_tables_of_the_next_version_are_used_and_those_of_a_later_one_are_not(server: PostgresServer) -> None:
    async with store_at(server.url) as store:
        await store.open()
    server.sql("ALTER TABLE tailseal_once ADD COLUMN newer text")
    server.sql(f"UPDATE tailseal_schema SET version = {schema.VERSION + 1}")
    async with store_at(server.url) as store:
        assert await store.claim([mark()])
    server.sql(f"UPDATE tailseal_schema SET version = {schema.VERSION + 2}")
    async with store_at(server.url) as store:
        with pytest.raises(StateUnavailable, match="update it"):
            await store.claim([mark()])


async def test_tables_of_a_former_version_are_brought_up_with_what_they_hold(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = mark()
    async with store_at(server.url) as store:
        assert await store.claim([claimed])
    newer = (*schema.STEPS, ("ALTER TABLE tailseal_once ADD COLUMN newer text",))
    monkeypatch.setattr(schema, "STEPS", newer)
    monkeypatch.setattr(schema, "VERSION", len(newer))
    async with store_at(server.url) as store:
        assert not await store.claim([claimed])
    assert server.sql("SELECT version FROM tailseal_schema") == str(len(newer))


async def test_a_role_that_may_make_no_tables_works_where_they_are_made(server: PostgresServer) -> None:
    async with store_at(server.url) as store:
        await store.open()
    server.sql("CREATE ROLE worker LOGIN PASSWORD 'w'")
    server.sql("GRANT SELECT ON tailseal_schema TO worker")
    server.sql("GRANT SELECT, INSERT, UPDATE, DELETE ON tailseal_once, tailseal_family, tailseal_record TO worker")
    async with store_at(f"postgresql://worker:w@127.0.0.1:{server.port}/postgres?sslmode=disable") as store:
        assert await store.claim([mark()])
        assert (await store.sweep())["mark"] == 1


async def test_a_role_that_may_make_no_tables_says_so_where_there_are_none(server: PostgresServer) -> None:
    server.sql("CREATE ROLE worker LOGIN PASSWORD 'w'")
    server.sql("REVOKE CREATE ON SCHEMA public FROM public")
    async with store_at(f"postgresql://worker:w@127.0.0.1:{server.port}/postgres?sslmode=disable") as store:
        with pytest.raises(StateUnavailable, match="InsufficientPrivilegeError"):
            await store.claim([mark()])


async def test_replicas_of_two_versions_keep_the_same_login(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = Record(Kind.CODE, os.urandom(32), b"", time.time() + 600)
    later = ("ALTER TABLE tailseal_record ADD COLUMN newer text", "CREATE TABLE tailseal_newer (id integer)")
    async with store_at(server.url) as present, store_at(server.url) as next_one:
        await present.put([code])
        with monkeypatch.context() as patched:
            patched.setattr(schema, "STEPS", (*schema.STEPS, later))
            patched.setattr(schema, "VERSION", schema.VERSION + 1)
            await next_one.open()
        taken = [await store.use(Kind.CODE, code.digest) for store in (next_one, present)]
        assert [one and one.first for one in taken] == [True, False]
        async with store_at(server.url) as started_late:
            again = await started_late.use(Kind.CODE, code.digest)
            assert again
            assert not again.first
            await started_late.put([code])
            await started_late.sweep()


async def test_marks_of_the_first_version_stand_beside_what_came_after(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = mark()
    with monkeypatch.context() as patched:
        patched.setattr(schema, "STEPS", schema.STEPS[:1])
        patched.setattr(schema, "VERSION", 1)
        async with store_at(server.url) as first:
            assert await first.claim([claimed])
            patched.undo()
            async with store_at(server.url) as second:
                await second.put([Record(Kind.CODE, os.urandom(32), b"", time.time() + 600)])
                assert not await second.claim([claimed])
            assert await first.claim([mark()])
            assert not await first.claim([claimed])


async def test_a_question_that_the_database_cannot_read_keeps_nobody_else_from_it(postgres: PostgresServer) -> None:
    async with store_at(postgres.url) as store:
        for owner in ("\x00", "\ud800"):
            with pytest.raises(StateUnavailable):
                await store.families(owner)
        assert await store.claim([mark()])


def test_the_page_says_what_a_role_needs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "state.md").read_text()
    for statement in (statement for step in schema.STEPS for statement in step):
        assert " ".join(statement.split()) in " ".join(page.split())
