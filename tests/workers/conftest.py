"""Fixtures that the tests of whole workers share."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from io import StringIO
from pathlib import Path

import httpx
import pytest

from tailseal.workers.common.telemetry import logs


@pytest.fixture
def audit_file(tmp_path: Path) -> Path:
    path = tmp_path / "audit.log"
    path.touch()
    return path


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as made:
        yield made


@pytest.fixture
def log() -> Iterator[StringIO]:
    """The application log at its most talkative."""
    stream, root = StringIO(), logging.getLogger()
    before = root.level, root.handlers[:]
    logs.configure("debug", stream)
    yield stream
    root.setLevel(before[0])
    root.handlers[:] = before[1]
