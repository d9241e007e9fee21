"""Stores over real databases, and a way to them that can stall."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tailseal.state.limits import LIMITS, Held
from tailseal.state.postgres import PostgresStore
from tailseal.state.postgres.connect import Connector
from tailseal.state.protocol import Store
from tailseal.state.url import DatabaseURL
from tailseal_dev.postgres import PostgresServer

Open = Callable[..., Store]

PATIENCE = 60.0
"""Seconds: far more than callers have, as a busy machine may need them."""


async def resolve(host: str) -> Sequence[str]:
    return (host,)


def postgres_store(url: str, *, limits: Held = LIMITS, patience: float = PATIENCE) -> PostgresStore:
    return PostgresStore(Connector(DatabaseURL.parse(url), "", resolve), limits=limits, patience=patience)


@dataclass
class Clock:
    """What both stores go by: the time that it is, and what has passed since in a test's mind."""

    ahead: float = 0.0
    server: PostgresServer | None = None
    url: str = ""

    def __call__(self) -> float:
        return time.time() + self.ahead

    def wait(self, seconds: float) -> None:
        self.ahead += seconds
        if self.server is not None:
            self.server.sql(f"UPDATE timed.clock SET ahead = {self.ahead}", self.url)


class Proxy:
    """Passes bytes on to a port, or holds them back."""

    def __init__(self) -> None:
        self.port = 0
        self.flowing = asyncio.Event()
        self.flowing.set()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self.flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def proxy(port: int) -> AsyncIterator[Proxy]:
    made = Proxy()
    tasks: set[asyncio.Task[Any]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        there, back = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(made.pump(reader, back), made.pump(there, writer), return_exceptions=True)
        finally:
            back.transport.abort()
            writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
