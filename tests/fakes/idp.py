"""An identity provider with all its endpoints, and browsers and programs that talk to it without a network."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from html import unescape
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import KeySet

from fakes import bundles, exchange, oauthclients, trust
from tailseal.domain import canonical
from tailseal.domain.bundle import build
from tailseal.domain.bundle.model import SIGNING_FILE, ClientRecord, HeldKey, Settings, Signing
from tailseal.domain.caller import Caller, Node, User
from tailseal.state.sqlite import SQLiteStore
from tailseal.tailnet.static import Static
from tailseal.workers.common.bundle.source import MemorySource
from tailseal.workers.common.telemetry.audit import Audit
from tailseal.workers.common.worker import Worker
from tailseal.workers.idp import app, cookies
from tailseal.workers.idp.context import IdpRuntime

ISSUER: Final = trust.OURS
CALLBACK: Final = "https://app.example/cb"
VERIFIER: Final = "v" * 43
CHALLENGE: Final = base64.urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
ALL: Final = {"v": 1, "allow": [{"action": ["*"], "resource": ["*"]}]}
LOGIN: Final = {"v": 1, "allow": [{"action": ["login"], "resource": ["*"]}]}


def caller(number: int, login: str, *values: Any, tags: tuple[str, ...] = ()) -> Caller:  # noqa: ANN401 - any JSON
    addresses = (ip_address(f"100.64.0.{number}"),)
    node = Node(f"n{number}", str(number), f"pc{number}.tail.example", "nodekey:00", tags, addresses)
    user = None if tags else User(str(number), login, login.partition("@")[0].title())
    return Caller(node, user, {"tailseal.dev/cap/idp": values})


PEOPLE: Final = {
    "ana": caller(1, "ana@corp.example", ALL),
    "bob": caller(2, "bob@corp.example", LOGIN),
    "eve": caller(3, "eve@corp.example"),
    "robot": caller(4, "", LOGIN, tags=("tag:ci",)),
}


def signing(issuer: str = ISSUER) -> dict[str, bytes]:
    """The volume `signing` with a key for RS256 and one, the default, for ES256."""
    now = exchange.NOW
    keys: dict[str, Any] = {"ES256": exchange.ec_key("idp"), "RS256": exchange.rsa_key("idp")}
    model: dict[str, Any] = {
        "issuer": issuer,
        "held": [HeldKey(kid=alg, alg=alg, file=f"{alg}.pem", sign_until=now + 1e9) for alg in keys],
        "active": {alg: alg for alg in keys},
        "default_algorithm": "ES256",
        "jwks": {"keys": [exchange.jwk(keys[alg], alg, alg, use="sig") for alg in keys]},
        "max_age": 300,
        "max_token_ttl": 3600,
        "status_key": base64.urlsafe_b64encode(bundles.POLL_KEY).rstrip(b"=").decode(),
    }
    files = {
        f"{alg}.pem": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for alg, key in keys.items()
    }
    return {SIGNING_FILE: canonical.dumps(Signing.model_validate(model).document()), **files}


def settings(**changes: Any) -> Settings:  # noqa: ANN401 - any of its fields
    return trust.settings(**{"bounds": (), "token_endpoint": f"{ISSUER}/token", "state": "SQLite"} | changes)


@dataclass
class Provider:
    """A provider that listens to no network.

    Args:
        runtime: of its endpoints.
        source: of its bundle.
        worker: what it runs in.
        audit: file with its audit lines.
        clock: holds the time.
    """

    runtime: IdpRuntime
    source: MemorySource
    worker: Worker
    audit: Path
    clock: list[float]
    app: Any = None
    told: list[tuple[str, bytes]] = field(default_factory=list)

    def browser(self, name: str = "ana", **headers: str) -> Browser:
        """Of a person by name."""
        forwarded = {"x-forwarded-for": str(PEOPLE[name].node.addresses[0])}
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=True)
        client = httpx.AsyncClient(
            transport=transport, base_url=self.issuer, headers=forwarded | headers, follow_redirects=False
        )
        return Browser(client)

    @property
    def issuer(self) -> str:
        snapshot = self.worker.loader.snapshot
        assert snapshot
        return snapshot.settings.issuer

    def events(self) -> list[dict[str, Any]]:
        """The audit lines so far."""
        return [json.loads(line) for line in self.audit.read_text().splitlines()]

    def load(self, *records: ClientRecord, **changes: Any) -> None:  # noqa: ANN401 - any of the settings' fields
        """Other clients and settings."""
        files = build.policies_volume(settings(**changes), {}, build.clients(records)[0])
        self.source.put("policies", files)
        self.worker.loader.refresh()
        assert not self.worker.loader.problems, self.worker.loader.problems


@asynccontextmanager
async def running(folder: Path, *records: ClientRecord, **changes: Any) -> AsyncIterator[Provider]:  # noqa: ANN401
    """A provider with these clients."""
    clock = [exchange.NOW]
    ours = settings(**changes)
    source = bundles.source(signing(ours.issuer), build.policies_volume(ours, {}, build.clients(records)[0]))
    audit = folder / "audit"
    fd = os.open(audit, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    worker = Worker("idp", source, clock=lambda: clock[0], pod_uid="u", audit=Audit(fd), polled=False)
    worker.loader.refresh()
    assert not worker.loader.problems, worker.loader.problems
    worker.state.local = SQLiteStore(folder / "state.db", clock=lambda: clock[0])
    runtime = app.ports(worker, Static(PEOPLE.values(), ["127.0.0.1"], {}))
    provider = Provider(runtime, source, worker, audit, clock)
    provider.app = app.build(runtime)
    try:
        yield provider
    finally:
        await worker.state.aclose()
        os.close(fd)


@dataclass
class Browser:
    """A person's browser, or a program at their node.

    Args:
        http: with its cookies.
    """

    http: httpx.AsyncClient

    @property
    def session(self) -> str:
        """Value of the session's cookie."""
        return next(cookie.value or "" for cookie in self.http.cookies.jar if cookies.SESSION in cookie.name)

    async def login(self, **asked: Any) -> str:  # noqa: ANN401 - any parameter
        """A code, whatever has to be answered for it."""
        answer = await self.http.get("/authorize", params=authorization(**asked))
        if answer.status_code == 200:
            answer = await self.submit(answer, answer="yes")
        assert answer.status_code == 303, answer.text
        sent = parameters(answer)
        assert "code" in sent, sent
        return sent["code"]

    async def submit(self, page: httpx.Response, **chosen: str) -> httpx.Response:
        """Send the page's first form."""
        action, fields = form(page)
        return await self.http.post(action, data=fields | chosen)

    async def tokens(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401
        """Tokens of the usual client, after a login."""
        answer = await self.redeem(await self.login(**asked))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def redeem(self, code: str, **changes: str) -> httpx.Response:
        """Exchange a code."""
        return await self.post("/token", redemption(code) | changes)

    async def post(
        self, path: str, data: Mapping[str, Any], client: str = oauthclients.ID, secret: str = oauthclients.SECRET
    ) -> httpx.Response:
        """As a client with a secret."""
        return await self.http.post(path, data=data, auth=(client, secret))


def authorization(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """An authorization request of the usual client; what is None is left out."""
    asked = {
        "client_id": oauthclients.ID,
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "openid",
        "state": "s1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return {name: value for name, value in (asked | changes).items() if value is not None}


def redemption(code: str) -> dict[str, str]:
    """The request for the tokens of a code."""
    return {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}


async def claims(provider: Provider, token: str) -> dict[str, Any]:
    """Of a token that verifies with the published keys by somebody else's library, with `alg` and `typ`."""
    keys = (await provider.browser().http.get("/.well-known/jwks.json")).json()
    found = jwt.decode(token, KeySet.import_key_set(keys), algorithms=["RS256", "ES256"])
    return dict(found.claims) | {"alg": found.header["alg"], "typ": found.header["typ"]}


def parameters(answer: httpx.Response) -> dict[str, str]:
    """What a redirect brings."""
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def form(page: httpx.Response) -> tuple[str, dict[str, str]]:
    """Action and hidden fields of a page's first form."""
    found = re.search(r'<form method="post" action="([^"]*)">(.*?)</form>', page.text, re.DOTALL)
    assert found, page.text
    fields: Sequence[tuple[str, str]] = re.findall(
        r'<input type="(?:hidden|text)"[^>]*name="([^"]*)" value="([^"]*)"', found[2]
    )
    return unescape(found[1]), {name: unescape(value) for name, value in fields}
