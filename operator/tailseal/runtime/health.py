"""The operator's own health and metrics server: it answers for the work being done, not for a socket being open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from tailseal.runtime.metrics import CONTENT_TYPE

_MAX_HEAD = 8192
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Checks:
    """What is asked on each request.

    Args:
        sick: why the process should be restarted; empty if it should not.
        unready: why it cannot be relied on yet; empty if it can.
        metrics: the text of a scrape.
    """

    sick: Callable[[], str]
    unready: Callable[[], str]
    metrics: Callable[[], bytes]


@contextlib.asynccontextmanager
async def serve(host: str, port: int, checks: Checks) -> AsyncIterator[int]:
    """Answer `/healthz`, `/readyz` and `/metrics` while inside; gives the port, which 0 lets the system choose.

    Raises:
        OSError: the address cannot be listened on.
    """

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_answer(head, checks))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, host, port, limit=_MAX_HEAD)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _answer(head: bytes, checks: Checks) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0].decode("ascii", "replace")
    if method not in (b"GET", b"HEAD"):
        return _response(405, b"only GET\n")
    match path:
        case "/healthz":
            return _verdict(checks.sick())
        case "/readyz":
            return _verdict(checks.sick() or checks.unready())
        case "/metrics":
            return _response(200, checks.metrics(), CONTENT_TYPE)
        case _:
            return _response(404, b"there are /healthz, /readyz and /metrics\n")


def _verdict(reason: str) -> bytes:
    return _response(503, f"{reason}\n".encode()) if reason else _response(200, b"ok\n")


def _response(status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> bytes:
    reason = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}[status]
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body
