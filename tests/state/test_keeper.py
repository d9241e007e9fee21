"""The keeper of the store asks the one that settings name, and counts and times each question by its name."""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tailseal.state.grants import Family, Kind, Record
from tailseal.state.protocol import Fault, StateUnavailable
from tailseal.state.sqlite import FILE, SQLiteStore
from tailseal.workers.common.outbound.state import State
from tailseal.workers.common.telemetry.metrics import Metrics

CODE = Record(Kind.CODE, os.urandom(32), b"code", 1e12, bytes(16), "ana")
LOGIN = Family(bytes(16), "ana", "client", bytes(32), b"login", 1e12)


def named(kind: str | None) -> Any:  # noqa: ANN401 - as much of a snapshot as is looked at
    return SimpleNamespace(settings=SimpleNamespace(state=kind), credentials={})


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def state(metrics: Metrics, tmp_path: Path) -> AsyncIterator[State]:
    keeper = State(lambda: named("SQLite"), metrics)
    keeper.local = SQLiteStore(tmp_path / FILE, clock=time.time)
    yield keeper
    await keeper.aclose()


def counted(metrics: Metrics) -> set[tuple[str, str]]:
    pattern = r'duration_seconds_count\{operation="(\w+)",result="(\w+)"\}'
    return set(re.findall(pattern, metrics.render().decode()))


async def test_every_question_is_passed_on_and_counted(state: State, metrics: Metrics) -> None:
    await state.put([CODE], LOGIN)
    assert await state.get(Kind.CODE, CODE.digest) == CODE
    assert await state.owned(Kind.CODE, "ana", 1) == [CODE]
    changed = replace(CODE, content=b"changed")
    assert await state.replace(CODE, changed)
    assert await state.family(LOGIN.id) == LOGIN
    assert await state.families("ana", 1) == [LOGIN]
    assert await state.claim([(bytes(32), 1e12)])
    uses = [await state.use(Kind.CODE, CODE.digest) for _ in range(2)]
    assert [one and one.first for one in uses] == [True, False]
    assert not await state.claim([(bytes(32), 1e12)])
    await state.remove(Kind.CODE, CODE.digest)
    assert await state.end_session(bytes(32)) == [LOGIN]
    await state.end(LOGIN.id)
    names = ("put", "get", "owned", "replace", "family", "families", "claim", "use", "remove", "end_session", "end")
    assert counted(metrics) == {(name, "ok") for name in names} | {("claim", "replayed"), ("use", "replayed")}


@pytest.mark.parametrize("kind", [None, "SQLite"])
async def test_without_a_store_nothing_is_answered(kind: str | None, metrics: Metrics) -> None:
    keeper = State(lambda: named(kind), metrics)
    for question in (keeper.get(Kind.CODE, bytes(32)), keeper.put([CODE]), keeper.use(Kind.CODE, bytes(32))):
        with pytest.raises(StateUnavailable) as error:
            await question
        assert error.value.fault is Fault.NOT_CONFIGURED
    assert counted(metrics) == {(name, "StateNotConfigured") for name in ("get", "put", "use")}


async def test_what_the_store_holds_is_said_by_kind(state: State, metrics: Metrics) -> None:
    await state.put([CODE], LOGIN)
    await state._sweep()
    text = metrics.render().decode()
    assert 'tailseal_state_records{kind="code"} 1.0' in text
    assert 'tailseal_state_records{kind="family"} 1.0' in text
    assert 'tailseal_state_records{kind="mark"} 0.0' in text
