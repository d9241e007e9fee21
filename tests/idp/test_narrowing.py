"""What counts no more once a client may do less, a login has ended, or nobody knows whether it has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes import exchange, idp, oauthclients
from fakes.idp import Browser, Provider
from tailseal.domain.bundle import build
from tailseal.oauth import credentials, device
from tailseal.state.protocol import Fault, StateUnavailable
from tailseal.tokens import compact
from tailseal.workers.exchange.hindsight import Hindsight

API = "https://api.example"
PEOPLE: dict[str, Any] = {"allow": {"users": ["*@corp.example"]}}
GRANTS = ["authorization_code", "refresh_token", "client_credentials", device.GRANT_TYPE]
APP = oauthclients.record(scopes=["openid", "email", "groups"], audiences=[API], grantTypes=GRANTS, **PEOPLE)
SERVICE = oauthclients.record("service", resources=[API], **PEOPLE)


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with idp.running(tmp_path, APP, SERVICE) as made:
        yield made


@pytest.fixture
def ana(provider: Provider) -> Browser:
    return provider.browser()


def narrower(provider: Provider, **spec: Any) -> None:  # noqa: ANN401 - any member
    members = {"scopes": ["openid", "email", "groups"], "audiences": [API], "grantTypes": GRANTS, **PEOPLE}
    app = oauthclients.record(**(members | spec))
    provider.load(app, SERVICE)


async def test_what_a_client_may_not_ask_for_any_more_it_does_not_keep(provider: Provider, ana: Browser) -> None:
    given = await ana.tokens(scope="openid email")
    narrower(provider, scopes=["openid"])
    told = await ana.http.get("/userinfo", headers={"authorization": f"Bearer {given['access_token']}"})
    assert set(told.json()) == {"sub"}
    data = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    answer = (await ana.post("/token", data)).json()
    assert answer["scope"] == "openid"
    assert "email" not in compact.split(answer["id_token"]).payload


async def test_a_service_that_a_client_may_not_use_any_more_gets_no_tokens(provider: Provider, ana: Browser) -> None:
    given = await ana.tokens(resource=API)
    narrower(provider, audiences=[])
    data = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    for more in ({}, {"resource": API}):
        answer = await ana.post("/token", data | more)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")
    narrower(provider)
    assert (await ana.post("/token", data)).status_code == 200


async def test_tokens_of_a_client_that_was_taken_away_count_no_more(provider: Provider, ana: Browser) -> None:
    given = await ana.tokens(resource=API)
    own = await ana.post("/token", {"grant_type": "client_credentials", "resource": API})
    tokens = [given["access_token"], own.json()["access_token"]]
    shown = [(await ana.post("/introspect", {"token": each}, "service")).json()["active"] for each in tokens]
    assert shown == [True, True]
    provider.load(SERVICE)
    shown = [(await ana.post("/introspect", {"token": each}, "service")).json()["active"] for each in tokens]
    assert shown == [False, False]


GATEWAY = {
    "identityProviderRef": {"name": "corp", "namespace": "identity"},
    "from": {"session": {"audiences": [API], "clients": ["grafana"]}},
    "grants": [{"name": "behind", "jwt": {"audiences": ["https://behind.example"]}}],
}


async def exchanged(browser: Browser, token: str, **more: str) -> httpx.Response:
    body = exchange.form(token, subject_token_type="urn:ietf:params:oauth:token-type:access_token", **more)
    return await browser.http.post("/token", content=body, headers={"content-type": exchange.FORM})


@pytest.mark.parametrize("end", ["revoked", "logged out", "replayed", "no client", "gone", "may not"])
async def test_a_token_whose_login_has_ended_is_exchanged_for_nothing(
    provider: Provider, ana: Browser, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    def load(*clients: Any) -> None:  # noqa: ANN401 - client records
        shards = build.shards([exchange.record(GATEWAY)]).files
        files = build.policies_volume(idp.settings(), shards, build.clients(clients)[0])
        provider.source.put("policies", files)
        provider.worker.loader.refresh()

    load(APP, SERVICE)
    given = await ana.tokens(resource=API)
    token = given["access_token"]
    assert (await exchanged(ana, token)).status_code == 200
    match end:
        case "revoked":
            assert (await ana.post("/revoke", {"token": token})).status_code == 200
        case "logged out":
            await provider.runtime.grants.end_session(credentials.digest(ana.session))
        case "replayed":
            for _ in range(2):
                await ana.post("/token", {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]})
        case "no client":
            load(SERVICE)
        case "gone":
            monkeypatch.setattr(provider.runtime.callers, "_callers", {})
        case _:
            load(oauthclients.record(audiences=[API], allow={"users": ["bob@corp.example"]}), SERVICE)
    answer = await exchanged(ana, token)
    assert (answer.status_code, answer.json()["error"], answer.json()["tailseal_reason"]) == (
        *(400, "invalid_request"),
        "SessionEnded",
    )


async def test_a_policy_asks_what_the_tailnet_grants_the_person_who_logged_in(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"action": "exchange", "resource": "audience/https://behind.example"}
    session = {"audiences": [API], "clients": ["grafana"], "capability": wanted}
    shards = build.shards([exchange.record(GATEWAY | {"from": {"session": session}})]).files
    provider.source.put("policies", build.policies_volume(idp.settings(), shards, build.clients((APP, SERVICE))[0]))
    provider.worker.loader.refresh()
    ana, bob = provider.browser("ana"), provider.browser("bob")
    hers, his = [(await each.tokens(resource=API))["access_token"] for each in (ana, bob)]
    own = await ana.post("/token", {"grant_type": "client_credentials", "resource": API})
    answers = [await exchanged(bob, token) for token in (hers, his, own.json()["access_token"])]
    assert [answer.status_code for answer in answers] == [200, 400, 400]
    asked = [json.dumps({"decision": event["id"]}).encode() for event in provider.events()[-3:]]
    told = [json.loads(Hindsight(provider.worker.runtime).answer(each)) for each in asked]
    seen = [one["policies"][0]["checks"] for one in told]
    outcomes = [check["outcome"] for checks in seen for check in checks if check["field"].endswith("capability")]
    assert outcomes == ["match", "mismatch", "missing"]
    less = replace(idp.PEOPLE["ana"], capabilities={})
    monkeypatch.setattr(provider.runtime.callers, "_callers", {less.node.addresses[0]: less})
    assert (await exchanged(bob, hers)).status_code == 400


async def test_nobody_knows_whether_a_login_has_ended_while_the_store_is_away(
    provider: Provider, ana: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (await ana.tokens(resource=API))["access_token"]

    async def away(*_: Any) -> Any:  # noqa: ANN401 - as the store has it
        raise StateUnavailable(Fault.UNREACHABLE)

    monkeypatch.setattr(provider.worker.state, "get", away)
    answer = await exchanged(ana, token)
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
