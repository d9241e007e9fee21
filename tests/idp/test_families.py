"""What stands and falls together, in races and between steps, and what is bound to a key."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes import exchange, idp, oauthclients
from fakes.idp import Provider, authorization, parameters
from tailseal.oauth import credentials
from tailseal.workers.idp import codes

PEOPLE: dict[str, Any] = {"allow": {"users": ["*@corp.example"]}}
APP = oauthclients.record(scopes=["openid", "email", "offline_access"], **PEOPLE)
SPA = oauthclients.record("spa", type="Public", **PEOPLE)


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with idp.running(tmp_path, APP, SPA) as made:
        yield made


def refreshing(given: dict[str, Any]) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}


async def stands(browser: idp.Browser, given: dict[str, Any]) -> bool:
    answer = await browser.http.get("/userinfo", headers={"authorization": f"Bearer {given['access_token']}"})
    return answer.status_code == 200


# ------------------------------------------------------------------------------------------------------------ races


@pytest.mark.parametrize("kind", ["code", "refresh"])
async def test_of_many_who_race_one_wins_at_most_and_the_login_ends(provider: Provider, kind: str) -> None:
    ana = provider.browser()
    for _ in range(5):
        if kind == "code":
            code = await ana.login()
            answers = await asyncio.gather(*(ana.redeem(code) for _ in range(8)))
        else:
            given = await ana.tokens()
            answers = await asyncio.gather(*(ana.post("/token", refreshing(given)) for _ in range(8)))
        won = [answer.json() for answer in answers if answer.status_code == 200]
        assert len(won) <= 1
        assert {answer.json()["error"] for answer in answers if answer.status_code != 200} == {"invalid_grant"}
        assert not [each for each in won if await stands(ana, each)]


async def test_a_replay_that_comes_before_there_is_anything_ends_it_all_the_same(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana = provider.browser()
    code = await ana.login()
    put, replayed = provider.worker.state.put, list[httpx.Response]()

    async def late(records: Any, family: Any = None) -> None:  # noqa: ANN401 - as the store has it
        if not replayed:
            replayed.append(await ana.redeem(code))
        await put(records, family)

    monkeypatch.setattr(provider.worker.state, "put", late)
    answer = await ana.redeem(code)
    assert [each.json()["error"] for each in (answer, *replayed)] == ["invalid_grant"] * 2
    assert await provider.runtime.grants.families("userid:1") == []


async def test_a_code_that_nobody_fetches_leaves_no_login(provider: Provider) -> None:
    ana = provider.browser()
    await ana.login()
    assert await provider.runtime.grants.families("userid:1") == []
    await ana.tokens()
    assert len(await provider.runtime.grants.families("userid:1")) == 1


async def test_who_logged_out_before_the_code_was_redeemed_is_out(provider: Provider) -> None:
    ana = provider.browser()
    for scope in ("openid", "openid offline_access"):
        code = await ana.login(scope=scope)
        handle = ana.session
        await provider.runtime.grants.end_session(credentials.digest(handle or ""))
        assert (await ana.redeem(code)).json()["error"] == "invalid_grant"


async def test_a_login_ends_with_the_browsers_session_unless_it_is_to_outlive_it(provider: Provider) -> None:
    ana = provider.browser()
    short, long = await ana.tokens(scope="openid"), await ana.tokens(scope="openid offline_access")
    handle = ana.session
    await provider.runtime.grants.end_session(credentials.digest(handle or ""))
    assert [await stands(ana, given) for given in (short, long)] == [False, True]
    assert [(await ana.post("/token", refreshing(given))).status_code for given in (short, long)] == [400, 200]


async def test_of_very_many_logins_the_oldest_end(provider: Provider) -> None:
    ana = provider.browser()
    first = await ana.tokens()
    for _ in range(codes.MOST_LOGINS):
        provider.clock[0] += 1
        last = await ana.tokens()
    assert [await stands(ana, given) for given in (first, last)] == [False, True]
    assert len(await provider.runtime.grants.families("userid:1")) == codes.MOST_LOGINS


async def test_a_login_lasts_as_long_as_refresh_tokens_may_and_no_longer(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens()
    for _ in range(29):
        provider.clock[0] += 86_400
        given = (await ana.post("/token", refreshing(given))).json()
    provider.clock[0] += 86_400 + 61
    assert (await ana.post("/token", refreshing(given))).json()["error"] == "invalid_grant"


async def test_while_no_settings_name_the_capability_logins_by_it_wait_and_do_not_end(provider: Provider) -> None:
    ana = provider.browser()
    given = await ana.tokens(scope="openid offline_access")
    by_capability: dict[str, Any] = {"allow": {"capability": {"action": "login", "resource": "client/grafana"}}}
    provider.load(oauthclients.record(scopes=["openid", "offline_access"], **by_capability), capability="")
    answer = await ana.post("/token", refreshing(given))
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    provider.load(APP)
    assert (await ana.post("/token", refreshing(given))).status_code == 200


# ------------------------------------------------------------------------------------------------------------- keys


def proof(
    provider: Provider, path: str, method: str = "POST", key: str = "dpop", token: str = "", **more: str
) -> dict[str, str]:
    private = exchange.ec_key(key)
    public = exchange.jwk(private, None, None)
    made = {
        "jti": sha256(f"{path}{method}{key}{token}{proof.__dict__.setdefault('n', 0)}".encode()).hexdigest(),
        "htm": method,
        "htu": provider.issuer + path,
        "iat": int(provider.clock[0]),
        **more,
    }
    proof.__dict__["n"] += 1
    if token:
        made["ath"] = base64.urlsafe_b64encode(sha256(token.encode()).digest()).decode().rstrip("=")
    return {"dpop": exchange.token(made, {"typ": "dpop+jwt", "alg": "ES256", "jwk": public}, private, "ES256")}


async def redeem(provider: Provider, code: str, headers: dict[str, str], client: str = "grafana") -> httpx.Response:
    data = idp.redemption(code)
    http = provider.browser().http
    if client == "spa":
        return await http.post("/token", data=data | {"client_id": "spa"}, headers=headers)
    return await http.post("/token", data=data, headers=headers, auth=(client, oauthclients.SECRET))


async def test_a_bound_token_needs_its_key_at_userinfo(provider: Provider) -> None:
    ana = provider.browser()
    given = (await redeem(provider, await ana.login(), proof(provider, "/token"))).json()
    assert given["token_type"] == "DPoP"
    token = given["access_token"]
    right = proof(provider, "/userinfo", "GET", token=token)
    told = await ana.http.get("/userinfo", headers={"authorization": f"DPoP {token}"} | right)
    assert (told.status_code, told.json()["sub"]) == (200, "userid:1")
    for scheme, shown in (
        ("Bearer", {}),
        ("DPoP", {}),
        ("DPoP", right),
        ("DPoP", proof(provider, "/userinfo", "GET")),
        ("DPoP", proof(provider, "/userinfo", "POST", token=token)),
        ("DPoP", proof(provider, "/token", "GET", token=token)),
        ("DPoP", proof(provider, "/userinfo", "GET", key="thief", token=token)),
    ):
        refused = await ana.http.get("/userinfo", headers={"authorization": f"{scheme} {token}"} | shown)
        assert refused.status_code == 401, (scheme, shown)
        assert "www-authenticate" in refused.headers
    unbound = (await ana.tokens())["access_token"]
    wrong = proof(provider, "/userinfo", "GET", token=unbound)
    assert (await ana.http.get("/userinfo", headers={"authorization": f"DPoP {unbound}"} | wrong)).status_code == 401


async def test_a_public_clients_refresh_token_is_bound_and_stays_so(provider: Provider) -> None:
    ana = provider.browser()
    given = (await redeem(provider, await ana.login(client_id="spa"), proof(provider, "/token"), "spa")).json()
    data = refreshing(given) | {"client_id": "spa"}
    for headers in ({}, proof(provider, "/token", key="thief")):
        refused = await ana.http.post("/token", data=data, headers=headers)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    second = (await ana.http.post("/token", data=data, headers=proof(provider, "/token"))).json()
    assert second["token_type"] == "DPoP"
    data |= {"refresh_token": second["refresh_token"]}
    assert (await ana.http.post("/token", data=data)).json()["error"] == "invalid_grant"


async def test_a_code_may_be_bound_to_a_key_from_the_start(provider: Provider) -> None:
    ana = provider.browser()
    public = exchange.jwk(exchange.ec_key("dpop"), None, None)
    members = "".join(f'"{name}":"{public[name]}",' for name in ("crv", "kty", "x", "y"))
    jkt = base64.urlsafe_b64encode(sha256(("{" + members[:-1] + "}").encode()).digest()).decode().rstrip("=")
    code = await ana.login(dpop_jkt=jkt)
    for headers in ({}, proof(provider, "/token", key="thief")):
        assert (await redeem(provider, code, headers)).json()["error"] == "invalid_grant"
    assert (await redeem(provider, code, proof(provider, "/token"))).status_code == 200


async def test_a_proof_counts_once(provider: Provider) -> None:
    ana = provider.browser()
    shown = proof(provider, "/token")
    assert (await redeem(provider, await ana.login(), shown)).status_code == 200
    assert (await redeem(provider, await ana.login(), shown)).json()["error"] == "invalid_dpop_proof"


async def test_what_was_pushed_is_answered_once(provider: Provider) -> None:
    ana = provider.browser()
    pushed = (await ana.post("/par", authorization(state="pushed"))).json()
    asked = {"client_id": "grafana", "request_uri": pushed["request_uri"]}
    page = await ana.http.get("/authorize", params=asked)
    answer = await ana.submit(page, answer="yes")
    assert parameters(answer)["state"] == "pushed"
    again = await ana.http.get("/authorize", params=asked)
    assert (again.status_code, "invalid_request_uri" in again.text) == (400, True)


async def test_a_nonce_that_counts_no_more_is_answered_with_one_that_does(provider: Provider) -> None:
    """As libraries have them that keep the last nonce of an exchange here for all that they ask of us."""
    ana = provider.browser()
    code = await ana.login(client_id="spa")
    form = idp.redemption(code) | {"client_id": "spa"}

    async def ask(method: str, path: str, token: str = "", **more: str) -> httpx.Response:
        data = {"/token": form, "/par": idp.authorization(client_id="spa")}.get(path)
        scheme = {"authorization": f"DPoP {token}"} if token else {}
        return await ana.http.request(
            method, path, data=data, headers=scheme | proof(provider, path, method, token=token, **more)
        )

    async def corrected(method: str, path: str, status: int, token: str = "") -> httpx.Response:
        refused = await ask(method, path, token, nonce="of-another-time")
        assert (refused.status_code, refused.json()["error"]) == (status, "use_dpop_nonce")
        answer = await ask(method, path, token, nonce=refused.headers["dpop-nonce"])
        assert answer.status_code in {200, 201}, answer.text
        return answer

    given = (await corrected("POST", "/token", 400)).json()
    await corrected("GET", "/userinfo", 401, given["access_token"])
    await corrected("POST", "/par", 400)
    wrong = await ask("POST", "/par", htu="https://elsewhere.example")
    assert (wrong.json()["error"], "dpop-nonce" in wrong.headers) == ("invalid_dpop_proof", False)
