"""The store of one process stays one process's, and outlives it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tailseal.state.grants import Kind, Record
from tailseal.state.protocol import StateUnavailable
from tailseal.state.sqlite import SQLiteStore, file

CLAIMS_UNTIL_KILLED = """
import asyncio, pathlib, sys, time
from tailseal.state.sqlite import SQLiteStore

async def claim():
    store = SQLiteStore(pathlib.Path(sys.argv[1]), clock=time.time)
    number = 0
    while True:
        assert await store.claim([(number.to_bytes(32, "big"), 1e12)])
        print(number, flush=True)
        number += 1

asyncio.run(claim())
"""


async def test_a_second_process_is_refused_the_file(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "state.db", clock=time.time)
    with pytest.raises(StateUnavailable, match="another process uses it"):
        SQLiteStore(tmp_path / "state.db", clock=time.time)
    await store.aclose()
    await SQLiteStore(tmp_path / "state.db", clock=time.time).aclose()


def killed_claimer(file: Path) -> int:
    """The last number that a process claimed before it was killed."""
    command = [sys.executable, "-c", CLAIMS_UNTIL_KILLED, str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    for _ in range(50):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    return int((process.communicate()[0].split() or ["49"])[-1])


async def test_what_was_claimed_before_a_kill_stays_claimed(tmp_path: Path) -> None:
    last = await asyncio.to_thread(killed_claimer, tmp_path / "state.db")
    store = SQLiteStore(tmp_path / "state.db", clock=time.time)
    again = await asyncio.gather(*(store.claim([(number.to_bytes(32, "big"), 1e12)]) for number in range(last + 1)))
    assert not any(again)
    await store.aclose()


async def test_a_closed_store_answers_nobody(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "state.db", clock=time.time)
    await store.aclose()
    with pytest.raises(StateUnavailable):
        await store.claim([(os.urandom(32), 1e12)])


async def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database, and long enough to be looked at" * 40)
    with pytest.raises(StateUnavailable, match="file is not a database"):
        SQLiteStore(tmp_path / "state.db", clock=time.time)


async def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    await SQLiteStore(tmp_path / "state.db", clock=time.time).aclose()
    database = sqlite3.connect(tmp_path / "state.db")
    database.execute("PRAGMA user_version=4")
    database.close()
    with pytest.raises(StateUnavailable, match="later version"):
        SQLiteStore(tmp_path / "state.db", clock=time.time)


async def test_a_file_of_the_first_version_is_brought_up_with_what_it_holds(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "state.db")) as database, database:
        for statement in file.STEPS[0]:
            database.execute(statement)
        database.execute("INSERT INTO tailseal_once VALUES (?, 1e12)", (bytes(32),))
        database.execute("PRAGMA user_version=1")
    store = SQLiteStore(tmp_path / "state.db", clock=time.time)
    assert not await store.claim([(bytes(32), 1e12)])
    await store.put([Record(Kind.CODE, bytes(32), b"", 1e12)])
    await store.aclose()


async def test_a_file_of_the_next_version_is_used_and_stays_of_that_version(tmp_path: Path) -> None:
    await SQLiteStore(tmp_path / "state.db", clock=time.time).aclose()
    with closing(sqlite3.connect(tmp_path / "state.db")) as database:
        database.execute("ALTER TABLE tailseal_record ADD COLUMN newer TEXT")
        database.execute(f"PRAGMA user_version={file.VERSION + 1}")
    store = SQLiteStore(tmp_path / "state.db", clock=time.time)
    await store.put([Record(Kind.CODE, bytes(32), b"", 1e12)])
    await store.aclose()
    with closing(sqlite3.connect(tmp_path / "state.db")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (file.VERSION + 1,)


async def test_a_question_that_fails_fails_for_who_asked_it_alone(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "state.db", clock=time.time)
    answers = await asyncio.gather(
        store.families("\ud800"), store.claim([(bytes(32), 1e12)]), store.families("ana"), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [UnicodeEncodeError, bool, list]
    await store.aclose()


async def test_a_disk_that_is_full_refuses_and_what_it_took_is_kept(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "state.db", clock=time.time)
    kept = Record(Kind.CODE, bytes(32), b"", 1e12)
    await store.put([kept])
    pages = store._engine._tables.database.execute("PRAGMA page_count").fetchone()[0]
    store._engine._tables.database.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StateUnavailable, match="disk is full"):
        await store.put([Record(Kind.CODE, bytes([1]) * 32, bytes(100_000), 1e12)])
    assert await store.get(Kind.CODE, kept.digest) == kept
    assert (await store.sweep())[Kind.CODE] == 1
    await store.aclose()
