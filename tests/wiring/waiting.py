"""Waiting for what crosses processes, as long as a busy machine may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

PATIENCE = 120.0


async def eventually(condition: Callable[[], object]) -> None:
    """Poll until it holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {PATIENCE:.0f} s")
        await asyncio.sleep(0.05)


async def becomes(wanted: object, look: Callable[[], object]) -> None:
    """Look, beside what runs here, until it is that."""
    deadline = time.monotonic() + PATIENCE
    while (seen := await asyncio.to_thread(look)) != wanted:
        if time.monotonic() > deadline:
            pytest.fail(f"{seen} is not {wanted}, not within {PATIENCE:.0f} s")
        await asyncio.sleep(0.1)


async def hung_up() -> None:
    """Wait for connections that are being closed: TLS takes a moment for that, and a warning fails a test."""
    held = asyncio.get_running_loop()._transports  # type: ignore[attr-defined]
    await eventually(lambda: not any(_is_ending(each) for each in list(held.values())))


def _is_ending(transport: Any) -> bool:  # noqa: ANN401 - of asyncio's private classes
    above = getattr(transport.get_protocol(), "_app_transport", None)
    return transport._sock is not None and (transport.is_closing() or (above is not None and above._closed))
