"""What people and programs hold stands in no byte of the state: who copies the database cannot be anybody with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes import idp, oauthclients
from fakes.idp import CALLBACK, Browser, Provider, authorization, parameters
from fakes.statebytes import leaked, stored
from tailseal.domain.bundle.model import Introductions
from tailseal.oauth import credentials, device

PEOPLE: dict[str, Any] = {"allow": {"users": ["*@corp.example"]}}
GRANTS = ["authorization_code", "refresh_token", device.GRANT_TYPE]
APP = oauthclients.record(scopes=["openid", "offline_access"], grantTypes=GRANTS, **PEOPLE)
OPAQUE = oauthclients.record("opaque", accessTokenFormat="Opaque", **PEOPLE)


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with idp.running(tmp_path, APP, OPAQUE, introductions=Introductions(dynamic=True)) as made:
        yield made


async def opaque(ana: Browser) -> dict[str, str]:
    """A code that was used, and what came of it."""
    code = await ana.login(client_id="opaque")
    given = (await ana.post("/token", idp.redemption(code), "opaque")).json()
    data = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    fresh = (await ana.post("/token", data, "opaque")).json()
    assert "." not in fresh["access_token"]
    return {
        "a code that was used": code,
        "an opaque access token": given["access_token"],
        "the next opaque access token": fresh["access_token"],
        "a refresh token that was used": given["refresh_token"],
        "a refresh token": fresh["refresh_token"],
    }


async def connected(provider: Provider, ana: Browser) -> dict[str, str]:
    """A device that somebody connected, and one that waits."""
    begun, waiting = [(await ana.post("/device_authorization", {"scope": "openid"})).json() for _ in range(2)]
    confirm = await ana.submit(await ana.http.get(begun["verification_uri_complete"]))
    assert "is connected" in (await ana.submit(confirm, answer="yes")).text
    provider.clock[0] += 15
    data = {"grant_type": device.GRANT_TYPE, "device_code": begun["device_code"]}
    given = (await ana.post("/token", data)).json()
    return {
        "a device code that was used": begun["device_code"],
        "a user code that was used": begun["user_code"],
        "a device code": waiting["device_code"],
        "a user code": waiting["user_code"],
        "a device's refresh token": given["refresh_token"],
    }


async def held(provider: Provider) -> dict[str, str]:
    """All that is given out to be held, by what it is."""
    ana = provider.browser()
    registration = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "client_secret_basic"}
    made = (await ana.http.post("/register", json=registration)).json()
    pushed, waiting = [(await ana.post("/par", authorization())).json()["request_uri"] for _ in range(2)]
    page = await ana.http.get("/authorize", params={"client_id": "grafana", "request_uri": pushed})
    code = parameters(await ana.submit(page, answer="yes"))["code"]
    return {
        "a registration's token": made["registration_access_token"],
        "a registration's secret": made["client_secret"],
        "a pushed request that was used": pushed,
        "a pushed request": waiting,
        "a code": code,
        "the session's cookie": ana.session,
        "a client's secret": oauthclients.SECRET,
        **await opaque(ana),
        **await connected(provider, ana),
    }


async def test_nothing_that_is_held_stands_in_the_state(provider: Provider, tmp_path: Path) -> None:
    given = await held(provider)
    found = leaked(tmp_path, given.values())
    assert not [what for what, secret in given.items() if secret in found]


async def test_the_state_that_is_looked_through_is_the_one_where_it_is_kept(provider: Provider, tmp_path: Path) -> None:
    given = await held(provider)
    there = stored(tmp_path)
    for what in ("a code", "a refresh token", "the next opaque access token", "a device code"):
        assert credentials.digest(given[what]) in there, what
    assert leaked(tmp_path, ["userid:1"]) == ["userid:1"], "whose it is is no secret"
