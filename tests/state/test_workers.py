"""Two real workers on one database: a token counts once, whoever of them is asked, and an outage is never a grant."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes import bundles, exchange, worker
from fakes.bundles import Mounted
from fakes.processes import PATIENT
from fakes.stores import proxy
from tailseal_dev.ports import free_ports
from tailseal_dev.postgres import PASSWORD, PostgresServer

AWAY = (503, "StateUnavailable")
SHARED = exchange.SETTINGS.model_copy(update={"state": "Postgres"})


def once(*, one_time: bool = True) -> dict[str, Any]:
    keys = {"jwks": {"keys": [exchange.jwk(exchange.rsa_key("foreign"), "f1", "RS256")]}}
    return exchange.spec(keys=keys, **({"replay": {"oneTime": True}} if one_time else {}))


def bundle(folder: Path, url: str, *, one_time: bool = True) -> Mounted:
    mounted = Mounted(folder)
    lease = time.time() + 86_400
    mounted.project(
        "signing", bundles.signing(held=[{"kid": "k1", "alg": "ES256", "file": "k1.pem", "signUntil": lease}])
    )
    mounted.project("policies", bundles.policies(exchange.record(once(one_time=one_time)), settings=SHARED))
    mounted.project("credentials", {"state.url": url.encode()})
    return mounted


def token() -> str:
    now = int(time.time())
    return exchange.token(exchange.claims(iat=now - 5, exp=now + 300, jti=os.urandom(8).hex()))


async def ask(client: httpx.AsyncClient, url: str, subject: str) -> tuple[int, str]:
    answer = await client.post(f"{url}/token", data=worker.form(subject_token=subject))
    return answer.status_code, answer.json().get("tailseal_reason", "")


async def granted(client: httpx.AsyncClient, url: str) -> str:
    """A token that counted; others may have been asked about in vain, as on a busy machine the database is late."""
    async with asyncio.timeout(120):
        while (seen := await ask(client, url, subject := token())) == AWAY:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert seen == (200, "")
    return subject


def started(folder: Path, log: Path, program: Sequence[str]) -> tuple[subprocess.Popen[bytes], str, str]:
    serving, management = free_ports(2)
    command = [sys.executable, *program, "sts", "--bundle", str(folder)]
    command += ["--listen", f"127.0.0.1:{serving}", "--management", f"127.0.0.1:{management}"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    return process, f"http://127.0.0.1:{serving}", f"http://127.0.0.1:{management}"


@asynccontextmanager
async def workers(
    folder: Path, client: httpx.AsyncClient, program: Sequence[str] = PATIENT
) -> AsyncIterator[list[tuple[str, str]]]:
    running = [started(folder / "bundle", folder / f"log-{number}", program) for number in range(2)]
    try:
        for process, _, management in running:
            for _ in range(1200):
                assert process.poll() is None, worker.content(folder / "log-0")
                try:
                    if (await client.get(f"{management}/readyz")).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)
            else:
                raise AssertionError(worker.content(folder / "log-0"))
        yield [(serving, management) for _, serving, management in running]
    finally:
        for process, _, _ in running:
            process.terminate()
        for process, _, _ in running:
            process.wait(60)


async def test_of_the_same_token_at_two_workers_at_once_exactly_one_counts(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    bundle(tmp_path / "bundle", postgres.url)
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client, workers(tmp_path, client) as urls:
        for _ in range(5):
            subject = token()
            answers = await asyncio.gather(*(ask(client, urls[n % 2][0], subject) for n in range(10)))
            assert sorted(answers) == [(200, ""), *[(400, "TokenReplayed")] * 9]
        logs = "".join(worker.content(tmp_path / f"log-{number}") for number in range(2))
        assert PASSWORD not in logs
        metrics = [(await client.get(f"{management}/metrics")).text for _, management in urls]
    assert all('tailseal_state_duration_seconds_count{operation="claim"' in text for text in metrics)
    assert not any(PASSWORD in text for text in metrics)


async def test_a_database_that_stalls_or_moves_never_grants_and_is_no_matter_to_readiness(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    async with (
        proxy(postgres.port) as way,
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        mounted = bundle(tmp_path / "bundle", postgres.url_at(way.port))
        async with workers(tmp_path, client, ("-m", "tailseal")) as urls:
            subject = await granted(client, urls[0][0])
            way.flowing.clear()
            assert await ask(client, urls[0][0], token()) == AWAY
            assert (await client.get(f"{urls[0][1]}/readyz")).status_code == 200
            mounted.project("credentials", {"state.url": postgres.url.encode()})
            await granted(client, urls[0][0])
            while (seen := await ask(client, urls[1][0], subject)) == AWAY:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            assert seen == (400, "TokenReplayed")
            way.flowing.set()


@pytest.mark.parametrize(
    "url", ["postgresql://ana:canary@db/app?sslmode=prefer", "", "postgresql://a:b@169.254.169.254/x"]
)
async def test_what_needs_no_store_is_granted_whatever_the_url_says(url: str, tmp_path: Path) -> None:
    bundle(tmp_path / "bundle", url, one_time=False)
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client, workers(tmp_path, client) as urls:
        subject = token()
        assert [await ask(client, urls[n][0], subject) for n in (0, 1, 0)] == [(200, "")] * 3
    assert "canary" not in worker.content(tmp_path / "log-0")
