"""A stand-in for tailscaled for most tests, and one real tailnet for those marked `tailnet`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fakes.localapi import FakeLocalApi
from tailnet import world
from tailseal_dev.cache import BuildError
from tailseal_dev.tailnet import Tailnet, why_not


@pytest.fixture
async def tailscaled() -> AsyncIterator[FakeLocalApi]:
    """The stand-in."""
    # A socket's path has at most 108 bytes, and pytest's directories are long.
    directory = Path(tempfile.mkdtemp(prefix="localapi-"))
    fake = FakeLocalApi(directory / "ts.sock")
    await fake.start()
    yield fake
    await fake.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def tailnet() -> Iterator[Tailnet]:
    """The real one, shared: a test that changes the policy or a node of `world` leaves it as it was."""
    if reason := why_not():
        pytest.skip(reason)
    try:
        with Tailnet(world.USERS, world.MEMBERS, world.policy(world.login_to("grafana"))) as net:
            yield net
    except BuildError as error:
        pytest.fail(f"headscale and tailscaled are needed and could not be built: {error}", pytrace=False)
