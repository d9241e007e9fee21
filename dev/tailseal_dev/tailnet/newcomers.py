"""Runs in a tailnet's namespace: `newcomers.py PROXY WHERE RATE (ask COUNT | leave)` opens RATE connections a second.

They go through a node's proxy to WHERE, HOST:PORT of another node, each when it is due, whatever became of the others.
`ask` sends a request on each and prints how many seconds after it was opened which status came, 0 for none within ten
seconds. `leave` sends one as well, but closes at a moment of the next fifth of a second, and prints a line for each.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
import time
from collections.abc import Awaitable, Callable

PATIENCE = 10.0
"""Seconds."""

LONGEST = 0.2
"""Seconds after which those who leave have left: tailscaled takes as long over a connection that it does not know."""

FORM = b"policy=bench/people"

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)")

_At = tuple[int, str]
"""Port of the proxy, and where to."""


async def _opened(proxy: int, where: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which the request was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy)
    writer.write(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode())
    if b" 200 " not in await reader.readuntil(b"\r\n\r\n"):
        raise ConnectionError("the proxy did not get there")
    head = f"POST /issue HTTP/1.1\r\nHost: {where}\r\n"
    head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(FORM)}\r\n\r\n"
    writer.write(head.encode() + FORM)
    return reader, writer


async def _ask(at: _At) -> None:
    begin, status = time.perf_counter(), 0
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await _opened(*at)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(_LENGTH.findall(head)[0]))
            status = int(head.split(b" ", 2)[1])
            # Who closes first keeps the port for a while: where the other side does, one in a hundred cannot connect.
            writer.close()
    except (OSError, TimeoutError, EOFError, IndexError):
        pass  # no answer
    print(time.perf_counter() - begin, status, flush=True)


async def _leave(at: _At) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await _opened(*at)
    except (OSError, TimeoutError, EOFError):
        return
    await asyncio.sleep(random.uniform(0, LONGEST))  # noqa: S311 - no secret
    writer.close()
    print("left", flush=True)


async def _paced(visit: Callable[[_At], Awaitable[None]], at: _At, rate: float, count: float) -> None:
    begin, number = time.perf_counter(), 0
    async with asyncio.TaskGroup() as visits:
        while number < count:
            await asyncio.sleep(begin + number / rate - time.perf_counter())
            visits.create_task(_done(visit(at)))
            number += 1


async def _done(visit: Awaitable[None]) -> None:
    await visit


if __name__ == "__main__":
    _proxy, _where, _rate, _kind, *_count = sys.argv[1:]
    _visit, _times = (_ask, float(_count[0])) if _kind == "ask" else (_leave, float("inf"))
    asyncio.run(_paced(_visit, (int(_proxy), _where), float(_rate), _times))
