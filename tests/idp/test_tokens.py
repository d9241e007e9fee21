"""Tokens: for codes, for refresh tokens and for clients by themselves, and what userinfo tells for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes import idp, oauthclients
from fakes.idp import Provider
from tailseal.tailnet.errors import Outage, UnavailableError

API = "https://api.example"
PEOPLE: dict[str, Any] = {"allow": {"users": ["*@corp.example"], "tags": ["tag:ci"]}}
APP = oauthclients.record(scopes=["openid", "profile", "email", "groups", "offline_access"], audiences=[API], **PEOPLE)
OPAQUE = oauthclients.record("opaque", accessTokenFormat="Opaque", **PEOPLE)
ROBOT = oauthclients.robot(API)


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with idp.running(tmp_path, APP, OPAQUE, ROBOT) as made:
        yield made


# ------------------------------------------------------------------------------------------------------------ codes


async def test_a_code_counts_once_and_its_replay_ends_the_login(provider: Provider) -> None:
    ana = provider.browser()
    code = await ana.login()
    given = (await ana.redeem(code)).json()
    replayed = await ana.redeem(code)
    assert (replayed.status_code, replayed.json()["error"]) == (400, "invalid_grant")
    answer = await ana.http.get("/userinfo", headers={"authorization": f"Bearer {given['access_token']}"})
    assert answer.status_code == 401
    refreshed = await ana.post("/token", {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]})
    assert refreshed.json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"redirect_uri": "https://app.example/other"}, "invalid_grant"),
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_grant"),
        ({"code": "x"}, "invalid_grant"),
        ({"code": ""}, "invalid_request"),
        ({"resource": "https://evil.example"}, "invalid_target"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "client_credentials"}, "unauthorized_client"),
    ],
)
async def test_a_wrong_redemption_uses_nothing_up(provider: Provider, changes: dict[str, str], error: str) -> None:
    ana = provider.browser()
    code = await ana.login()
    refused = await ana.post("/token", idp.redemption(code) | changes)
    assert (refused.status_code, refused.json()["error"]) == (400, error)
    assert refused.headers["content-type"] == "application/json"
    assert refused.headers["cache-control"] == "no-store"
    assert (await ana.redeem(code)).status_code == 200


async def test_a_code_is_no_other_clients(provider: Provider) -> None:
    ana = provider.browser()
    code = await ana.login()
    data = idp.redemption(code)
    stolen = await ana.post("/token", data, "opaque")
    assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
    assert (await ana.redeem(code)).status_code == 200


async def test_a_code_lives_for_a_minute(provider: Provider) -> None:
    ana = provider.browser()
    code = await ana.login()
    provider.clock[0] += 60
    assert (await ana.redeem(code)).json()["error"] == "invalid_grant"


async def test_what_a_former_client_of_the_name_was_given_is_not_this_ones(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens()
    provider.load(APP.model_copy(update={"uid": "another"}))
    refused = await ana.post("/token", {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]})
    assert refused.json()["error"] == "invalid_grant"
    told = await ana.http.get("/userinfo", headers={"authorization": f"Bearer {given['access_token']}"})
    assert told.status_code == 401


@pytest.mark.parametrize("by", ["basic", "post", "nobody"])
async def test_a_client_that_proves_nothing_gets_401(provider: Provider, by: str) -> None:
    ana = provider.browser()
    data = {"grant_type": "authorization_code", "code": await ana.login()}
    wrong = {"client_id": "grafana", "client_secret": "x" * 32}
    if by == "basic":
        answer = await ana.post("/token", data, secret="x" * 32)
    else:
        answer = await ana.http.post("/token", data=data | (wrong if by == "post" else {}))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert ("www-authenticate" in answer.headers) is (by == "basic")


# -------------------------------------------------------------------------------------------------- refresh tokens


def refreshing(given: dict[str, Any], **changes: str) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]} | changes


async def test_a_refresh_token_is_another_each_time_and_its_replay_ends_the_login(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens(nonce="n")
    provider.clock[0] += 100
    second = (await ana.post("/token", refreshing(given))).json()
    assert second["refresh_token"] != given["refresh_token"]
    found = await idp.claims(provider, second["id_token"])
    assert (found["sub"], found["auth_time"], "nonce" in found) == ("userid:1", provider.clock[0] - 100, False)
    assert (await ana.post("/token", refreshing(given))).json()["error"] == "invalid_grant"
    assert (await ana.post("/token", refreshing(second))).json()["error"] == "invalid_grant"
    assert provider.events()[-2]["data"]["replayed"] is True


async def test_a_strangers_replay_ends_nothing(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens()
    second = (await ana.post("/token", refreshing(given))).json()
    assert (await ana.post("/token", refreshing(given), "opaque")).json()["error"] == "invalid_grant"
    assert (await ana.post("/token", refreshing(second))).status_code == 200


async def test_a_refresh_may_ask_for_less(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens(scope="openid email", resource=API)
    less = (await ana.post("/token", refreshing(given, scope="email"))).json()
    assert (less["scope"], "id_token" in less) == ("email", False)
    more = await ana.post("/token", refreshing(less, scope="openid email groups"))
    assert more.json()["error"] == "invalid_scope"
    assert (await ana.post("/token", refreshing(less))).json()["scope"] == "openid email"


@pytest.mark.parametrize("end", ["gone", "another", "not allowed"])
async def test_a_login_ends_with_the_person(provider: Provider, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    ana = provider.browser()
    given = await ana.tokens()
    known = provider.runtime.callers
    table = known._callers  # type: ignore[union-attr]
    address = idp.PEOPLE["ana"].node.addresses[0]
    before = table[address]
    if end == "gone":
        del table[address]
    elif end == "another":
        table[address] = idp.caller(1, "ana@corp.example", idp.ALL)
        object.__setattr__(table[address].node, "stable_id", "n99")
    else:
        provider.load(oauthclients.record(allow={"users": ["nobody"]}).model_copy(update={"uid": APP.uid}))
    refused = await ana.post("/token", refreshing(given))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    table[address] = before
    provider.load(APP)
    assert (await ana.post("/token", refreshing(given))).json()["error"] == "invalid_grant"


async def test_nothing_ends_while_nobody_can_say(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    ana = provider.browser()
    given = await ana.tokens()

    async def unreachable(*_: object) -> None:
        raise UnavailableError(Outage.UNREACHABLE)

    with monkeypatch.context() as patch:
        patch.setattr(type(provider.runtime.callers), "again", unreachable)
        answer = await ana.post("/token", refreshing(given))
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        told = await ana.http.get("/userinfo", headers={"authorization": f"Bearer {given['access_token']}"})
        assert told.status_code == 503
    assert (await ana.post("/token", refreshing(given))).status_code == 200


# ------------------------------------------------------------------------------------------- clients by themselves


async def test_a_client_in_its_own_name(provider: Provider) -> None:
    ask = {"grant_type": "client_credentials", "scope": "invoices.read", "resource": API}
    answer = await provider.browser().post("/token", ask, "robot")
    given = answer.json()
    found = await idp.claims(provider, given["access_token"])
    assert (found["sub"], found["client_id"], found["aud"], found["scope"]) == ("robot", "robot", API, "invoices.read")
    assert {"refresh_token", "id_token"}.isdisjoint(given)
    told = await provider.browser().http.get("/userinfo", headers={"authorization": f"Bearer {given['access_token']}"})
    assert told.status_code == 401


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"scope": "openid"}, "invalid_scope"),
        ({"scope": "other"}, "invalid_scope"),
        ({"resource": "https://x.example"}, "invalid_target"),
    ],
)
async def test_a_client_gets_nothing_of_peoples(provider: Provider, changes: dict[str, str], error: str) -> None:
    answer = await provider.browser().post("/token", {"grant_type": "client_credentials"} | changes, "robot")
    assert (answer.status_code, answer.json()["error"]) == (400, error)


# --------------------------------------------------------------------------------------------------------- userinfo


async def test_userinfo_by_header_or_form(provider: Provider) -> None:
    ana = provider.browser()
    token = (await ana.tokens(scope="openid email"))["access_token"]
    bearer = {"authorization": f"Bearer {token}"}
    expected = {"sub": "userid:1", "email": "ana@corp.example", "email_verified": True}
    for answer in (
        await ana.http.get("/userinfo", headers=bearer),
        await ana.http.post("/userinfo", headers=bearer),
        await ana.http.post("/userinfo", data={"access_token": token}),
    ):
        assert (answer.status_code, answer.json()) == (200, expected)
    both = await ana.http.post("/userinfo", headers=bearer, data={"access_token": token})
    assert (both.status_code, both.json()["error"]) == (400, "invalid_request")


async def test_userinfo_takes_no_token_of_another_kind(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens()
    elsewhere = await ana.tokens(resource=API)
    for token in (given["id_token"], given["refresh_token"], elsewhere["access_token"], "x", "a.b.c"):
        answer = await ana.http.get("/userinfo", headers={"authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
        assert answer.headers["www-authenticate"].startswith('Bearer realm="tailseal", error="invalid_token"')
    none = await ana.http.get("/userinfo")
    assert (none.status_code, none.headers["www-authenticate"]) == (401, 'Bearer realm="tailseal"')
    asked = await ana.http.get("/userinfo", params={"access_token": given["access_token"]})
    assert asked.status_code == 401


async def test_an_opaque_token_tells_as_much(provider: Provider) -> None:
    ana = provider.browser()
    code = await ana.login(client_id="opaque", scope="openid email")
    data = idp.redemption(code)
    token = (await ana.post("/token", data, "opaque")).json()["access_token"]
    assert "." not in token
    told = await ana.http.get("/userinfo", headers={"authorization": f"Bearer {token}"})
    assert told.json()["email"] == "ana@corp.example"
    provider.clock[0] += 601
    assert (await ana.http.get("/userinfo", headers={"authorization": f"Bearer {token}"})).status_code == 401
