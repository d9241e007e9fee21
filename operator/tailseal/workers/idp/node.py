"""Watches our own node in the tailnet, so that status can say what it is called and whether it is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from tailseal.tailnet.errors import UnavailableError
from tailseal.tailnet.resolve import CallerResolver
from tailseal.tailnet.whois import RUNNING, OwnNode

LOOK_SECONDS: Final = 5.0
LOOK_AGAIN_SECONDS: Final = 0.5
"""While it is not up: our pod is ready as soon as it is, and status should say then what it is called."""

_log = structlog.get_logger(__name__)


async def keep(callers: CallerResolver, tell: Callable[[dict[str, str]], None]) -> None:
    """Tell the node's state, name and id, again and again, until cancelled.

    Args:
        callers: of the tailnet.
        tell: told `state` (`Running`, or why not), `name` and `id`.
    """
    former = ""
    while True:
        why = ""
        try:
            node = await callers.own_node()
        except UnavailableError as error:
            node, why = OwnNode(error.reason.value, ""), str(error)
        state, name = node.state, node.name
        tell({"state": state, "name": name, "id": node.id})
        if state != former:
            _say(state, name, why)
        former = state
        await asyncio.sleep(LOOK_SECONDS if state == RUNNING else LOOK_AGAIN_SECONDS)


def _say(state: str, name: str, why: str) -> None:
    if state == RUNNING:
        _log.info("on the tailnet", name=name)
    else:
        _log.warning("not on the tailnet, so nobody can log in", state=state, why=why)
