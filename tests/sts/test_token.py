"""The token endpoint over ASGI: it waits where the core asks, writes before it answers, and hides its own faults."""

# ruff: noqa: ANN401 - ASGI messages are dictionaries of anything
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import structlog

from fakes.exchange import FORM, NOW, SETTINGS, SPEC, claims, foreign_set, form, record, spec, token
from fakes.sts import House, post, snapshot
from tailseal.domain.bundle.model import TailscaleUpstream, Upstream
from tailseal.domain.policy.compile import compile_policy
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.source import KeySource
from tailseal.tokens.keyset import KeySet
from tailseal.upstream.errors import UpstreamError, UpstreamReason
from tailseal.workers.common.http import wire
from tailseal.workers.common.outbound.keycache import KeysUnavailable
from tailseal.workers.exchange.peer import caller, networks
from tailseal.workers.exchange.token import TokenEndpoint
from tailseal.workers.exchange.waiting import AT_ONCE


@pytest.fixture
def house() -> House:
    return House()


async def test_a_token_is_exchanged_after_its_keys_were_fetched_once(house: House) -> None:
    async with house.client() as client:
        answers = await asyncio.gather(*(post(client) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert len(house.fetched) == 1
    assert len({answer.json()["access_token"] for answer in answers}) == 5
    assert [line["result"] for line in house.audit.lines] == ["granted"] * 5
    assert house.audit.lines[0]["caller"] == "192.0.2.7"


async def test_an_unknown_issuer_fetches_nothing(house: House) -> None:
    async with house.client() as client:
        answer = await post(client, form(token(claims(iss="https://attacker.example"))))
    assert (answer.status_code, answer.json()["tailseal_reason"]) == (400, "UnknownIssuer")
    assert house.fetched == []


async def test_keys_that_cannot_be_had_are_an_outage(house: House) -> None:
    async def fail(_: KeySource) -> KeySet:
        raise KeysUnavailable("KeysUnreachable", "no route")

    house.fetch = fail
    async with house.client() as client:
        answer = await post(client)
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    assert answer.headers["retry-after"]


async def test_no_decision_counts_that_could_not_be_written_down(house: House) -> None:
    house.audit.broken = True
    async with house.client() as client:
        answer = await post(client)
    assert (answer.status_code, answer.json()["tailseal_reason"]) == (503, "AuditUnavailable")
    assert "access_token" not in answer.text


async def test_what_is_withheld_is_withheld_from_everybody(house: House) -> None:
    house.withheld = "Behind"
    async with house.client() as client:
        answer = await post(client)
        assert (answer.status_code, answer.json()["tailseal_reason"]) == (503, "Behind")
        assert (await client.get("/.well-known/jwks.json")).status_code == 200
    assert house.audit.lines[0]["reason"] == "Behind"


async def test_without_a_bundle_there_is_no_exchange(house: House) -> None:
    house.current = None
    async with house.client() as client:
        answer = await post(client)
    assert (answer.status_code, answer.json()["tailseal_reason"]) == (503, "BundleMissing")


async def test_a_lease_that_ended_signs_nothing(house: House) -> None:
    house.now = NOW + 200
    async with house.client() as client:
        assert (await post(client)).status_code == 200
        assert house.current is not None
        house.now = NOW + 1000
        late = form(token(claims(iat=int(house.now), exp=int(house.now) + 300)))
        answer = await post(client, late)
    assert (answer.status_code, answer.json()["tailseal_reason"]) == (503, "NoActiveKey")


async def test_a_swapped_bundle_decides_at_once(house: House) -> None:
    async with house.client() as client:
        assert (await post(client)).status_code == 200
        house.current = snapshot(spec=SPEC | {"enforcement": "Audit"}, serial=2)
        answer = await post(client)
    assert answer.json()["tailseal_reason"] == "AuditOnly"


TAILSCALE = SPEC | {"grants": [{"name": "tail", "tailscale": {"upstream": "prod", "scopes": ["a", "b"]}}]}


def with_upstream(house: House) -> None:
    upstream = Upstream(name="prod", tailscale=TailscaleUpstream(api_url="https://ts.example", credential="c"))
    house.current = snapshot(SETTINGS.model_copy(update={"upstreams": (upstream,)}), TAILSCALE)


async def test_concurrent_callers_never_see_each_others_scopes(house: House) -> None:
    with_upstream(house)
    async with house.client() as client:
        asked = ["a", "b", "a", "b"] * 5
        answers = await asyncio.gather(*(post(client, form(scope=scope)) for scope in asked))
    assert [answer.json()["access_token"] for answer in answers] == [f"tskey-for-{scope}" for scope in asked]
    assert "tskey" not in str(house.audit.lines)


def narrowed(house: House, grant: dict[str, Any] | None) -> None:
    """As if a bundle arrived while the upstream is being asked."""
    assert house.current is not None
    spec = SPEC if grant is None else SPEC | {"grants": [{"name": "tail", "tailscale": {"upstream": "prod", **grant}}]}
    house.current = snapshot(house.current.settings, spec, serial=2)


@pytest.mark.parametrize(
    ("grant", "answer", "asked"),
    [
        ({"scopes": ["a", "b"]}, "tskey-for-a+b", [("a", "b")]),
        ({"scopes": ["a"]}, "tskey-for-a", [("a", "b"), ("a",)]),
        (None, None, [("a", "b")]),
    ],
    ids=["changed elsewhere", "narrowed", "withdrawn"],
)
async def test_what_is_withdrawn_while_the_upstream_is_asked_is_not_handed_out(
    house: House, grant: dict[str, Any] | None, answer: str | None, asked: list[tuple[str, ...]]
) -> None:
    with_upstream(house)
    house.upstreams.meanwhile = lambda: narrowed(house, grant)
    async with house.client() as client:
        got = await post(client, form(audience="https://ts.example"))
    assert got.json().get("access_token") == answer
    assert [scopes for _, scopes in house.upstreams.asked] == asked
    assert house.audit.lines[-1]["result"] == ("refused" if answer is None else "granted")


@pytest.mark.parametrize(
    ("reason", "status", "error"),
    [
        (UpstreamReason.UNAVAILABLE, 503, "temporarily_unavailable"),
        (UpstreamReason.SCOPE_REFUSED, 400, "invalid_scope"),
    ],
)
async def test_an_upstream_that_refuses_is_told_apart_from_one_that_is_down(
    house: House, reason: UpstreamReason, status: int, error: str
) -> None:
    with_upstream(house)
    house.upstreams.error = UpstreamError(reason, "secret detail")
    async with house.client() as client:
        answer = await post(client)
    assert (answer.status_code, answer.json()["error"], answer.json()["tailseal_reason"]) == (status, error, reason)
    assert "secret" not in answer.text + str(house.audit.lines)


async def test_a_body_is_read_only_up_to_its_cap(house: House) -> None:
    async with house.client() as client:
        answer = await post(client, b"a=" + b"x" * 100_000)
    assert (answer.status_code, answer.json()["tailseal_reason"]) == (413, "RequestTooLarge")


async def test_a_body_in_pieces_is_one_body(house: House) -> None:
    body = form()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    async with house.client() as client:
        answer = await client.post("/token", content=pieces(), headers={"content-type": FORM})
    assert answer.status_code == 200


async def test_who_hangs_up_leaves_nothing_behind(house: House) -> None:
    endpoint = TokenEndpoint(house.runtime())
    messages: Iterator[dict[str, Any]] = iter(
        [{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(_: object) -> None:
        raise AssertionError("there is nobody to answer")

    await endpoint({"type": "http", "headers": []}, receive, send)
    assert house.audit.lines == []


async def test_more_than_fits_is_turned_away_at_once(house: House) -> None:
    asked, slow = asyncio.Event(), asyncio.Event()

    async def fetch(_: KeySource) -> KeySet:
        asked.set()
        await slow.wait()
        return foreign_set()

    house.fetch = fetch
    transport = httpx.ASGITransport(TokenEndpoint(house.runtime(), limit=1))
    async with httpx.AsyncClient(transport=transport, base_url="http://sts") as client:
        first = asyncio.create_task(post(client))
        await asked.wait()
        crowded = await post(client)
        slow.set()
        assert (await first).status_code == 200
    assert (crowded.status_code, crowded.json()["tailseal_reason"]) == (503, "Overloaded")
    assert crowded.headers["retry-after"]


def with_sources(house: House, *places: str) -> None:
    """Policies that name the issuer's keys and sets elsewhere for the same issuer."""
    policies = [record()] + [record(spec(keys={"jwksURI": place}), name=f"p{place[-1]}") for place in places]
    house.current = replace(snapshot(), index=PolicyIndex(compile_policy(entry, SETTINGS) for entry in policies))


async def test_keys_of_several_sources_are_awaited_at_the_same_time(house: House) -> None:
    with_sources(house, "https://keys.example/1", "https://keys.example/2")
    asked: list[KeySource] = []
    all_asked = asyncio.Event()

    async def fetch(source: KeySource) -> KeySet:
        asked.append(source)
        if len(asked) == 3:
            all_asked.set()
        await all_asked.wait()
        raise KeysUnavailable("KeysUnreachable", "no route")

    house.fetch = fetch
    async with asyncio.timeout(60), house.client() as client:
        answer = await post(client)
    assert (answer.status_code, answer.json()["tailseal_reason"]) == (503, "KeysUnreachable")
    assert asked[0].kind == "discovery"


async def test_who_can_be_answered_does_not_wait_for_slow_sources_of_others(house: House) -> None:
    with_sources(house, *(f"https://keys.example/{number}" for number in range(9)))
    asked: list[KeySource] = []

    async def fetch(source: KeySource) -> KeySet:
        asked.append(source)
        if source.kind != "discovery":
            await asyncio.Event().wait()
        return foreign_set()

    house.fetch = fetch
    async with asyncio.timeout(60), house.client() as client:
        assert (await post(client)).status_code == 200
    assert len(asked) <= AT_ONCE


async def test_slow_sources_leave_places_to_those_whose_keys_are_there(house: House) -> None:
    other = "https://other.example"
    policies = [record(), record(spec(issuer=other), name="other")]
    house.current = replace(snapshot(), index=PolicyIndex(compile_policy(entry, SETTINGS) for entry in policies))
    slow = asyncio.Event()

    async def fetch(source: KeySource) -> KeySet:
        if source.issuer == other:
            await slow.wait()
        return foreign_set()

    house.fetch = fetch
    transport = httpx.ASGITransport(TokenEndpoint(house.runtime(), limit=4))
    async with asyncio.timeout(60), httpx.AsyncClient(transport=transport, base_url="http://sts") as client:
        assert (await post(client)).status_code == 200
        theirs = form(token(claims(iss=other)))
        waiting = [asyncio.create_task(post(client, theirs)) for _ in range(3)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        (crowded,) = (task.result() for task in done)
        assert (crowded.status_code, crowded.json()["tailseal_reason"]) == (503, "Overloaded")
        assert crowded.headers["retry-after"]
        assert (await post(client)).status_code == 200
        slow.set()
        assert sorted(answer.status_code for answer in await asyncio.gather(*waiting)) == [200, 200, 503]


async def test_who_sends_slowly_takes_no_place_from_others(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HURRY_SECONDS", 0.01)
    endpoint = TokenEndpoint(house.runtime(), limit=1)
    sent: list[Any] = []

    async def stuck() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def prompt() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": form()}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": [(b"content-type", FORM.encode())]}
    first = asyncio.create_task(endpoint(scope, stuck, send))
    await asyncio.sleep(0)
    await endpoint(scope, stuck, send)
    assert (sent[0]["status"], dict(sent[0]["headers"])[b"connection"]) == (408, b"close")
    await endpoint(scope, prompt, send)
    assert sent[2]["status"] == 200
    first.cancel()


async def test_a_fault_of_ours_shows_neither_token_nor_detail(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError(f"broken by {token()}")

    monkeypatch.setattr("tailseal.tokens.trust.decide", broken)
    with structlog.testing.capture_logs() as logs:
        async with house.client() as client:
            answer = await post(client)
    assert (answer.status_code, answer.json()["error"]) == (500, "server_error")
    assert "broken" in logs[0]["where"]
    for text in (answer.text, str(logs), str(house.audit.lines)):
        assert "broken by" not in text
        assert token().split(".")[1] not in text


async def test_refusals_are_counted_by_their_reason(house: House) -> None:
    async with house.client() as client:
        await post(client, form("x"))
        await post(client)
    text = house.metrics.render().decode()
    assert 'reason="TokenMalformed",result="refused"} 1.0' in text
    assert 'reason="",result="granted"} 1.0' in text


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_post_exchanges(house: House, method: str) -> None:
    async with house.client() as client:
        answer = await client.request(method, "/token")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


async def test_no_path_redirects(house: House) -> None:
    async with house.client() as client:
        assert (await client.post("/token/", headers={"host": "evil.example"})).status_code == 404


@pytest.mark.parametrize(
    ("trusted", "forwarded", "expected"),
    [
        ((), "203.0.113.9", "10.0.0.1"),
        (("10.0.0.0/8",), "203.0.113.9", "203.0.113.9"),
        (("10.0.0.0/8",), "198.51.100.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        (("10.0.0.0/8",), "203.0.113.9, junk", "10.0.0.1"),
        (("10.0.0.0/8",), "", "10.0.0.1"),
        (("192.0.2.0/24",), "203.0.113.9", "10.0.0.1"),
        (("junk", "10.0.0.1"), "203.0.113.9", "203.0.113.9"),
    ],
)
def test_the_caller_is_the_last_hop_that_trusted_proxies_vouch_for(
    trusted: tuple[str, ...], forwarded: str, expected: str
) -> None:
    assert caller("10.0.0.1", forwarded, networks(trusted)) == expected


async def test_a_moments_trouble_at_the_issuer_is_an_outage_of_a_second_not_of_half_a_minute(house: House) -> None:
    answers = iter([KeysUnavailable("KeysUnreachable", "gone"), foreign_set()])

    async def fetch(_: KeySource) -> KeySet:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    house.fetch = fetch
    async with house.client() as client:
        assert (await post(client)).status_code == 503
        assert (await post(client)).status_code == 503
        house.now += 1
        assert (await post(client)).status_code == 200
