"""TLS of a listener: it waits for its certificate, and renewed ones count without a restart."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest

from fakes import exchange
from fakes.worker import LOOPBACK, PATIENCE, granting, running, until
from tailseal.workers.common.http import serving
from tailseal.workers.common.http.tls import Certificates, TLSError
from tailseal.workers.common.worker import Place, Worker
from tailseal.workers.sts import app as sts
from tailseal_dev.pki import Authority


def write_pair(folder: Path, authority: Authority) -> None:
    pair = authority.server()
    folder.mkdir(exist_ok=True)
    (folder / "tls.crt").write_bytes(pair.certificate)
    (folder / "tls.key").write_bytes(pair.key)


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.certificate.decode())


async def reaches(url: str, authority: Authority) -> bool:
    async with httpx.AsyncClient(verify=trusting(authority), trust_env=False) as client:
        try:
            return (await client.get(f"{url}/.well-known/jwks.json")).status_code == 200
        except httpx.ConnectError:
            return False


async def test_a_renewed_certificate_counts_without_a_restart(tmp_path: Path, audit_file: Path) -> None:
    first, second, folder = Authority("first"), Authority("second"), tmp_path / "tls"
    write_pair(folder, first)
    async with running(granting(), audit_file, tls=folder) as worker:
        assert worker.public.startswith("https://")
        assert await reaches(worker.public, first)
        write_pair(folder, second)
        async with asyncio.timeout(PATIENCE):
            while not await reaches(worker.public, second):  # noqa: ASYNC110 - the worker looks by itself
                await asyncio.sleep(0.05)
        assert not await reaches(worker.public, first)


async def test_a_worker_waits_for_its_certificate_unready(
    client: httpx.AsyncClient, tmp_path: Path, audit_file: Path
) -> None:
    folder, authority = tmp_path / "tls", Authority()
    stop, started = asyncio.Event(), asyncio.get_running_loop().create_future()
    worker = Worker("sts", granting(), clock=lambda: exchange.NOW)
    task = asyncio.create_task(
        worker.run(
            sts.build(worker.runtime),
            Place(LOOPBACK, LOOPBACK, folder),
            stop=stop,
            started=lambda public, private: started.set_result((public, private)),
        )
    )
    await until(lambda: worker.health.waiting != "")
    assert worker.health.readiness()[0] == 503
    assert "tls.crt and tls.key" in worker.health.readiness()[1]
    write_pair(folder, authority)
    public, _ = await started
    assert await reaches(public.url, authority)
    stop.set()
    await task


def test_a_changed_pair_that_does_not_fit_is_refused_and_told_once(tmp_path: Path) -> None:
    told: list[TLSError] = []
    write_pair(tmp_path, Authority())
    certificates = Certificates(tmp_path, refused=told.append)
    good = certificates._current
    (tmp_path / "tls.key").write_bytes(Authority().server().key)
    assert not certificates.refresh()
    assert not certificates.refresh()
    assert certificates._current is good
    assert len(told) == 1
    write_pair(tmp_path, Authority())
    assert certificates.refresh()
    assert certificates._current is not good


async def test_who_does_not_shake_hands_in_time_is_let_go(
    tmp_path: Path, audit_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "HANDSHAKE_SECONDS", 0.1)
    write_pair(tmp_path / "tls", Authority())
    async with running(granting(), audit_file, tls=tmp_path / "tls") as worker:
        host, port = worker.public.removeprefix("https://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
