"""Workers as processes of their own, on a bundle in a folder, and tokens of the present for them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import httpx

from fakes import bundles, exchange, worker
from fakes.bundles import Mounted
from tailseal.domain.bundle.model import PolicyRecord, Settings
from tailseal_dev.ports import free_ports

SECONDS = 180

PATIENT: Final = (
    "-c",
    """
from tailseal.cli.main import main
from tailseal.domain.policy.expressions import conditions
from tailseal.egress import client
from tailseal.state.postgres import PostgresStore
from tailseal.tailnet.localapi import LocalApi
from tailseal.workers.exchange import token
PostgresStore.__init__.__kwdefaults__["patience"] = client.PATIENCE = 30.0
LocalApi.__init__.__defaults__ = (*LocalApi.__init__.__defaults__[:-1], 30.0)
token.PATIENCE = conditions.MAX_SECONDS = 60.0
main()
""",
)
"""What Python runs as `tailseal`, with more patience for whom it asks and for expressions: a busy machine is late."""


@dataclass(frozen=True, slots=True)
class Process:
    """A worker that runs.

    Args:
        run: the process.
        public: where callers come in.
        private: where health and metrics are.
    """

    run: subprocess.Popen[bytes]
    public: str
    private: str


def bundle(
    folder: Path,
    record: PolicyRecord | None = None,
    settings: Settings = exchange.SETTINGS,
    credentials: dict[str, bytes] | None = None,
) -> Mounted:
    """A bundle whose key is good for a day from now."""
    mounted = Mounted(folder)
    held = {"kid": "k1", "alg": "ES256", "file": "k1.pem", "signUntil": time.time() + 86_400}
    mounted.project("signing", bundles.signing(held=[held]))
    mounted.project("policies", bundles.policies(record or exchange.record(worker.inline()), settings=settings))
    mounted.project("credentials", credentials or {})
    return mounted


def fresh(**fields: str) -> dict[str, str]:
    """A form with a token of now, like no other."""
    now = int(time.time())
    subject = exchange.token(exchange.claims(iat=now - 5, exp=now + 300, jti=os.urandom(8).hex()))
    return worker.form(subject_token=subject, **fields)


@contextlib.asynccontextmanager
async def running(
    folder: Path, *options: str, stdout: int | IO[bytes] = subprocess.DEVNULL, stderr: int | IO[bytes] | None = None
) -> AsyncIterator[Process]:
    """`tailseal sts` on the bundle, ready; killed at the end where it did not end by itself."""
    serving, management = free_ports(2)
    command = [sys.executable, *PATIENT, "sts", "--bundle", str(folder), *options]
    command += ["--listen", f"127.0.0.1:{serving}", "--management", f"127.0.0.1:{management}"]
    command += ["--socket", str(folder / f"{serving}.sock")]
    run = subprocess.Popen(command, stdout=stdout, stderr=stderr)  # noqa: ASYNC220 - as a node would
    try:
        made = Process(run, f"http://127.0.0.1:{serving}", f"http://127.0.0.1:{management}")
        await _ready(made)
        yield made
        run.terminate()
        run.wait(SECONDS)
    finally:
        run.kill()
        run.wait(SECONDS)


async def _ready(process: Process) -> None:
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(SECONDS):
        while True:
            assert process.run.poll() is None, "it ended"
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(f"{process.private}/readyz")).status_code == 200:
                    return
            await asyncio.sleep(0.05)
