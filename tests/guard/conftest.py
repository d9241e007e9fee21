"""A stand-in for tailscaled, for services that are guarded by what it says."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.localapi import FakeLocalApi
from guard.people import ALICE, APP, CI


@pytest.fixture
async def tailscaled() -> AsyncIterator[FakeLocalApi]:
    """It knows alice, who may read item 1, and a machine that may do nothing."""
    # A socket's path has at most 108 bytes, and pytest's directories are long.
    directory = Path(tempfile.mkdtemp(prefix="guard-"))
    fake = FakeLocalApi(directory / "ts.sock")
    fake.knows(
        "user",
        ALICE,
        "127.0.0.1:5000",
        CapMap={APP: ["nonsense", {"action": ["read"], "resources": ["items/1", "notes/größe"]}]},
        Node__KeyExpiry=None,
    )
    fake.knows("tagged", CI)
    await fake.start()
    yield fake
    await fake.stop()
    shutil.rmtree(directory)
