"""A stand-in for tailscaled for most tests, and one real tailnet for those marked `tailnet`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from fakes.localapi import FakeLocalApi, standing_in
from tailnet import world
from tailseal_dev.cache import BuildError
from tailseal_dev.tailnet import Tailnet, why_not


@pytest.fixture
async def tailscaled() -> AsyncIterator[FakeLocalApi]:
    """The stand-in."""
    async with standing_in() as fake:
        yield fake


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
