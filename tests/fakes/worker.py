"""A whole worker on real sockets, and what tests send to it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from starlette.types import ASGIApp

from fakes import bundles, exchange
from tailseal.domain import poll
from tailseal.workers.common.bundle.source import MemorySource
from tailseal.workers.common.http.address import Address
from tailseal.workers.common.http.serving import Listener
from tailseal.workers.common.telemetry.audit import Audit
from tailseal.workers.common.worker import Place, Worker
from tailseal.workers.sts import app as sts

LOOPBACK = Address("127.0.0.1", 0)

PATIENCE = 120.0
"""Seconds after which something never comes true, on however busy a machine."""


class Running:
    """A worker that listens, and a client of it."""

    def __init__(self, worker: Worker, public: Listener, private: Listener, stop: asyncio.Event) -> None:
        self.worker, self.stop = worker, stop
        self.public, self.private = public.url, private.url

    def poll(self, **wanted: str) -> bytes:
        return poll.seal_question(poll.Question("n", exchange.NOW, wanted), bundles.POLL_KEY)


@asynccontextmanager
async def running(
    source: MemorySource,
    audit: Path,
    *,
    tls: Path | None = None,
    app: ASGIApp | None = None,
    drain: float = 0.0,
) -> AsyncIterator[Running]:
    fd = os.open(audit, os.O_WRONLY | os.O_APPEND)
    worker = Worker("sts", source, clock=lambda: exchange.NOW, pod_uid="uid-1", audit=Audit(fd))
    stop, started = asyncio.Event(), asyncio.get_running_loop().create_future()
    place = Place(LOOPBACK, LOOPBACK, tls, drain)
    task = asyncio.create_task(
        worker.run(
            app or sts.build(worker.runtime),
            place,
            stop=stop,
            started=lambda public, private: started.set_result((public, private)),
        )
    )
    try:
        await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        public, private = await started
        yield Running(worker, public, private, stop)
    finally:
        stop.set()
        await task
        os.close(fd)


def inline() -> dict[str, Any]:
    """A policy with the foreign issuer's keys written into it."""
    keys = {"keys": [exchange.jwk(exchange.rsa_key("foreign"), "f1", "RS256")]}
    return exchange.spec(keys={"jwks": keys})


def granting() -> MemorySource:
    return bundles.source(None, bundles.policies(exchange.record(inline())))


def form(**fields: str) -> dict[str, str]:
    return {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": exchange.token(),
        "subject_token_type": exchange.JWT_TYPE,
        **fields,
    }


async def eventually(
    client: httpx.AsyncClient, url: str, wanted: int, data: dict[str, str] | None = None
) -> httpx.Response:
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = await client.request("POST" if data else "GET", url, data=data)
        if answer.status_code == wanted:
            return answer
        assert time.monotonic() < deadline, f"{url} still answers {answer.status_code}: {answer.text}"
        await asyncio.sleep(0.02)


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.01)


def content(path: Path) -> str:
    """The whole file, read where an asynchronous test may not."""
    return path.read_text()
