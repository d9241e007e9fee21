"""Ends connections with the event loop that has them, for loops that end while the process goes on."""

from __future__ import annotations

import asyncio


async def hang_up() -> None:
    """Cut what is left of the running loop's connections.

    One that was closed while in use is still there: TLS waits for the other side's goodbye. A slow API server says it
    when the loop is no more, and nobody closes the socket. Only asyncio's own loop can be asked for them.
    """
    for transport in list(getattr(asyncio.get_running_loop(), "_transports", {}).values()):
        transport.abort()
    await asyncio.sleep(0)  # sockets are closed in the next turn
