"""Watches our own node in the tailnet, so that status can say what it is called and whether it is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from tailseal.tailnet.errors import UnavailableError
from tailseal.tailnet.resolve import CallerResolver

LOOK_SECONDS: Final = 5.0


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
            tell({"state": error.reason.value, "name": ""})
        else:
            tell({"state": node.state, "name": node.name})
        await asyncio.sleep(LOOK_SECONDS)
