"""Keys and upstream tokens over real sockets: discovery, private authorities, rotation, and scopes that never mix."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from fakes import bundles, exchange
from tailseal.domain.bundle.model import Settings, Upstream
from tailseal.domain.policy.source import KeySource, well_known
from tailseal.egress.client import Egress
from tailseal.workers.common import worker as worker_module
from tailseal.workers.common.bundle.source import MemorySource
from tailseal.workers.common.http.address import Address
from tailseal.workers.common.outbound.fetch import KeyFetcher
from tailseal.workers.common.outbound.keycache import REFETCH_INTERVAL, KeysUnavailable
from tailseal.workers.common.telemetry.audit import Audit
from tailseal.workers.common.worker import Place, Worker
from tailseal.workers.sts import app as sts
from tailseal_dev.issuer import Issuer
from tailseal_dev.pki import Authority

LOOPBACK = Address("127.0.0.1", 0)
OPEN = ("127.0.0.0/8",)


@asynccontextmanager
async def fetching() -> AsyncIterator[KeyFetcher]:
    egress = Egress(OPEN)

    async def current() -> Egress:
        return egress

    yield KeyFetcher(current)
    await egress.aclose()


def discovery(issuer: Issuer, /, **changes: str) -> KeySource:
    return KeySource(**{"issuer": issuer.url, "kind": "discovery", "location": well_known(issuer.url), **changes})  # type: ignore[arg-type]


async def test_keys_are_found_by_discovery_under_a_private_authority() -> None:
    authority = Authority()
    with Issuer(authority=authority) as issuer:
        async with fetching() as fetch:
            keys = await fetch(discovery(issuer, ca_bundle=authority.certificate.decode()))
            assert issuer.jwks["keys"][0]["kid"] in keys
            assert issuer.asked == ["/.well-known/openid-configuration", "/.well-known/jwks"]
            with pytest.raises(KeysUnavailable, match="TLSFailed"):
                await fetch(discovery(issuer))


async def test_the_document_of_another_issuer_is_refused() -> None:
    with Issuer() as issuer:
        async with fetching() as fetch:
            with pytest.raises(KeysUnavailable) as caught:
                await fetch(discovery(issuer, issuer="https://ci.example"))
    assert caught.value.reason == "DiscoveryMismatch"


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/token?audience=x", "DiscoveryMalformed"), ("/nothing", "KeysUnreachable"), ("/.well-known/jwks", "Discovery")],
)
async def test_a_document_that_is_none_is_refused(path: str, reason: str) -> None:
    with Issuer() as issuer:
        async with fetching() as fetch:
            with pytest.raises(KeysUnavailable) as caught:
                await fetch(discovery(issuer, location=issuer.url + path))
    assert caught.value.reason.startswith(reason)


async def test_keys_that_are_none_are_refused() -> None:
    with Issuer() as issuer:
        async with fetching() as fetch:
            with pytest.raises(KeysUnavailable) as caught:
                await fetch(KeySource(issuer.url, "jwksURI", issuer.url + "/token"))
            inline = KeySource(issuer.url, "jwks", "sha256:x", jwks=json.dumps({"keys": []}))
            with pytest.raises(KeysUnavailable):
                await fetch(inline)
    assert caught.value.reason == "KeysMalformed"


class Upstreams:
    """Stands in for Tailscale: each token says which scopes it was minted for."""

    def __init__(self) -> None:
        self.asked = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await self.answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r")[0])
        form = parse_qs((await reader.readexactly(length)).decode())
        self.asked += 1
        await asyncio.sleep(0.001 * (self.asked % 5))
        scope = form["scope"][0]
        body = json.dumps({"access_token": f"tskey-{scope}", "expires_in": 3600, "scope": scope}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()


def source(issuer: Issuer, api: str, scopes: list[str]) -> MemorySource:
    settings = Settings(
        issuer="http://127.0.0.1:1",
        namespace="identity",
        name="corp",
        token_endpoint="http://127.0.0.1:1/token",
        subject_audiences=(exchange.OURS,),
        open_hosts=OPEN,
        upstreams=(Upstream.model_validate({"name": "prod", "tailscale": {"apiUrl": api, "credential": "prod"}}),),
    )
    spec: dict[str, Any] = {
        "identityProviderRef": {"name": "corp", "namespace": "identity"},
        "from": {"oidc": {"issuer": issuer.url, "subject": {"glob": "repo:octo-org/shop:**"}}},
        "grants": [{"name": "api", "tailscale": {"upstream": "prod", "scopes": scopes}}],
    }
    return bundles.source(
        bundles.signing(issuer=settings.issuer),
        bundles.policies(exchange.record(spec), settings=settings),
        {"prod.client_id": b"id\n", "prod.client_secret": b"secret\n"},
    )


@asynccontextmanager
async def worker(made: Worker) -> AsyncIterator[str]:
    stop, started = asyncio.Event(), asyncio.get_running_loop().create_future()
    place = Place(LOOPBACK, LOOPBACK)
    run = made.run(sts.build(made.runtime), place, stop=stop, started=lambda public, _: started.set_result(public.url))
    task = asyncio.create_task(run)
    try:
        yield await started
    finally:
        stop.set()
        await task


async def ask(client: httpx.AsyncClient, url: str, token: str, **fields: str) -> httpx.Response:
    form = {"grant_type": exchange.GRANT_TYPE, "subject_token": token, "subject_token_type": exchange.JWT_TYPE}
    return await client.post(f"{url}/token", data=form | fields)


async def test_callers_at_the_same_time_get_their_own_scopes_and_a_rotated_key_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes, upstreams, clock = [f"scope{number}:read" for number in range(16)], Upstreams(), Clock()
    monkeypatch.setattr(worker_module, "monotonic", clock)
    listening = await asyncio.start_server(upstreams.serve, "127.0.0.1", 0)
    api = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    fd = os.open(tmp_path / "audit", os.O_WRONLY | os.O_CREAT)
    with Issuer() as issuer:
        made = Worker("sts", source(issuer, api, scopes), clock=clock, audit=Audit(fd))
        async with worker(made) as url, httpx.AsyncClient(trust_env=False) as client:
            wanted = [scopes[number % len(scopes)] for number in range(96)]
            token = clock.token(issuer)
            answers = await asyncio.gather(*(ask(client, url, token, scope=scope) for scope in wanted))
            assert [answer.status_code for answer in answers] == [200] * len(wanted), answers[0].text
            got = [(answer.json()["access_token"], answer.json()["scope"]) for answer in answers]
            assert got == [(f"tskey-{scope}", scope) for scope in wanted]
            assert issuer.asked.count("/.well-known/jwks") == 1  # one fetch for all of them
            issuer.rotate()
            assert (await ask(client, url, clock.token(issuer))).status_code == 400  # asked a moment ago
            clock.now += REFETCH_INTERVAL
            assert (await ask(client, url, clock.token(issuer))).status_code == 200
            assert issuer.asked.count("/.well-known/jwks") == 2
    listening.close()
    os.close(fd)


class Clock:
    """The time at which the test began, and what it adds to that."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now

    def token(self, issuer: Issuer) -> str:
        """One of now, however long the test has taken."""
        now = int(self.now)
        return issuer.token(exchange.OURS, iat=now, nbf=now, exp=now + 300)


async def test_an_issuer_that_is_unknown_is_never_asked(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "audit", os.O_WRONLY | os.O_CREAT)
    with Issuer() as known, Issuer() as stranger:
        made = Worker("sts", source(known, "http://127.0.0.1:1", ["a"]), clock=Clock(), audit=Audit(fd))
        async with worker(made) as url, httpx.AsyncClient(trust_env=False) as client:
            answer = await ask(client, url, stranger.token(exchange.OURS))
            assert answer.json()["tailseal_reason"] == "UnknownIssuer"
            assert stranger.asked == known.asked == []
            forged = stranger.token(exchange.OURS, iss=known.url)
            assert (await ask(client, url, forged)).json()["tailseal_reason"] == "UnknownKey"
    os.close(fd)


async def test_an_issuer_that_is_down_is_said_to_be(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "audit", os.O_WRONLY | os.O_CREAT)
    with Issuer() as issuer:
        token = issuer.token(exchange.OURS)
        files = source(issuer, "http://127.0.0.1:1", ["a"])
    made = Worker("sts", files, clock=Clock(), audit=Audit(fd))
    async with worker(made) as url, httpx.AsyncClient(trust_env=False) as client:
        answer = await ask(client, url, token)
    assert (answer.status_code, answer.json()["tailseal_reason"]) == (503, "KeysUnreachable")
    os.close(fd)
