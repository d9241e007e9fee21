"""The limits at the token endpoint: who comes too often is told so, and nobody pays for another."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import pytest
import structlog

from fakes.exchange import SETTINGS, claims, form, token
from fakes.sts import House, post, snapshot
from tailseal.domain.policy.source import KeySource
from tailseal.tokens.keyset import KeySet
from tailseal.workers.common.limits.exchange import Limits, Rate
from tailseal.workers.common.outbound.keycache import KeysUnavailable
from tailseal.workers.exchange.peer import is_unnamed_proxy, networks
from tailseal.workers.sts import app

GARBAGE = b"grant_type=nothing"


@pytest.fixture
def house() -> House:
    made = House()
    made.limits = Limits(lambda: made.now, source=Rate(1, 3, 64), policy=Rate(1, 5, 64), issuer=Rate(1, 7, 64))
    return made


async def test_who_sends_garbage_has_to_slow_down_and_is_told_for_how_long(house: House) -> None:
    async with house.client() as client:
        answers = [await post(client, GARBAGE) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [400, 400, 400, 429]
        last = answers[-1]
        assert last.headers["retry-after"] == "1"
        assert last.headers["cache-control"] == "no-store"
        assert last.json()["error"] == "temporarily_unavailable"
        assert last.json()["tailseal_reason"] == "SourceLimited"
        house.now += 1
        assert (await post(client, GARBAGE)).status_code == 400
    line = next(line for line in house.audit.lines if line["reason"] == "SourceLimited")
    assert (line["decision"], line["caller"], line["result"]) == (last.json()["decision_id"], "192.0.2.7", "refused")
    assert b'reason="SourceLimited",result="refused"} 1.0' in house.metrics.render()


async def test_a_fleet_behind_one_address_is_not_counted_for_what_it_is_granted(house: House) -> None:
    house.limits = Limits(lambda: house.now, source=Rate(1, 8, 64))
    async with house.client() as client:
        for _ in range(5):
            answers = await asyncio.gather(*(post(client) for _ in range(8)))
            assert {answer.status_code for answer in answers} == {200}


async def test_a_policy_that_grants_too_often_refuses_before_anything_is_signed_or_asked(house: House) -> None:
    async with house.client() as client:
        answers = [await post(client) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert answers[-1].json()["tailseal_reason"] == "PolicyLimited"
        house.now += 1
        assert (await post(client)).status_code == 200
    line = house.audit.lines[5]
    assert (line["reason"], line["policy"], "kid" in line) == ("PolicyLimited", "identity/ci", False)


async def test_tokens_that_no_policy_trusts_take_nothing_from_those_that_one_does(house: House) -> None:
    house.limits = Limits(lambda: house.now, policy=Rate(1, 5, 64), issuer=Rate(1, 1, 64))
    stranger = form(token(claims(sub="repo:mallory/app:ref:refs/heads/main", repository_owner_id="666")))
    async with house.client() as client:
        reasons = {(await post(client, stranger)).json()["tailseal_reason"] for _ in range(20)}
        assert reasons == {"NoPolicyMatches"}
        assert (await post(client)).status_code == 200
        assert (await post(client)).json()["tailseal_reason"] == "IssuerLimited"


async def test_an_address_that_a_caller_makes_up_gains_nothing(house: House) -> None:
    async with house.client() as client:
        answers = [await post(client, GARBAGE, **{"x-forwarded-for": f"198.51.100.{n}"}) for n in range(5)]
    assert [answer.status_code for answer in answers] == [400] * 3 + [429] * 2


@pytest.mark.parametrize("spoofed", ["", "203.0.113.{n}, ", "10.0.0.{n}, ", "nonsense{n}, ", ",,,{n},", "::{n}, "])
async def test_behind_a_trusted_proxy_each_caller_pays_for_himself_whatever_he_makes_up(
    house: House, spoofed: str
) -> None:
    settings = SETTINGS.model_copy(update={"trusted_proxies": ("192.0.2.0/24", "10.0.0.0/8")})
    house.current = snapshot(settings)
    async with house.client() as client:
        for number in range(6):
            forwarded = spoofed.format(n=number) + "198.51.100.1, 10.0.0.9"
            answer = await post(client, GARBAGE, **{"x-forwarded-for": forwarded})
            assert answer.status_code == (400 if number < 3 else 429)
        other = await post(client, GARBAGE, **{"x-forwarded-for": "198.51.100.2, 10.0.0.9"})
        assert other.status_code == 400


async def test_an_outage_of_ours_is_not_the_callers_fault(house: House) -> None:
    house.withheld = "BundleBehind"
    async with house.client() as client:
        answers = [await post(client) for _ in range(10)]
        assert {answer.status_code for answer in answers} == {503}
        house.withheld = None
        assert (await post(client)).status_code == 200


async def test_both_workers_of_one_process_share_the_buckets(house: House) -> None:
    runtime = house.runtime()
    for _ in range(3):
        transport = httpx.ASGITransport(app.build(runtime), client=("192.0.2.7", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://sts") as client:
            assert (await post(client, GARBAGE)).status_code == 400
    async with httpx.AsyncClient(transport=transport, base_url="http://sts") as client:
        assert (await post(client, GARBAGE)).status_code == 429


async def test_who_names_an_issuer_that_is_down_pays_like_anybody_who_proves_nothing(house: House) -> None:
    async def down(source: KeySource) -> KeySet:
        raise KeysUnavailable("KeysUnreachable", "it is down")

    house.fetch = down
    async with house.client() as client:
        statuses = [(await post(client)).status_code for _ in range(5)]
    assert statuses == [503] * 3 + [429] * 2


async def test_an_outage_behind_a_token_that_was_verified_costs_its_source_nothing(house: House) -> None:
    assert house.current is not None
    model = house.current.signing.model.model_copy(update={"active": {}, "default_algorithm": ""})
    house.current = replace(house.current, signing=replace(house.current.signing, model=model))
    house.limits = Limits(lambda: house.now, source=Rate(1, 3, 64))
    async with house.client() as client:
        reasons = {(await post(client)).json()["tailseal_reason"] for _ in range(8)}
    assert reasons == {"NoActiveKey"}


@pytest.mark.parametrize(
    ("header", "hints"),
    [({}, 0), ({"x-forwarded-for": "203.0.113.9"}, 1)],
    ids=["a caller himself", "an ingress that nobody named"],
)
async def test_a_limit_that_probably_meets_many_callers_as_one_is_said_once(
    house: House, header: dict[str, str], hints: int
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with house.client() as client:
            answers = [await post(client, GARBAGE, **header) for _ in range(6)]
    assert [answer.status_code for answer in answers[3:]] == [429] * 3
    found = [line for line in logs if line.get("fix") == "spec.serving.trustedProxies"]
    assert [line["peer"] for line in found] == ["192.0.2.7"] * hints


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "expected"),
    [
        ("10.0.0.1", "203.0.113.9", (), True),
        ("fd00::1", "203.0.113.9", (), True),
        ("10.0.0.1", "", (), False),
        ("8.8.8.8", "203.0.113.9", (), False),
        ("10.0.0.1", "203.0.113.9", ("192.168.0.0/16",), False),
        ("", "203.0.113.9", (), False),
    ],
)
def test_an_ingress_that_nobody_named_is_known_by_a_private_address_and_the_header(
    peer: str, forwarded: str, trusted: tuple[str, ...], *, expected: bool
) -> None:
    assert is_unnamed_proxy(peer, forwarded, networks(trusted)) is expected
