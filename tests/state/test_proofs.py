"""What must be proved and what counts once, over HTTP at two workers on one database; proofs by another library."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from joserfc import jws
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey, KeySet

from fakes import exchange, worker
from fakes.processes import bundle, fresh, running
from tailseal_dev.postgres import PostgresServer

SHARED = exchange.SETTINGS.model_copy(update={"state": "Postgres"})


class Holder:
    """A caller with a key of its own, who remembers the nonce that it was given last (RFC 9449 section 8)."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.key = ECKey.generate_key("P-256")
        self.nonce = ""

    def proof(self, **changes: object) -> str:
        public = {name: value for name, value in self.key.as_dict(private=False).items() if name != "kid"}
        said = {"jti": os.urandom(9).hex(), "htm": "POST", "htu": SHARED.token_endpoint, "iat": int(time.time())}
        said |= ({"nonce": self.nonce} if self.nonce else {}) | changes
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": public}
        return jws.serialize_compact(header, json.dumps(said).encode(), self.key, algorithms=["ES256"])

    async def ask(self, url: str, proof: str | None = None, **fields: str) -> tuple[int, str, dict[str, Any]]:
        headers = {} if proof is None else {"DPoP": proof}
        answer = await self.client.post(f"{url}/token", data=fresh(**fields), headers=headers)
        self.nonce = answer.headers.get("dpop-nonce", self.nonce)
        content = answer.json()
        return answer.status_code, content.get("tailseal_reason", ""), content


def policy() -> dict[str, Any]:
    """Every grant is bound to a key; of the issuer's robots each token acts once."""
    found = worker.inline()
    grant = found["grants"][0]
    keys = found["from"]["oidc"]["keys"]
    robots = {"issuer": exchange.FOREIGN, "keys": keys, "subject": {"exact": "robot"}, "replay": {"oneTime": True}}
    bound = {"name": "bound", "jwt": grant["jwt"] | {"requireDPoP": True}}
    return found | {"grants": [grant, bound], "actors": [{"oidc": robots}]}


@asynccontextmanager
async def workers(folder: Path, url: str) -> AsyncIterator[tuple[httpx.AsyncClient, str, str]]:
    bundle(folder / "bundle", exchange.record(policy()), SHARED, {"state.url": url.encode()})
    async with (
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
        running(folder / "bundle") as one,
        running(folder / "bundle") as other,
    ):
        yield client, one.public, other.public


async def test_a_required_proof_is_asked_for_with_a_nonce_binds_the_token_and_counts_once(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    async with workers(tmp_path, postgres.url) as (client, one, other):
        holder = Holder(client)
        status, reason, answer = await holder.ask(one, grant="bound")
        assert (status, reason, answer["error"]) == (400, "ProofMissing", "invalid_dpop_proof")
        offered, holder.nonce = holder.nonce, ""
        status, reason, answer = await holder.ask(one, holder.proof(), grant="bound")
        assert (status, reason, answer["error"]) == (400, "ProofNonceNeeded", "use_dpop_nonce")
        assert offered
        assert holder.nonce
        proof = holder.proof()
        status, reason, answer = await holder.ask(other, proof, grant="bound")
        assert (status, reason, answer["token_type"]) == (200, "", "DPoP"), "a nonce of one replica counts at all"
        published = KeySet.import_key_set((await client.get(f"{one}/.well-known/jwks.json")).json())
        minted = joserfc_jwt.decode(answer["access_token"], published, algorithms=["ES256"]).claims
        assert minted["cnf"] == {"jkt": holder.key.thumbprint()}
        for url in (one, other):
            status, reason, answer = await holder.ask(url, proof, grant="bound")
            assert (status, reason, answer["error"]) == (400, "ProofReplayed", "invalid_dpop_proof")
        again = [holder.ask(url, holder.proof(jti="same"), grant="bound") for url in (one, other, one, other)]
        statuses = sorted(status for status, *_ in await asyncio.gather(*again))
        assert statuses == [200, 400, 400, 400]


async def test_a_proof_for_elsewhere_of_another_time_or_with_a_nonce_of_nobodys_is_refused(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    async with workers(tmp_path, postgres.url) as (client, one, _):
        holder = Holder(client)
        await holder.ask(one, grant="bound")
        for changes, expected in (
            ({"htu": "https://elsewhere.example/token"}, "ProofForAnotherRequest"),
            ({"htm": "GET"}, "ProofForAnotherRequest"),
            ({"iat": int(time.time()) - 600}, "ProofOutdated"),
            ({"nonce": "AAAA"}, "ProofNonceNeeded"),
        ):
            status, reason, _ = await holder.ask(one, holder.proof(**changes), grant="bound")
            assert (status, reason) == (400, expected)
        assert (await holder.ask(one, holder.proof(), grant="bound"))[0] == 200


async def test_an_actor_token_counts_once_at_whichever_replica(postgres: PostgresServer, tmp_path: Path) -> None:
    now = int(time.time())
    robot = exchange.token(exchange.claims(sub="robot", iat=now - 5, exp=now + 300, jti=os.urandom(8).hex()))
    acting = {"actor_token": robot, "actor_token_type": exchange.JWT_TYPE, "grant": "api"}
    async with workers(tmp_path, postgres.url) as (client, one, other):
        holder = Holder(client)
        asked = await asyncio.gather(*(holder.ask(url, **acting) for url in (one, other, one, other)))
        assert sorted((status, reason) for status, reason, _ in asked) == [
            (200, ""),
            *[(400, "ActorTokenReplayed")] * 3,
        ]
