"""A fixed loopback port per Service that leads to its ready pods, in place of kube-proxy."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Callable, Iterator, Sequence

Backends = Callable[[], Sequence[tuple[str, int]]]
"""The addresses and ports to choose from, at this moment."""


async def forward(port: int, backends: Backends) -> None:
    """Accept on 127.0.0.1 for ever, each connection to the next ready pod; with none ready it is closed at once."""
    await relay(socket.create_server(("127.0.0.1", port)), backends)


async def relay(listening: socket.socket, backends: Backends) -> None:
    """The same with a socket that listens already."""
    turns = itertools.count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            upstream = await _connect(backends(), next(turns))
            if upstream is not None:
                await asyncio.gather(_pump(reader, upstream[1]), _pump(upstream[0], writer))
                upstream[1].close()
        writer.close()

    server = await asyncio.start_server(serve, sock=listening)
    async with server:
        await server.serve_forever()


async def _connect(
    backends: Sequence[tuple[str, int]], turn: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    for address, port in _rotated(backends, turn):
        with contextlib.suppress(OSError):
            return await asyncio.open_connection(address, port)
    return None


def _rotated(backends: Sequence[tuple[str, int]], turn: int) -> Iterator[tuple[str, int]]:
    if backends:
        first = turn % len(backends)
        yield from (*backends[first:], *backends[:first])


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()  # TLS transports and closed ones cannot
