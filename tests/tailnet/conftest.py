"""A stand-in for tailscaled for most tests, and one real tailnet for those marked `tailnet`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.localapi import FakeLocalApi


@pytest.fixture
async def tailscaled() -> AsyncIterator[FakeLocalApi]:
    # A socket's path has at most 108 bytes, and pytest's directories are long.
    directory = Path(tempfile.mkdtemp(prefix="localapi-"))
    fake = FakeLocalApi(directory / "ts.sock")
    await fake.start()
    yield fake
    await fake.stop()
    shutil.rmtree(directory)
