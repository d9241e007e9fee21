"""A small HTTP/1.1 client for load: raw requests on kept connections, and nobody measures a failure unseen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import cast

CONNECTIONS = 32


class LoadError(RuntimeError):
    """An answer was not the expected one: the run counts for nothing."""


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last is complete."""

    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[None], expected: bytes) -> None:
        self._requests, self._done = requests, done
        self._expected = b"HTTP/1.1 " + expected
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not complete(self._buffer):
            return
        if not self._buffer.startswith(self._expected):
            head, _, body = self._buffer.partition(b"\r\n\r\n")
            self._fail(LoadError(f"answer {head[:80]!r}, body {body[:300]!r}"))
            return
        self._buffer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(LoadError(f"the server closed a connection: {exc}"))

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is not None:
            self._transport.write(request)
        elif not self._done.done():
            self._done.set_result(None)
            self._transport.close()

    def _fail(self, error: LoadError) -> None:
        if not self._done.done():
            self._done.set_exception(error)
            self._transport.close()


def complete(answer: bytes) -> bool:
    """Whether all of an answer is there."""
    head, found, body = answer.partition(b"\r\n\r\n")
    return bool(found) and len(body) >= _length(head)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def send(port: int, requests: Iterator[bytes], expected: bytes = b"200") -> None:
    """Send all requests, over `CONNECTIONS` at a time.

    Raises:
        LoadError: an answer had another status, or a connection broke.
    """
    loop = asyncio.get_running_loop()
    waiting = [loop.create_future() for _ in range(CONNECTIONS)]
    transports: list[asyncio.BaseTransport] = []
    try:
        for done in waiting:
            connection = partial(_Connection, requests, done, expected)
            transports.append((await loop.create_connection(connection, "127.0.0.1", port))[0])
        await asyncio.gather(*waiting)
    finally:
        for transport in transports:
            transport.close()
        await asyncio.gather(*waiting, return_exceptions=True)


def post(path: str, body: bytes) -> bytes:
    """A form as a request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str, **headers: str) -> bytes:
    """A GET request."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n{lines}\r\n".encode()
