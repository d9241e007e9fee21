"""`tailseal idp` as processes that share a bundle, and browsers that come to them as over `tailscale serve`."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx

from fakes import idp, oauthclients
from fakes.bundles import Mounted
from fakes.idp import Browser
from fakes.processes import PATIENT, SECONDS
from tailseal.domain.bundle import build
from tailseal.domain.bundle.model import ClientRecord
from tailseal_dev.ports import free_ports

ALICE = "100.64.0.2"
"""As recorded in `tests/tailnet/recorded/user.json`."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A worker that runs.

    Args:
        run: the process.
        socket: where serve would hand requests to it.
        public: where everybody else comes in.
        private: where health and metrics are.
        log: what it says.
    """

    run: subprocess.Popen[bytes]
    socket: Path
    public: str
    private: str
    log: Path

    def said(self) -> str:
        """Everything so far."""
        return self.log.read_text()


def bundle(folder: Path, *records: ClientRecord, url: str = "", **changes: Any) -> Mounted:  # noqa: ANN401
    """A bundle of these clients, or of the usual one; with the URL of a database that replicas share, or with none."""
    found = records or (oauthclients.record(allow={"users": ["*@example.com"]}),)
    state = {"state": "Postgres" if url else "SQLite"}
    mounted = Mounted(folder)
    mounted.project("signing", idp.signing())
    files = build.policies_volume(idp.settings(**state | changes), {}, build.clients(found)[0])
    mounted.project("policies", files)
    mounted.project("credentials", {"state.url": url.encode()} if url else {})
    return mounted


@asynccontextmanager
async def running(folder: Path, localapi: Path, *options: str) -> AsyncIterator[Replica]:
    """A worker on the bundle in `folder`, ready; killed at the end where it did not end by itself."""
    serving, management = free_ports(2)
    socket, log = folder / f"{serving}.sock", folder / f"{serving}.log"
    command = [sys.executable, *PATIENT, "idp", f"--bundle={folder}", f"--localapi={localapi}", *options]
    command += [f"--listen=127.0.0.1:{serving}", f"--management=127.0.0.1:{management}", f"--tailnet=unix:{socket}"]
    command += [f"--socket={folder}/{serving}.explain"]
    with log.open("wb") as file:
        run = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)  # noqa: ASYNC220 - as a node would
    try:
        made = Replica(run, socket, f"http://127.0.0.1:{serving}", f"http://127.0.0.1:{management}", log)
        await _ready(made)
        yield made
        run.terminate()
        await asyncio.to_thread(run.wait, SECONDS)
    finally:
        run.kill()
        run.wait(SECONDS)


@asynccontextmanager
async def browser(*replicas: Replica, address: str = ALICE) -> AsyncIterator[Browser]:
    """Somebody's browser, whose requests go to each replica in turn."""
    async with over_tailnet([replica.socket for replica in replicas], address) as client:
        yield Browser(client)


def over_tailnet(sockets: Sequence[Path], address: str = ALICE, issuer: str = idp.ISSUER) -> httpx.AsyncClient:
    """What a program at a node gets, whose requests `tailscale serve` hands to each socket in turn."""
    headers = {"x-forwarded-for": address}
    return httpx.AsyncClient(transport=_InTurn(sockets), base_url=issuer, headers=headers, timeout=SECONDS)


class _InTurn(httpx.AsyncBaseTransport):
    """What serve does: it ends TLS, and sends the request on to a unix socket."""

    def __init__(self, sockets: Sequence[Path]) -> None:
        limits = httpx.Limits(max_connections=None)
        self._all = [httpx.AsyncHTTPTransport(uds=str(socket), limits=limits) for socket in sockets]
        self._next = cycle(self._all)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        plain = request.url.copy_with(scheme="http")
        stream = request.stream
        return await next(self._next).handle_async_request(
            httpx.Request(request.method, plain, headers=request.headers, stream=stream, extensions=request.extensions)
        )

    async def aclose(self) -> None:
        for transport in self._all:
            await transport.aclose()


async def _ready(replica: Replica) -> None:
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(SECONDS):
        while True:
            assert replica.run.poll() is None, replica.said()
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(f"{replica.private}/readyz")).status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(0.05)


def ended(replica: Replica) -> None:
    """Kill it as a lost node would."""
    replica.run.kill()
    replica.run.wait(SECONDS)
