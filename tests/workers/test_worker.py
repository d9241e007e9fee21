"""A whole worker on real sockets: callers, operator and node see what they should, and nobody sees a secret."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from fakes import bundles, exchange
from tailseal.domain import canonical, poll
from tailseal.domain.bundle.model import MANIFEST_FILE, SIGNING_FILE, Upstream
from tailseal.workers.common import logs
from tailseal.workers.common.address import Address, AddressError
from tailseal.workers.common.audit import Audit
from tailseal.workers.common.runtime import Runtime
from tailseal.workers.common.serving import Listener
from tailseal.workers.common.source import MemorySource
from tailseal.workers.common.tls import Certificates, TLSError
from tailseal.workers.common.worker import Place, Worker
from tailseal.workers.idp import app as idp
from tailseal.workers.sts import app as sts
from tailseal_dev.pki import Authority

LOOPBACK = Address("127.0.0.1", 0)


@pytest.fixture
def audit_file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "audit.log"
    path.touch()
    return path


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
        yield Running(worker, *await started, stop)
    finally:
        stop.set()
        await task
        os.close(fd)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as made:
        yield made


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
    for _ in range(200):
        answer = await client.request("POST" if data else "GET", url, data=data)
        if answer.status_code == wanted:
            return answer
        await asyncio.sleep(0.02)
    raise AssertionError(f"{url} still answers {answer.status_code}: {answer.text}")


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


def content(path: Path) -> str:
    return path.read_text()


@pytest.mark.parametrize("build", [sts.build, idp.build], ids=["sts", "idp"])
async def test_a_worker_exchanges_publishes_and_is_ready(
    client: httpx.AsyncClient, audit_file: Path, build: Callable[[Runtime], ASGIApp]
) -> None:
    worker_app: list[ASGIApp] = []

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await worker_app[0](scope, receive, send)

    async with running(granting(), audit_file, app=late) as worker:
        worker_app.append(build(worker.worker.runtime))
        answer = await client.post(f"{worker.public}/token", data=form())
        assert answer.status_code == 200, answer.text
        assert (await client.get(f"{worker.public}/.well-known/jwks.json")).json()["keys"][0]["kid"] == "k1"
        document = (await client.get(f"{worker.public}/.well-known/openid-configuration")).json()
        assert document["issuer"] == exchange.OURS
        assert (await client.get(f"{worker.private}/readyz")).text == "ok\n"
        assert (await client.get(f"{worker.private}/healthz")).text == "ok\n"
    line = json.loads(content(audit_file))
    assert (line["log"], line["result"], line["policy"]) == ("audit", "granted", "identity/ci")


async def test_a_withdrawal_is_served_without_a_restart(client: httpx.AsyncClient, audit_file: Path) -> None:
    source = granting()
    async with running(source, audit_file) as worker:
        assert (await client.post(f"{worker.public}/token", data=form())).status_code == 200
        source.put("policies", bundles.policies() | {"00.json.gz": b"left over"})
        answer = await eventually(client, f"{worker.public}/token", 400, data=form())
        assert answer.json()["tailseal_reason"] == "UnknownIssuer"


async def test_a_worker_without_a_bundle_is_unready_answers_503_and_recovers(
    client: httpx.AsyncClient, audit_file: Path
) -> None:
    source = MemorySource()
    async with running(source, audit_file) as worker:
        ready = await client.get(f"{worker.private}/readyz")
        assert ready.status_code == 503
        assert "SigningMissing" in ready.text
        assert "ManifestMissing" in ready.text
        assert (await client.get(f"{worker.private}/healthz")).status_code == 200
        answer = await client.post(f"{worker.public}/token", data=form())
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        assert (await client.post(worker.private + poll.PATH, content=worker.poll())).status_code == 503
        for volume in ("signing", "policies"):
            source.put(volume, granting().read(volume))
        await eventually(client, f"{worker.private}/readyz", 200)
        assert (await client.post(f"{worker.public}/token", data=form())).status_code == 200


async def test_problems_show_in_readiness_and_metrics_while_the_rest_is_served(
    client: httpx.AsyncClient, audit_file: Path
) -> None:
    source = granting()
    async with running(source, audit_file) as worker:
        source.put("signing", {})
        for _ in range(100):
            ready = await client.get(f"{worker.private}/readyz")
            if "SigningMissing" in ready.text:
                break
            await asyncio.sleep(0.02)
        assert ready.status_code == 200
        assert "SigningMissing" in ready.text
        metrics = (await client.get(f"{worker.private}/metrics")).text
        assert "tailseal_bundle_problems 1.0" in metrics
        assert 'tailseal_bundle_loads_total{result="refused",volume="signing"} 1.0' in metrics
        assert (await client.post(f"{worker.public}/token", data=form())).status_code == 200


async def test_the_operators_question_is_answered_and_nobody_elses(client: httpx.AsyncClient, audit_file: Path) -> None:
    async with running(granting(), audit_file) as worker:
        url = worker.private + poll.PATH
        answer = await client.post(url, content=worker.poll())
        opened = poll.open_answer(answer.content, bundles.POLL_KEY, nonce="n", pod_uid="uid-1")
        assert opened.signing == {"ES256": "k1"}
        forged = poll.seal_question(poll.Question("n", exchange.NOW, {}), b"x" * 32)
        assert (await client.post(url, content=forged)).status_code == 403
        assert (await client.post(url, content=b"x" * (poll.MAX_BYTES + 1))).status_code == 413
        assert (await client.get(url)).status_code == 405
        assert (await client.get(worker.public + "/readyz")).status_code == 404
        assert (await client.post(worker.public + poll.PATH, content=worker.poll())).status_code == 404


async def test_a_replica_that_is_behind_answers_503_to_exchanges_and_serves_its_keys(
    client: httpx.AsyncClient, audit_file: Path
) -> None:
    async with running(granting(), audit_file) as worker:
        worker.worker._staleness._behind_since = exchange.NOW - 1000
        answer = await client.post(f"{worker.public}/token", data=form())
        assert (answer.status_code, answer.json()["tailseal_reason"]) == (503, "ReplicaBehind")
        assert (await client.get(f"{worker.public}/.well-known/jwks.json")).status_code == 200
        assert (await client.get(f"{worker.private}/readyz")).status_code == 200
        assert "tailseal_replica_behind_seconds 1000.0" in (await client.get(f"{worker.private}/metrics")).text


async def test_metrics_stay_few_whatever_strangers_send(client: httpx.AsyncClient, audit_file: Path) -> None:
    async with running(granting(), audit_file) as worker:
        await client.post(f"{worker.public}/token", data=form())
        for number in range(50):
            strange = exchange.token(exchange.claims(iss=f"https://x{number}.example", sub=f"s{number}"))
            await client.post(f"{worker.public}/token", data=form(subject_token=strange, scope=f"s{number}"))
        text = (await client.get(f"{worker.private}/metrics")).text
        series = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert len(series) < 60, text
        assert "_created" not in text
        exchanges = 'tailseal_exchanges_total{endpoint="token",provider="identity/corp",reason="UnknownIssuer"'
        assert exchanges + ',result="refused"} 50.0' in text


async def test_an_audit_log_that_cannot_be_written_grants_nothing(client: httpx.AsyncClient, tmp_path: Path) -> None:
    async with running(granting(), Path("/dev/full")) as worker:
        answer = await client.post(f"{worker.public}/token", data=form())
        assert answer.status_code == 503
        assert "access_token" not in answer.text


async def test_requests_in_progress_are_answered_before_the_end(client: httpx.AsyncClient, audit_file: Path) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(_: Request) -> Response:
        entered.set()
        await release.wait()
        return Response("done")

    app = Starlette(routes=[Route("/slow", slow)])
    async with running(granting(), audit_file, app=app, drain=0.2) as worker:
        asking = asyncio.create_task(client.get(f"{worker.public}/slow"))
        await entered.wait()
        worker.stop.set()
        ready = await eventually(client, f"{worker.private}/readyz", 503)
        assert ready.text == "draining\n"
        release.set()
        assert (await asking).text == "done"


async def test_a_port_in_use_is_said_before_anything_is_served(audit_file: Path) -> None:
    async with running(granting(), audit_file) as worker:
        taken = Address("127.0.0.1", int(worker.public.rpartition(":")[2]))
        other = Worker("sts", granting(), clock=lambda: exchange.NOW)
        with pytest.raises(OSError, match="in use"):
            await other.run(sts.build(other.runtime), Place(taken, LOOPBACK), stop=asyncio.Event())


@pytest.mark.parametrize(
    "text", ["0.0.0.0:1", "[::]:1", ":::1", ":8080", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"]
)
def test_an_address_that_means_everything_or_nothing_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:80", "127.0.0.1", 80), ("[fd00::1]:8443", "fd00::1", 8443), ("fd00::1:8443", "fd00::1", 8443)],
)
def test_an_address_of_a_pod_is_taken_with_or_without_brackets(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)


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
        for _ in range(200):
            if await reaches(worker.public, second):
                break
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


async def test_no_secret_is_in_any_log_metric_status_or_error(
    client: httpx.AsyncClient, audit_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stream = StringIO()
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    logs.configure("debug", stream)
    try:
        settings = exchange.SETTINGS.model_copy(
            update={
                "upstreams": (
                    Upstream.model_validate(
                        {"name": "prod", "tailscale": {"apiUrl": "https://127.0.0.1:1", "credential": "prod"}}
                    ),
                )
            }
        )
        spec = inline() | {
            "grants": [{"name": "api", "tailscale": {"upstream": "prod", "scopes": ["devices:core:read"]}}]
        }
        source = bundles.source(
            None,
            bundles.policies(exchange.record(spec), settings=settings),
            {"prod.client_id": b"id", "prod.client_secret": bundles.SECRET.encode()},
        )
        seen: list[str] = []
        async with running(source, audit_file) as worker:
            asked = ({}, {"scope": "devices:core"}, {"subject_token": exchange.token() + "x"})
            seen += [(await client.post(f"{worker.public}/token", data=form(**fields))).text for fields in asked]
            signing = bundles.signing("k2") | {"k2.pem": b"-----BEGIN PRIVATE KEY-----\n" + bundles.SECRET.encode()}
            source.put("signing", signing)
            source.put("policies", {MANIFEST_FILE: canonical.dumps({"settings": [bundles.SECRET]})})
            await until(lambda: len(worker.worker.loader.problems) > 1)
            source.put(
                "signing", {SIGNING_FILE: canonical.dumps({"statusKey": bundles.SECRET, "held": bundles.SECRET})}
            )
            await until(lambda: worker.worker.loader.problems[0].reason == "SigningCorrupt")
            seen += [(await client.get(worker.private + path)).text for path in ("/readyz", "/metrics")]
            seen.append((await client.post(worker.private + poll.PATH, content=worker.poll())).text)
            seen.append(repr(worker.worker.loader.snapshot))
        captured = capfd.readouterr()
        everything = "\n".join([*seen, stream.getvalue(), content(audit_file), captured.out, captured.err])
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]
    assert "UpstreamUnavailable" in everything  # the upstream was really asked
    assert "SigningCorrupt" in everything
    secrets = [
        bundles.SECRET,
        bundles.signing()[SIGNING_FILE].decode().partition('"statusKey":"')[2].partition('"')[0],
        *(line for line in bundles.pem("k1").decode().splitlines() if "-----" not in line),
        exchange.token().rpartition(".")[2][:20],
        exchange.token().split(".")[1][:40],
    ]
    assert [secret for secret in secrets if secret in everything] == []
