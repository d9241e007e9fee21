"""A stand-in for tailscaled, for services that are guarded by what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fakes.localapi import FakeLocalApi, standing_in
from guard.people import ALICE, APP, CI


@pytest.fixture
async def tailscaled() -> AsyncIterator[FakeLocalApi]:
    """It knows alice, who may read item 1, and a machine that may do nothing."""
    async with standing_in() as fake:
        fake.knows(
            "user",
            ALICE,
            "127.0.0.1:5000",
            CapMap={APP: ["nonsense", {"action": ["read"], "resources": ["items/1", "notes/größe"]}]},
            Node__KeyExpiry=None,
        )
        fake.knows("tagged", CI)
        yield fake
