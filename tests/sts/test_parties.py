"""Sessions, actors and proofs through a running worker on real sockets, checked by a library that made none of it."""

# ruff: noqa: ANN401 - claims are of many types
from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, import_key

from fakes import bundles, exchange
from fakes.exchange import JWT_TYPE, NOW, OURS, SETTINGS
from fakes.worker import PATIENCE, content, form, running, until
from tailseal.tokens.verify import ACCESS_TOKEN
from tailseal.workers.common.bundle.source import MemorySource
from tailseal.workers.exchange.hindsight import Hindsight

GATEWAY = "https://gateway.corp.example"
BEHIND = "https://behind.corp.example"
ROBOTS = "https://robots.example"
PUBLISHED = import_key(exchange.jwk(exchange.ec_key("k1"), "k1", "ES256"))


def policy(name: str, trust: dict[str, Any], audience: str, **members: Any) -> Any:
    grant = {"name": "it", "jwt": {"audiences": [audience], "ttl": "5m"}}
    return exchange.record(exchange.SPEC | {"from": trust, "grants": [grant]} | members, name=name)


def inline(issuer: str, key: str, kid: str) -> dict[str, Any]:
    keys = {"keys": [exchange.jwk(exchange.rsa_key(key), kid, "RS256")]}
    return {"oidc": {"issuer": issuer, "keys": {"jwks": keys}}}


def source() -> MemorySource:
    session = {"session": {"audiences": [GATEWAY], "clients": ["policy:identity/*"]}}
    records = (
        policy("ci", inline(exchange.FOREIGN, "foreign", "f1"), GATEWAY, actors=[inline(ROBOTS, "robots", "r1")]),
        policy("gateway", session, BEHIND),
    )
    return bundles.source(None, bundles.policies(*records))


def robot() -> str:
    claims = exchange.claims(iss=ROBOTS, sub="robot-7", repository_id=None)
    return exchange.token(claims, {"alg": "RS256", "kid": "r1"}, exchange.rsa_key("robots"))


def read(token: str) -> Any:
    return jwt.decode(token, PUBLISHED, algorithms=["ES256"])


async def post(url: str, body: dict[str, str], **headers: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.post(f"{url}/token", data=body, headers=headers)


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    path = tmp_path / "audit"
    path.touch()
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content(path).splitlines()]


async def test_a_gateway_exchanges_the_token_that_it_was_sent(audit: Path) -> None:
    async with running(source(), audit) as worker:
        sent = (await post(worker.public, form())).json()["access_token"]
        answer = await post(worker.public, form(subject_token=sent, subject_token_type=ACCESS_TOKEN))
        stranger = await post(worker.public, form(subject_token=answer.json()["access_token"]))
    found = read(answer.json()["access_token"])
    assert (found.header["typ"], found.claims["aud"], found.claims["sub"]) == (
        "at+jwt",
        BEHIND,
        "policy:identity/gateway",
    )
    assert found.claims["exp"] <= read(sent).claims["exp"]
    assert (stranger.status_code, stranger.json()["tailseal_reason"]) == (400, "AudienceNotTrusted")


async def test_a_key_that_left_the_bundle_ends_its_sessions(audit: Path) -> None:
    bundle = source()
    async with running(bundle, audit) as worker:
        sent = (await post(worker.public, form())).json()["access_token"]
        body = form(subject_token=sent, subject_token_type=ACCESS_TOKEN)
        assert (await post(worker.public, body)).status_code == 200
        bundle.put("signing", bundles.signing("k2"))
        deadline = time.monotonic() + PATIENCE
        while (answer := await post(worker.public, body)).status_code == 200:
            assert time.monotonic() < deadline
    assert answer.json()["tailseal_reason"] == "UnknownKey"


async def test_an_actor_stands_in_the_token_and_in_the_audit_line(audit: Path) -> None:
    async with running(source(), audit) as worker:
        answer = await post(worker.public, form(actor_token=robot(), actor_token_type=JWT_TYPE))
        forged = exchange.token(exchange.claims(iss=ROBOTS), {"alg": "RS256", "kid": "r1"})
        refused = await post(worker.public, form(actor_token=forged, actor_token_type=JWT_TYPE))
    assert read(answer.json()["access_token"]).claims["act"] == {"iss": ROBOTS, "sub": "robot-7"}
    assert (refused.status_code, refused.json()["tailseal_reason"]) == (400, "ActorBadSignature")
    granted = lines(audit)[0]
    found = json.dumps(granted)
    assert "robot-7" in found
    assert ROBOTS in found
    shown = content(audit)
    for part in (*robot().split("."), *answer.json()["access_token"].split(".")):
        assert part not in shown


async def test_a_proof_binds_with_a_nonce_that_the_worker_gave(audit: Path) -> None:
    key = ECKey.generate_key("P-256")
    public = {name: value for name, value in key.as_dict(private=False).items() if name in {"kty", "crv", "x", "y"}}

    def proof(**claims: object) -> str:
        said = {"jti": "j1", "htm": "POST", "htu": SETTINGS.token_endpoint, "iat": int(NOW)} | claims
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": public}
        return jws.serialize_compact(header, json.dumps(said).encode(), key, algorithms=["ES256"])

    async with running(source(), audit) as worker:
        first = await post(worker.public, form(), dpop=proof(nonce="not-ours"))
        nonce = first.headers["dpop-nonce"]
        answer = await post(worker.public, form(), dpop=proof(nonce=nonce))
        async with httpx.AsyncClient() as client:
            twice = await client.post(
                f"{worker.public}/token", data=form(), headers=[("dpop", proof()), ("dpop", proof())]
            )
            metadata = (await client.get(f"{worker.public}/.well-known/oauth-authorization-server")).json()
        bound = answer.json()["access_token"]
        body = form(subject_token=bound, subject_token_type=ACCESS_TOKEN)
        stolen = await post(worker.public, body)
        kept = await post(worker.public, body, dpop=proof())
    assert (first.status_code, first.json()["error"]) == (400, "use_dpop_nonce")
    assert (answer.status_code, answer.json()["token_type"]) == (200, "DPoP")
    assert read(bound).claims["cnf"] == {"jkt": key.thumbprint()}
    assert (twice.status_code, twice.json()["error"]) == (400, "invalid_dpop_proof")
    assert (stolen.status_code, stolen.json()["tailseal_reason"]) == (400, "ProofMissing")
    assert read(kept.json()["access_token"]).claims["cnf"] == {"jkt": key.thumbprint()}
    assert "ES256" in metadata["dpop_signing_alg_values_supported"]
    assert metadata["issuer"] == OURS


@pytest.mark.parametrize(
    ("actors", "outcome"),
    [([inline(ROBOTS, "robots", "r1")], True), ([inline("https://other.example", "o", "o1")], False)],
)
async def test_a_decision_is_explained_afterwards_with_who_acted(
    audit: Path, actors: list[Any], *, outcome: bool
) -> None:
    bundle = source()
    async with running(bundle, audit) as worker:
        await post(worker.public, form(actor_token=robot(), actor_token_type=JWT_TYPE))
        (line,) = lines(audit)
        changed = policy("ci", inline(exchange.FOREIGN, "foreign", "f1"), GATEWAY, actors=actors)
        bundle.put("policies", bundles.policies(changed))
        await until(lambda: worker.worker.loader.snapshot.policies == 1)  # type: ignore[union-attr]
        question = json.dumps({"decision": line["id"]}).encode()
        document = json.loads(Hindsight(worker.worker.runtime).answer(question))
    assert document["wouldNowGrant"] is outcome
    text = json.dumps(document)
    assert ("spec.actors" in text) is not outcome
    assert not [part for part in robot().split(".") if part in text]
