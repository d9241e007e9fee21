"""The attacks that JWT libraries have fallen to at the provider's entrances, where the key they use is trusted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes import attacks, exchange, idp, oauthclients
from fakes.attacks import ATTACKS, FOREIGN_JWK
from fakes.exchange import ec_key, jwk
from fakes.idp import Provider
from tailseal.domain.bundle.model import SIGNING_FILE
from tailseal.oauth.clientauth import ASSERTION_TYPE

KEYS = {"keys": [FOREIGN_JWK, jwk(ec_key("foreign"), "e1", "ES256")]}
CLAIMS = exchange.claims
OF_POLICIES = {name for name, (_, reason) in ATTACKS.items() if reason == "NoPolicyMatches"}
CASES = {name: make for name, (make, _) in ATTACKS.items() if name not in OF_POLICIES}


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    """Its issuer is the one that the attacks name, and it publishes the key that they are signed with."""
    web = oauthclients.record(allow={"users": ["*@corp.example"]})
    files = idp.signing(exchange.FOREIGN)
    model = json.loads(files[SIGNING_FILE])
    model["jwks"]["keys"] += KEYS["keys"]
    base = {"issuer": exchange.FOREIGN, "token_endpoint": f"{exchange.FOREIGN}/token"}
    async with idp.running(tmp_path, web, **base) as made:
        made.source.put("signing", files | {SIGNING_FILE: json.dumps(model).encode()})
        made.worker.loader.refresh()
        assert not made.worker.loader.problems
        yield made


def told(monkeypatch: pytest.MonkeyPatch, **members: Any) -> None:  # noqa: ANN401 - any JSON
    """All that an entrance wants besides is right, so that it is the attack that is refused."""

    def claims(**changes: object) -> dict[str, object]:
        return CLAIMS(**(members | changes))

    monkeypatch.setattr(exchange, "claims", claims)
    monkeypatch.setattr(attacks, "claims", claims)


async def test_none_is_an_access_token(provider: Provider) -> None:
    ana = provider.browser()
    for name, make in CASES.items():
        bearer = await ana.http.post("/userinfo", data={"access_token": make()})
        assert bearer.status_code in {400, 401, 413}, name
        asked = await ana.post("/introspect", {"token": make()})
        assert asked.json() == {"active": False} or asked.status_code in {400, 413}, name
        revoked = await ana.post("/revoke", {"token": make()})
        assert revoked.status_code in {200, 400, 413}, name


async def test_none_says_who_logs_out(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, aud=oauthclients.ID, sub="userid:1", sid="s")
    ana = provider.browser()
    assert (await ana.http.get("/logout", params={"id_token_hint": exchange.token()})).status_code == 200
    for name, make in CASES.items():
        if name.startswith("exp ") or ATTACKS[name][1] == "AudienceNotTrusted":
            continue  # a hint that has expired is as good, and one of a client that is gone is still one of ours
        answer = await ana.http.get("/logout", params={"id_token_hint": make()})
        assert answer.status_code == 400, name


async def test_none_proves_who_a_client_is(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    members: dict[str, Any] = {"authMethod": "private_key_jwt", "jwks": KEYS, "redirectURIs": None}
    robot = oauthclients.record(
        "robot", grantTypes=["client_credentials"], audiences=["https://api.example"], **members
    )
    provider.load(robot, issuer=exchange.FOREIGN, token_endpoint=f"{exchange.FOREIGN}/token")
    told(monkeypatch, iss="robot", sub="robot", aud=exchange.FOREIGN, exp=int(exchange.NOW) + 60, jti="j")
    http = provider.browser().http

    async def asks(proof: str) -> int:
        form = {"client_assertion": proof, "client_assertion_type": ASSERTION_TYPE}
        return (await http.post("/token", data={"grant_type": "client_credentials", **form})).status_code

    for name, make in CASES.items():
        assert await asks(make()) in {400, 401, 413}, name
    assert await asks(exchange.token()) == 200
