"""Real workers whose logs nobody reads: they grant nothing, serve everything else, and recover by themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from fakes.pipes import Pipe
from fakes.processes import Process, bundle, fresh, running

PATIENCE = 60.0
"""Seconds after which a test client gives up: a frozen worker would never answer."""


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as made:
        yield made


async def ask(client: httpx.AsyncClient, worker: Process) -> tuple[int, str]:
    answer = await client.post(f"{worker.public}/token", data=fresh())
    return answer.status_code, answer.json().get("tailseal_reason", "")


async def statuses(client: httpx.AsyncClient, worker: Process) -> list[int]:
    urls = (f"{worker.public}/.well-known/jwks.json", *(worker.private + path for path in ("/healthz", "/readyz")))
    return [(await client.get(url)).status_code for url in urls]


async def test_a_blocked_audit_log_refuses_quickly_and_stops_nothing_else(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    bundle(tmp_path / "b")
    with Pipe() as audit:
        async with running(tmp_path / "b", stdout=audit.writer) as worker:
            assert await ask(client, worker) == (200, "")
            audit.read()
            audit.fill()
            asked = asyncio.gather(*(ask(client, worker) for _ in range(20)))
            assert await statuses(client, worker) == [200] * 3
            assert await asked == [(503, "AuditUnavailable")] * 20
            audit.read()
            assert await ask(client, worker) == (200, "")
            (line,) = audit.read().splitlines()
            assert json.loads(line)["type"] == "dev.tailseal.exchange.granted"


async def test_a_blocked_application_log_costs_lines_only(client: httpx.AsyncClient, tmp_path: Path) -> None:
    mounted = bundle(tmp_path / "b")
    with Pipe() as log:
        async with running(tmp_path / "b", stderr=log.writer) as worker:
            log.fill()
            mounted.project("policies", {"manifest.json": b"nothing of ours"})  # which is logged
            while "tailseal_bundle_problems 0.0" in await metrics(client, worker):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            assert await ask(client, worker) == (200, "")
            assert await statuses(client, worker) == [200] * 3
            while "\ntailseal_log_lines_dropped_total 0.0" in await metrics(client, worker):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            log.read()
            bundle_again = bundle(tmp_path / "other").directory / "policies"
            mounted.project("policies", {path.name: path.read_bytes() for path in bundle_again.glob("[!.]*")})
            while b"bundle loaded" not in log.read():  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.05)
            worker.run.terminate()
            assert worker.run.wait(60) == 0


async def metrics(client: httpx.AsyncClient, worker: Process) -> str:
    return (await client.get(f"{worker.private}/metrics")).text
