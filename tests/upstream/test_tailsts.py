"""The dialect of TailSTS on `POST /`: its texts and status codes, through the exchange that everybody uses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.exchange import NOW, SETTINGS, SPEC, claims, rsa_key, spec, token
from fakes.sts import House, snapshot
from tailseal.domain.bundle.model import Settings, TailscaleUpstream, Upstream
from tailseal.domain.policy.source import KeySource
from tailseal.tokens import tailsts
from tailseal.tokens.keyset import KeySet
from tailseal.tokens.outcomes import Answered
from tailseal.tokens.request import RequestError
from tailseal.upstream.errors import UpstreamError, UpstreamReason
from tailseal.workers.common.limits.exchange import Limits, Rate
from tailseal.workers.common.outbound.keycache import KeysUnavailable

TAILSCALE = {"name": "tail", "tailscale": {"upstream": "prod", "scopes": ["devices:read", "acls"]}}
LAB = {"name": "lab", "tailscale": {"upstream": "lab", "scopes": ["dns"]}}


def settings(tailsts_upstream: str | None = "prod") -> Settings:
    upstreams = tuple(
        Upstream(name=name, tailscale=TailscaleUpstream(api_url="https://ts.example", credential=name))
        for name in ("prod", "lab")
    )
    return SETTINGS.model_copy(update={"upstreams": upstreams, "tailsts_upstream": tailsts_upstream})


@pytest.fixture
def house() -> House:
    made = House()
    made.current = snapshot(settings(), SPEC | {"grants": [*SPEC["grants"], TAILSCALE, LAB]})
    return made


async def ask(
    client: httpx.AsyncClient, scopes: Sequence[str] = ("devices:read",), bearer: str | None = None
) -> httpx.Response:
    authorization = {"authorization": f"Bearer {bearer or token()}"}
    return await client.post("/", json={"scopes": list(scopes)}, headers=authorization)


async def test_a_bearer_token_and_scopes_give_the_bare_token(house: House) -> None:
    async with house.client() as client:
        answer = await ask(client, ["acls", "acls"])
    assert (answer.status_code, answer.text) == (200, "tskey-for-acls")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    (line,) = house.audit.lines
    assert (line["result"], line["policy"], line["upstream"], line["scope"]) == (
        "granted",
        "identity/ci",
        "prod",
        "acls",
    )
    assert 'endpoint="tailsts"' in house.metrics.render().decode()


async def test_no_caller_ever_gets_a_token_with_anothers_scopes(house: House) -> None:
    """TailSTS kept the scopes of all requests in one place: whoever came in between got another's."""
    async with house.client() as client:
        asked = [["devices:read"], ["acls"], ["devices:read", "acls"]] * 40
        answers = await asyncio.gather(*(ask(client, scopes) for scopes in asked))
    assert [answer.text for answer in answers] == [f"tskey-for-{'+'.join(scopes)}" for scopes in asked]
    assert sorted(scopes for _, scopes in house.upstreams.asked) == sorted(tuple(scopes) for scopes in asked)


EXPIRED = claims(exp=int(NOW) - 500, iat=int(NOW) - 900)
REFUSALS: dict[str, tuple[dict[str, Any], int, str]] = {
    "no header": ({"headers": {}}, 401, "missing Authorization header"),
    "another scheme": ({"headers": {"authorization": "Basic eA=="}}, 401, "invalid Authorization header"),
    "a scheme in lower case": ({"headers": {"authorization": "bearer x"}}, 401, "invalid Authorization header"),
    "header before body": ({"headers": {}, "content": b"x"}, 401, "missing Authorization header"),
    "no JSON": ({"content": b"{"}, 400, "invalid request"),
    "a list": ({"content": b"[]"}, 400, "invalid request"),
    "a text": ({"json": {"scopes": "acls"}}, 400, "invalid request"),
    "numbers": ({"json": {"scopes": [1]}}, 400, "invalid request"),
    "more than anybody grants": ({"json": {"scopes": [str(n) for n in range(33)]}}, 400, "invalid request"),
    "a long body": ({"content": b" " * 70_000}, 400, "invalid request"),
    "no scopes": ({"json": {}}, 400, "missing scopes"),
    "null": ({"content": b"null"}, 400, "missing scopes"),
    "null scopes": ({"json": {"scopes": None}}, 400, "missing scopes"),
    "an empty list": ({"json": {"scopes": []}}, 400, "missing scopes"),
    "no token": ({"bearer": "x"}, 401, "invalid token"),
    "an empty token": ({"headers": {"authorization": "Bearer "}}, 401, "invalid token"),
    "unknown issuer": ({"bearer": token(claims(iss="https://other.example"))}, 401, "no matching policy"),
    "another audience": ({"bearer": token(claims(aud="https://other.example"))}, 401, "no matching policy"),
    "another key": ({"bearer": token(key=rsa_key("other"))}, 401, "invalid signature"),
    "expired": ({"bearer": token(EXPIRED)}, 401, "token expired or not yet valid"),
    "not yet valid": ({"bearer": token(claims(nbf=int(NOW) + 500))}, 401, "token expired or not yet valid"),
    "no expiry": ({"bearer": token(claims(exp=None))}, 401, "malformed token"),
    "critical header": (
        {"bearer": token(header={"alg": "RS256", "kid": "f1", "crit": ["b64"]})},
        401,
        "cannot handle this token",
    ),
    "another subject": ({"bearer": token(claims(sub="repo:acme/other"))}, 403, "subject mismatch"),
    "a scope too many": ({"json": {"scopes": ["acls", "all"]}}, 403, "request denied"),
    "a scope of another upstream": ({"json": {"scopes": ["dns"]}}, 403, "request denied"),
    "a scope of a JWT": ({"json": {"scopes": ["read"]}}, 403, "request denied"),
    "two scopes in one": ({"json": {"scopes": ["devices:read acls"]}}, 403, "request denied"),
}


@pytest.mark.parametrize(("request_", "status", "text"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_refusal_has_tailsts_status_and_text(
    house: House, request_: dict[str, Any], status: int, text: str
) -> None:
    authorization = {"authorization": f"Bearer {request_.pop('bearer', token())}"}
    if "content" not in request_:
        request_ = {"json": {"scopes": ["acls"]}} | request_
    async with house.client() as client:
        answer = await client.post("/", **{"headers": authorization} | request_)
    assert (answer.status_code, answer.text) == (status, text + "\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "www-authenticate" not in answer.headers
    (line,) = house.audit.lines
    assert (answer.headers["tailseal-reason"], answer.headers["tailseal-decision"]) == (
        line["reason"],
        line["decision"],
    )
    assert house.upstreams.asked == []


@pytest.mark.parametrize("reason", UpstreamReason)
async def test_whatever_fails_upstream_is_one_text(house: House, reason: UpstreamReason) -> None:
    house.upstreams.error = UpstreamError(reason, "detail")
    async with house.client() as client:
        answer = await ask(client)
    assert (answer.status_code, answer.text) == (500, "failed to get tailscale token\n")
    assert answer.headers["tailseal-reason"] == reason


async def test_who_comes_too_often_is_told_so_in_words_that_no_refusal_has(house: House) -> None:
    house.limits = Limits(lambda: house.now, source=Rate(1, 2, 64))
    async with house.client() as client:
        answers = [await ask(client, bearer="x") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert (answers[-1].text, answers[-1].headers["retry-after"]) == ("too many requests\n", "1")


async def test_an_outage_is_no_refusal(house: House) -> None:
    async def fail(_: KeySource) -> KeySet:
        raise KeysUnavailable("KeysUnreachable", "no route")

    house.fetch = fail
    async with house.client() as client:
        answer = await ask(client)
    assert (answer.status_code, answer.text) == (503, "temporarily unavailable\n")
    assert answer.headers["retry-after"]


async def test_a_decision_that_cannot_be_written_down_grants_nothing(house: House) -> None:
    house.audit.broken = True
    async with house.client() as client:
        answer = await ask(client)
    assert (answer.status_code, answer.text) == (503, "temporarily unavailable\n")


async def test_a_fault_of_ours_is_its_500(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError

    monkeypatch.setattr("tailseal.tokens.trust.decide", broken)
    async with house.client() as client:
        answer = await ask(client)
    assert (answer.status_code, answer.text) == (500, "failed to get tailscale token\n")


async def test_it_is_off_unless_an_upstream_is_named(house: House) -> None:
    house.current = snapshot(settings(None), SPEC | {"grants": [TAILSCALE]})
    async with house.client() as client:
        assert (await ask(client)).status_code == (await client.get("/")).status_code == 404
        house.current = None
        assert (await ask(client)).status_code == 404
    assert house.audit.lines == []


async def test_turned_off_under_way_it_grants_nothing_of_another_kind(house: House) -> None:
    """The name of no upstream is not the name of the upstream that a JWT grant does not have."""
    assert house.current is not None
    body = json.dumps({"scopes": ["read"]}).encode()

    async def swapped() -> AsyncIterator[bytes]:
        house.current = snapshot(settings(None), SPEC)
        yield body

    async with house.client() as client:
        answer = await client.post("/", content=swapped(), headers={"authorization": f"Bearer {token()}"})
    assert (answer.status_code, answer.text) == (403, "request denied\n")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_other_methods_are_refused(house: House, method: str) -> None:
    async with house.client() as client:
        answer = await client.request(method, "/")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_several_policies_of_one_issuer_all_count(house: House) -> None:
    """TailSTS tried the first policy of an issuer only."""
    other = spec(subject={"exact": "repo:acme/other"}) | {"grants": [TAILSCALE]}
    assert house.current is not None
    house.current = snapshot(settings(), other)
    async with house.client() as client:
        assert (await ask(client, bearer=token(claims(sub="repo:acme/other")))).status_code == 200


@pytest.mark.parametrize("name", ["scopes", "Scopes", "SCOPES"])
def test_the_members_name_is_found_in_any_case(name: str) -> None:
    read = tailsts.read(json.dumps({"x": 1, name: ["a"]}).encode(), "Bearer t", "prod")
    assert (read.subject_token, read.asked.scopes, read.asked.upstream) == ("t", ("a",), "prod")


@given(st.binary(max_size=300), st.none() | st.text(max_size=30))
def test_no_request_breaks_the_reader(body: bytes, authorization: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        tailsts.read(body, authorization, "prod")
    response = tailsts.said(
        Answered(tailsts.Response(caught.value.status, b"", ()), {}, "refused", caught.value.reason)
    )
    assert response.status in {400, 401}
