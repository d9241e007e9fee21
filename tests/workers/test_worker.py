"""A whole worker on real sockets: callers, operator and node see what they should."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from fakes import bundles, exchange
from fakes.worker import LOOPBACK, PATIENCE, content, eventually, form, granting, running, until
from tailseal.domain import poll
from tailseal.workers.common import worker as worker_module
from tailseal.workers.common.bundle.source import MemorySource
from tailseal.workers.common.http.address import Address
from tailseal.workers.common.worker import Place, Worker
from tailseal.workers.idp import app as idp
from tailseal.workers.sts import app as sts


@pytest.mark.parametrize("build", [sts.of_worker, idp.of_worker], ids=["sts", "idp"])
async def test_a_worker_exchanges_publishes_and_is_ready(
    client: httpx.AsyncClient, audit_file: Path, build: Callable[[Worker], ASGIApp]
) -> None:
    worker_app: list[ASGIApp] = []

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await worker_app[0](scope, receive, send)

    async with running(granting(), audit_file, app=late) as worker:
        worker_app.append(build(worker.worker))
        answer = await client.post(f"{worker.public}/token", data=form())
        assert answer.status_code == 200, answer.text
        assert (await client.get(f"{worker.public}/.well-known/jwks.json")).json()["keys"][0]["kid"] == "k1"
        document = (await client.get(f"{worker.public}/.well-known/openid-configuration")).json()
        assert document["issuer"] == exchange.OURS
        assert (await client.get(f"{worker.private}/readyz")).text == "ok\n"
        assert (await client.get(f"{worker.private}/healthz")).text == "ok\n"
    line = json.loads(content(audit_file))
    assert (line["type"], line["data"]["policy"]) == ("dev.tailseal.exchange.granted", "identity/ci")


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
        async with asyncio.timeout(PATIENCE):
            while "SigningMissing" not in (ready := await client.get(f"{worker.private}/readyz")).text:  # noqa: ASYNC110
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


async def test_what_is_no_http_is_counted_and_writes_no_log(
    client: httpx.AsyncClient, audit_file: Path, log: StringIO
) -> None:
    bad = (b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"a" * 40_000)
    upgrade = b"GET / HTTP/1.1\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    async with running(granting(), audit_file) as worker:
        before = log.getvalue()
        for head in (*bad, upgrade):
            reader, writer = await asyncio.open_connection(*worker.public.removeprefix("http://").split(":"))
            writer.write(head)
            assert (await reader.readline()).split()[1] in {b"400", b"404", b"431"}
            writer.close()
        text = (await client.get(f"{worker.private}/metrics")).text
        assert log.getvalue() == before
    assert 'tailseal_refused_heads_total{reason="malformed"} 2.0' in text
    assert 'tailseal_refused_heads_total{reason="tooLarge"} 1.0' in text


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


async def test_a_worker_that_ends_fails_no_exchange_and_sends_its_callers_elsewhere(
    client: httpx.AsyncClient, audit_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drained, forever = asyncio.Event(), 1e6

    async def sleep(seconds: float) -> None:
        await (drained.wait() if seconds == forever else asyncio.sleep(seconds))

    monkeypatch.setattr(worker_module, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": sleep}))
    async with running(granting(), audit_file, drain=forever) as worker:
        answers: list[httpx.Response] = []

        async def call() -> None:
            """Exchange over one connection until the worker closes it."""
            async with httpx.AsyncClient() as caller:
                while True:
                    answer = await caller.post(f"{worker.public}/token", data=form())
                    answers.append(answer)
                    if answer.headers.get("connection") == "close":
                        return

        callers = [asyncio.create_task(call()) for _ in range(8)]
        await until(lambda: len(answers) > 30)
        assert not any("connection" in answer.headers for answer in answers)
        worker.stop.set()
        await asyncio.gather(*callers)
        assert {answer.status_code for answer in answers} == {200}
        assert answers[-1].headers["connection"] == "close"
        assert (await client.get(f"{worker.private}/readyz")).text == "draining\n"
        drained.set()
