"""ID and access tokens that are signed outside of this process: awaited, and thrown away where trust changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from fakes import idp, oauthclients
from fakes.idp import Provider
from fakes.outside import Outside
from tailseal.tokens.signers import SignerError

APP = oauthclients.record(allow={"users": ["*@corp.example"]}, idTokenAlgorithm="ES256")


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with idp.running(tmp_path, APP) as made:
        yield made


@pytest.fixture
def outside(provider: Provider) -> Outside:
    made = Outside("ES256", "idp")
    present = provider.worker.loader.snapshot
    assert present
    signers = {**present.signing.signers, "ES256": made}
    provider.worker.loader.snapshot = replace(present, signing=replace(present.signing, signers=signers))
    return made


async def test_tokens_are_signed_by_a_key_that_is_elsewhere(provider: Provider, outside: Outside) -> None:
    ana = provider.browser()
    given = await ana.tokens()
    keys = KeySet.import_key_set((await ana.http.get("/.well-known/jwks.json")).json())
    for name in ("id_token", "access_token"):
        assert jwt.decode(given[name], keys, algorithms=["ES256"]).claims["sub"] == "userid:1"
    assert outside.signed == 2
    told = await ana.http.get("/userinfo", headers={"authorization": f"Bearer {given['access_token']}"})
    assert told.status_code == 200


async def test_a_key_out_of_reach_uses_no_code_up(provider: Provider, outside: Outside) -> None:
    def fail() -> None:
        raise SignerError("the canary token is away")

    ana = provider.browser()
    code = await ana.login()
    outside.meanwhile = fail
    refused = await ana.redeem(code)
    assert (refused.status_code, refused.json()["tailseal_reason"]) == (503, "SignerUnreachable")
    assert "canary" not in refused.text
    outside.meanwhile = lambda: None
    assert (await ana.redeem(code)).status_code == 200


async def test_what_a_key_signed_while_it_was_revoked_is_thrown_away(provider: Provider, outside: Outside) -> None:
    def revoke() -> None:
        present = provider.worker.loader.snapshot
        assert present
        signers = {kid: signer for kid, signer in present.signing.signers.items() if kid != "ES256"}
        held = {kid: key for kid, key in present.signing.held.items() if kid != "ES256"}
        provider.worker.loader.snapshot = replace(present, signing=replace(present.signing, signers=signers, held=held))

    ana = provider.browser()
    code = await ana.login()
    outside.meanwhile = revoke
    refused = await ana.redeem(code)
    assert (refused.status_code, refused.json()["tailseal_reason"]) == (503, "NoActiveKey")


async def test_what_a_key_signed_for_a_client_that_was_taken_away_is_thrown_away(
    provider: Provider, outside: Outside
) -> None:
    def remove() -> None:
        present = provider.worker.loader.snapshot
        assert present
        provider.worker.loader.snapshot = replace(present, clients={})

    ana = provider.browser()
    code = await ana.login()
    outside.meanwhile = remove
    refused = await ana.redeem(code)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
