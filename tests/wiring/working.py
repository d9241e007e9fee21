"""The operator on a real API server with some of its controllers at work, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tailseal import wiring
from tailseal.machine import load_controllers
from tailseal.reconcile.context import Context, Done, OperatorSettings
from tailseal.runtime.settings import Settings
from wiring.waiting import hung_up


@asynccontextmanager
async def working(kubeconfig: str, *names: str) -> AsyncIterator[None]:
    """Runs until the block ends."""
    real, stop = load_controllers(), asyncio.Event()
    controllers = {name: real[name] if name in names else _nothing for name in real}
    given = Settings(kubeconfig=kubeconfig, health_port=0)
    operator = asyncio.create_task(wiring.run(given, OperatorSettings(), stop=stop, controllers=controllers))
    try:
        yield
    finally:
        stop.set()
        await operator
        await hung_up()


async def _nothing(_ctx: Context, _namespace: str, _name: str) -> Done:
    return Done()
