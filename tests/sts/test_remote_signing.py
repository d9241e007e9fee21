"""Tokens that are signed outside of this process: awaited, thrown away where trust changed, never half given."""

from __future__ import annotations

from dataclasses import replace

import httpx
import jwt
import pytest

from fakes.exchange import SPEC, ec_key, jwk, spec
from fakes.outside import Outside, signed_by
from fakes.sts import House, post, snapshot
from tailseal.tokens.signers import SignerError


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def house(outside: Outside) -> House:
    made = House()
    made.current = signed_by(outside)
    return made


def verified(answer: httpx.Response) -> dict[str, object]:
    key = jwt.PyJWK(jwk(ec_key("ours"), "k1", "ES256"))
    options = {"verify_exp": False, "verify_aud": False, "verify_iat": False}
    found: dict[str, object] = jwt.decode(answer.json()["access_token"], key, algorithms=["ES256"], options=options)  # type: ignore[arg-type]
    return found


async def test_it_is_the_same_token_as_one_signed_here(house: House) -> None:
    async with house.client() as client:
        remote = await post(client)
        house.current = snapshot()
        local = await post(client)
    assert verified(remote) | {"jti": 0} == verified(local) | {"jti": 0}
    for line in house.audit.lines:
        del line["decision"]
    assert house.audit.lines[0] == house.audit.lines[1]


async def test_a_key_out_of_reach_is_an_outage_and_nothing_is_given(house: House, outside: Outside) -> None:
    def fail() -> None:
        raise SignerError("the canary token is away")

    outside.meanwhile = fail
    async with house.client() as client:
        answer = await post(client)
    assert (answer.status_code, answer.json()["tailseal_reason"]) == (503, "SignerUnreachable")
    assert "canary" not in answer.text
    assert house.audit.lines[0]["result"] == "error"


async def test_what_was_signed_is_thrown_away_where_trust_was_withdrawn_meanwhile(
    house: House, outside: Outside
) -> None:
    def withdraw() -> None:
        house.current = signed_by(outside, snapshot(spec=spec(subject={"exact": "nobody"}), serial=2))

    outside.meanwhile = withdraw
    async with house.client() as client:
        answer = await post(client)
    assert (answer.status_code, answer.json()["tailseal_reason"]) == (400, "NoPolicyMatches")
    assert [line["result"] for line in house.audit.lines] == ["refused"]


async def test_what_was_signed_is_thrown_away_where_the_key_was_revoked_meanwhile(
    house: House, outside: Outside
) -> None:
    def revoke() -> None:
        found = signed_by(outside, snapshot(serial=2))
        house.current = replace(found, signing=replace(found.signing, model=found.signing.model.model_copy(
            update={"active": {}, "default_algorithm": ""}
        )))  # fmt: skip

    outside.meanwhile = revoke
    async with house.client() as client:
        answer = await post(client)
    assert (answer.status_code, answer.json()["tailseal_reason"]) == (503, "NoActiveKey")


async def test_a_change_that_means_nothing_to_the_request_costs_no_second_signature(
    house: House, outside: Outside
) -> None:
    def swap() -> None:
        house.current = signed_by(outside, snapshot(spec=SPEC, serial=2))
        house.now += 2

    outside.meanwhile = swap
    async with house.client() as client:
        answer = await post(client)
    assert verified(answer)["iat"] == int(house.now) - 2
    assert outside.signed == 1
