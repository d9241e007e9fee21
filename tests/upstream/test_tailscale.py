"""Asking Tailscale for a token, against a stand-in that answers as the real ones were seen to."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailseal.upstream.errors import UpstreamError, UpstreamReason
from tailseal.upstream.tailscale import Credential, UpstreamToken, fetch_token

CREDENTIAL = Credential("id", "tskey-client-canary")
API = "https://api.tailscale.example"


@dataclass
class Reply:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def answer(status: int = 200, headers: Mapping[str, str] | None = None, **content: object) -> Reply:
    return Reply(status, json.dumps(content).encode(), headers or {})


class StandIn:
    """Mints a token that says which scopes and tags it was asked for; takes its time, so that requests overlap."""

    def __init__(self, reply: Reply | None = None) -> None:
        self.reply = reply
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.random = random.Random(7)

    async def post(self, url: str, fields: Mapping[str, str]) -> Reply:
        self.asked.append((url, dict(fields)))
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)
        if self.reply:
            return self.reply
        scope, tags = fields["scope"], fields.get("tags", "")
        return answer(access_token=f"tskey-api {scope}|{tags}", token_type="Bearer", expires_in=3600, scope=scope)


async def ask(stand_in: StandIn, *scopes: str, tags: tuple[str, ...] = ()) -> UpstreamToken:
    return await fetch_token(stand_in.post, API + "/", CREDENTIAL, scopes=scopes, tags=tags)


async def test_the_request_is_the_one_of_the_documentation() -> None:
    stand_in = StandIn()
    token = await ask(stand_in, "devices:core", "auth_keys", tags=("tag:ci", "tag:x"))
    assert stand_in.asked == [
        (
            "https://api.tailscale.example/api/v2/oauth/token",
            {
                "grant_type": "client_credentials",
                "client_id": "id",
                "client_secret": "tskey-client-canary",
                "scope": "devices:core auth_keys",
                "tags": "tag:ci tag:x",
            },
        )
    ]
    assert (token.expires_in, token.scopes) == (3600, ("devices:core", "auth_keys"))
    await ask(stand_in, "acls")
    assert "tags" not in stand_in.asked[1][1]


async def test_no_caller_ever_gets_a_token_with_anothers_scopes() -> None:
    """The leak of shared scopes: two requests at once, and one gets what the other asked for."""
    stand_in = StandIn()
    wanted = [(f"scope{number}:read", f"tag:t{number}") for number in range(500)]
    tokens = await asyncio.gather(*(ask(stand_in, scope, tags=(tag,)) for scope, tag in wanted))
    assert [token.access_token for token in tokens] == [f"tskey-api {scope}|{tag}" for scope, tag in wanted]
    assert [token.scopes for token in tokens] == [(scope,) for scope, _ in wanted]


async def test_the_leak_test_would_see_a_leak() -> None:
    """The same 500 callers through a client that keeps scopes in shared state: some get another's token."""
    stand_in = StandIn()
    shared: dict[str, str] = {}

    async def leaky(scope: str) -> str:
        shared["scope"] = scope
        await asyncio.sleep(0)
        return json.loads((await stand_in.post("", shared)).body)["access_token"]

    wanted = [f"scope{number}" for number in range(500)]
    tokens = await asyncio.gather(*map(leaky, wanted))
    assert [token for token, scope in zip(tokens, wanted, strict=True) if token != f"tskey-api {scope}|"]


@pytest.mark.parametrize("scopes", [(), ("",), ("a b",), ("a", "b\nc"), ('a"',), ("ä",), ("a" * 257,)], ids=repr)
async def test_words_that_could_mean_more_are_never_sent(scopes: tuple[str, ...]) -> None:
    stand_in = StandIn()
    with pytest.raises(UpstreamError) as caught:
        await ask(stand_in, *scopes)
    assert caught.value.reason is UpstreamReason.SCOPE_REFUSED
    assert not caught.value.retryable
    assert stand_in.asked == []
    with pytest.raises(UpstreamError):
        await ask(stand_in, "fine", tags=scopes or ("",))
    assert stand_in.asked == []


REFUSALS: dict[str, tuple[Reply, UpstreamReason]] = {
    "Tailscale's own 403": (
        answer(403, message='OAuth client cannot grant scopes "acls"'),
        UpstreamReason.SCOPE_REFUSED,
    ),
    "headscale's scope": (answer(400, error="invalid_scope"), UpstreamReason.SCOPE_REFUSED),
    "headscale's tag": (answer(400, error="invalid_target"), UpstreamReason.SCOPE_REFUSED),
    "unknown client": (answer(401, error="invalid_client"), UpstreamReason.CREDENTIAL_REFUSED),
    "bare 401": (Reply(401, b"no"), UpstreamReason.CREDENTIAL_REFUSED),
    "unauthorized client": (answer(400, error="unauthorized_client"), UpstreamReason.CREDENTIAL_REFUSED),
    "overloaded": (answer(429), UpstreamReason.UNAVAILABLE),
    "server error": (answer(500, error="server_error"), UpstreamReason.UNAVAILABLE),
    "some page": (Reply(502, b"<html>"), UpstreamReason.UNAVAILABLE),
    "no JSON": (Reply(200, b"<html>"), UpstreamReason.MALFORMED),
    "a list": (Reply(200, b"[]"), UpstreamReason.MALFORMED),
    "no token": (answer(token_type="Bearer"), UpstreamReason.MALFORMED),
    "an empty token": (answer(access_token=""), UpstreamReason.MALFORMED),
    "another type": (answer(access_token="x", token_type="mac"), UpstreamReason.MALFORMED),
    "no number": (answer(access_token="x", expires_in="soon"), UpstreamReason.MALFORMED),
    "a boolean": (answer(access_token="x", expires_in=True), UpstreamReason.MALFORMED),
    "never": (answer(access_token="x", expires_in=0), UpstreamReason.MALFORMED),
    "scope no text": (answer(access_token="x", scope=["acls"]), UpstreamReason.MALFORMED),
    "wider": (answer(access_token="x", scope="acls all"), UpstreamReason.WIDER),
    "writing for reading": (answer(access_token="x", scope="acls"), UpstreamReason.WIDER),
}


@pytest.mark.parametrize(("reply", "reason"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_every_refusal_has_its_reason_and_tells_nothing(reply: Reply, reason: UpstreamReason) -> None:
    with pytest.raises(UpstreamError) as caught:
        await ask(StandIn(reply), "acls:read")
    assert caught.value.reason is reason
    assert caught.value.retryable is (reason is not UpstreamReason.SCOPE_REFUSED)
    assert "canary" not in repr(caught.value)


async def test_what_the_upstream_leaves_out_is_what_was_asked_for() -> None:
    token = await ask(StandIn(answer(access_token="x")), "acls:read")
    assert (token.scopes, token.expires_in) == (("acls:read",), 3600)


async def test_implied_reading_is_not_wider() -> None:
    reply = answer(access_token="x", scope="devices:core devices:core:read")
    assert (await ask(StandIn(reply), "devices:core")).scopes == ("devices:core", "devices:core:read")
    assert (await ask(StandIn(reply), "all")).scopes == ("devices:core", "devices:core:read")
    with pytest.raises(UpstreamError):
        await ask(StandIn(reply), "all:read")


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("soon", None), ("-1", None), ("9" * 9, None), ("", None)])
async def test_the_wait_that_the_upstream_asks_for_is_told(header: str, seconds: int | None) -> None:
    with pytest.raises(UpstreamError) as caught:
        await ask(StandIn(answer(429, {"retry-after": header})), "acls")
    assert caught.value.retry_after == seconds


@given(st.binary(max_size=200))
def test_no_answer_breaks_the_reader(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        asyncio.run(ask(StandIn(Reply(200, body)), "acls"))
    assert caught.value.reason is UpstreamReason.MALFORMED


def test_credentials_and_tokens_are_not_shown() -> None:
    assert "canary" not in repr(CREDENTIAL)
    assert "canary" not in repr(UpstreamToken("canary", 1, ()))
