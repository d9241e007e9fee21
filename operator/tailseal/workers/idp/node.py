"""Watches our own node in the tailnet, so that status can say what it is called and whether it is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from tailseal.tailnet.errors import UnavailableError
from tailseal.tailnet.resolve import CallerResolver
from tailseal.tailnet.whois import RUNNING

LOOK_SECONDS: Final = 5.0
LOOK_AGAIN_SECONDS: Final = 0.5
"""While it is not up: our pod is ready as soon as it is, and status should say then what it is called."""


async def keep(callers: CallerResolver, tell: Callable[[dict[str, str]], None]) -> None:
    """Tell the node's state and name, again and again, until cancelled.

    Args:
        callers: of the tailnet.
        tell: told `state` (`Running`, or why not) and `name`.
    """
    while True:
        try:
            node = await callers.own_node()
        except UnavailableError as error:
            state, name = error.reason.value, ""
        else:
            state, name = node.state, node.name
        tell({"state": state, "name": name})
        await asyncio.sleep(LOOK_SECONDS if state == RUNNING else LOOK_AGAIN_SECONDS)
