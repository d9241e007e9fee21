"""How long callers wait at a steady load: requests leave when they are due, whether others were answered or not."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import cast

from tailseal_dev.bench import clock
from tailseal_dev.bench.load import LoadError, complete, send
from tailseal_dev.bench.report import Row

SHARE = 0.5
"""Of what the server can do."""

FULL = 2000
"""Requests by which that is found out."""

SECONDS = 3.0


class _Connection(asyncio.Protocol):
    """Carries one request at a time."""

    def __init__(self, idle: list[_Connection], waits: list[float]) -> None:
        self._idle, self._waits = idle, waits
        self._buffer = b""
        self._answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        self._sent = asyncio.get_running_loop().time()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if complete(self._buffer):
            good = self._buffer.startswith(b"HTTP/1.1 200")
            self._waits.append(asyncio.get_running_loop().time() - self._sent if good else float("inf"))
            self._buffer = b""
            self._idle.append(self)


@dataclass
class _Caller:
    port: int
    idle: list[_Connection] = field(default_factory=list)
    all: list[_Connection] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    async def connection(self) -> _Connection:
        """One that is idle; a new one where none is."""
        if self.idle:
            return self.idle.pop()
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(lambda: _Connection(self.idle, self.waits), "127.0.0.1", self.port)
        self.all.append(made)
        return made


async def _paced(port: int, requests: Iterator[bytes], rate: float, count: int) -> list[float]:
    """Seconds that each request waited for its answer.

    Raises:
        LoadError: an answer was not 200, or never came.
    """
    loop, caller = asyncio.get_running_loop(), _Caller(port)
    begin = loop.time()
    for number, request in enumerate(itertools.islice(requests, count)):
        await asyncio.sleep(max(0.0, begin + number / rate - loop.time()))
        (await caller.connection()).send(request)
    async with asyncio.timeout(10):
        while len(caller.waits) < count:  # noqa: ASYNC110 - answers come by themselves
            await asyncio.sleep(0.01)
    for connection in caller.all:
        connection.transport.close()
    if float("inf") in caller.waits:
        raise LoadError("an answer was not 200")
    return caller.waits


def row(port: int, requests: Iterator[bytes], rounds: int) -> Row:
    """Latency at half of what the server does at that moment when it is given as much as it takes.

    Args:
        port: of the server.
        requests: to send.
        rounds: whose medians count.
    """
    found = []
    with clock.on(clock.core(clock.CLIENT_CORE)):
        for _ in range(rounds):
            begin = time.monotonic()
            asyncio.run(send(port, itertools.islice(requests, FULL)))
            rate = SHARE * FULL / (time.monotonic() - begin)
            cuts = quantiles(asyncio.run(_paced(port, requests, rate, int(rate * SECONDS))), n=100)
            found.append((cuts[49] * 1e3, cuts[98] * 1e3, rate))
    p50, p99, rate = map(median, zip(*found, strict=True))
    return Row("latency over HTTP at half load, p99 in ms", f"p50 {p50:.2f} ms, p99 {p99:.2f} ms at {rate:.0f}/s", p99)
