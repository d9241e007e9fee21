"""Clients that register themselves, log people in and are managed, for as long as they were let."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes import exchange, idp, oauthclients
from fakes.idp import CALLBACK, Provider
from tailseal.domain.bundle.model import Introductions
from tailseal.oauth import registration
from tailseal.tokens import compact

API = "https://api.example"
APP = oauthclients.record(audiences=[API], allow={"users": ["*@corp.example"]})
SERVICE = oauthclients.record("api", resources=[API], grantTypes=["client_credentials"], redirectURIs=None)
METADATA = {"redirect_uris": [CALLBACK], "client_name": "Tool", "grant_types": ["authorization_code", "refresh_token"]}


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with idp.running(tmp_path, APP, SERVICE, introductions=Introductions(dynamic=True)) as made:
        yield made


async def test_a_client_registers_logs_somebody_in_and_is_managed(provider: Provider) -> None:
    ana = provider.browser()
    answer = await ana.http.post("/register", json=METADATA)
    assert answer.status_code == 201
    made = answer.json()
    assert made["client_secret_expires_at"] > exchange.NOW
    asked = idp.authorization(client_id=made["client_id"])
    page = await ana.http.get("/authorize", params=asked)
    assert page.status_code == 200
    code = idp.parameters(await ana.submit(page, answer="yes"))["code"]
    data = idp.redemption(code)
    given = await ana.post("/token", data, made["client_id"], made["client_secret"])
    assert given.status_code == 200, given.text
    bearer = {"authorization": f"Bearer {made['registration_access_token']}"}
    shown = (await ana.http.get(made["registration_client_uri"], headers=bearer)).json()
    assert "client_secret" not in shown
    assert shown["client_name"] == "Tool"
    changed = {**METADATA, "client_id": made["client_id"], "client_name": "Better tool"}
    assert (await ana.http.put(made["registration_client_uri"], json=changed, headers=bearer)).json()[
        "client_name"
    ] == "Better tool"
    assert (await ana.http.delete(made["registration_client_uri"], headers=bearer)).status_code == 204
    for method in ("GET", "DELETE"):
        gone = await ana.http.request(method, made["registration_client_uri"], headers=bearer)
        assert gone.status_code == 401
    refresh = {"grant_type": "refresh_token", "refresh_token": given.json()["refresh_token"]}
    ended = await ana.post("/token", refresh, made["client_id"], made["client_secret"])
    assert (ended.status_code, ended.json()["error"]) == (401, "invalid_client")


async def test_people_are_warned_of_a_client_that_any_program_here_could_be(provider: Provider) -> None:
    ana = provider.browser()
    for uri, warned in (("http://127.0.0.1/cb", True), (CALLBACK, False)):
        made = (await ana.http.post("/register", json={**METADATA, "redirect_uris": [uri]})).json()
        asked = idp.authorization(client_id=made["client_id"], redirect_uri=uri)
        assert ("Nobody can tell" in (await ana.http.get("/authorize", params=asked)).text) is warned


async def test_registering_needs_a_capability_and_to_be_on(provider: Provider) -> None:
    refused = await provider.browser("bob").http.post("/register", json=METADATA)
    assert (refused.status_code, refused.json()["error"]) == (403, "access_denied")
    provider.load(APP)
    off = await provider.browser().http.post("/register", json=METADATA)
    assert (off.status_code, off.json()["tailseal_reason"]) == (403, "NotEnabled")


async def test_registrations_expire(provider: Provider) -> None:
    ana = provider.browser()
    made = (await ana.http.post("/register", json=METADATA)).json()
    provider.clock[0] += registration.SECONDS + 1
    answer = await ana.http.get("/authorize", params=idp.authorization(client_id=made["client_id"]))
    assert answer.status_code == 400


async def test_nobody_registers_without_end(provider: Provider) -> None:
    ana = provider.browser()
    seen = [(await ana.http.post("/register", json=METADATA)).status_code for _ in range(12)]
    assert seen == [201] * 10 + [429] * 2


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer wrong", "Basic x"])
async def test_a_registration_is_managed_with_its_token_only(provider: Provider, token: str) -> None:
    ana = provider.browser()
    made = (await ana.http.post("/register", json=METADATA)).json()
    for path in (made["registration_client_uri"], f"{provider.issuer}/register/registered.unknown"):
        answer = await ana.http.get(path, headers={"authorization": token})
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


async def test_a_registered_client_may_have_tokens_for_services_that_objects_name(provider: Provider) -> None:
    ana = provider.browser()
    made = (await ana.http.post("/register", json={**METADATA, "token_endpoint_auth_method": "none"})).json()
    page = await ana.http.get("/authorize", params=idp.authorization(client_id=made["client_id"], resource=API))
    code = idp.parameters(await ana.submit(page, answer="yes"))["code"]
    data = idp.redemption(code)
    given = (await ana.http.post("/token", data={**data, "client_id": made["client_id"]})).json()
    assert compact.split(given["access_token"]).payload["aud"] == API
