"""The folder is followed from its first reading on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.worker import until
from tailseal.workers.common.http.address import Address
from tailseal.workers.embedded import process
from tailseal.workers.embedded.process import Embedded, Options
from tailseal.workers.embedded.state import State


async def test_no_change_is_lost_between_the_first_reading_and_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    async def awatch(*_: object, **__: object) -> AsyncIterator[None]:
        steps.append("watched")
        await asyncio.Event().wait()
        yield

    def turn(_: Embedded) -> float:
        steps.append("read")
        return 3600.0

    monkeypatch.setattr(process, "awatch", awatch)
    monkeypatch.setattr(Embedded, "turn", turn)
    options = Options(tmp_path, tmp_path / "state", None, Address("127.0.0.1", 0))
    made = Embedded(options, lambda *_: None, State(options.state))
    following = asyncio.create_task(made._follow())
    await until(lambda: len(steps) > 1)
    following.cancel()
    await asyncio.wait({following})
    await made.worker.state.aclose()
    made.state.close()
    assert steps == ["watched", "read"]
