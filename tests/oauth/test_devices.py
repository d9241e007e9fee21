"""Devices without a browser: a person with one connects them, and nobody else does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes import idp, oauthclients
from fakes.idp import Provider
from tailseal.oauth import device
from tailseal.tokens import compact

GRANTS = ["authorization_code", "refresh_token", device.GRANT_TYPE]
APP = oauthclients.record(grantTypes=GRANTS, allow={"users": ["*@corp.example"]})
OTHER = oauthclients.record("other", allow={"users": ["*@corp.example"]})


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with idp.running(tmp_path, APP, OTHER) as made:
        yield made


async def begin(provider: Provider, **asked: str) -> dict[str, Any]:
    answer = await provider.browser().post("/device_authorization", {"scope": "openid", **asked})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def poll(provider: Provider, begun: dict[str, Any], client: str = "grafana") -> tuple[int, dict[str, Any]]:
    data = {"grant_type": device.GRANT_TYPE, "device_code": begun["device_code"]}
    answer = await provider.browser("bob").post("/token", data, client)
    return answer.status_code, answer.json()


async def test_a_person_connects_a_device(provider: Provider) -> None:
    begun = await begin(provider)
    assert begun["verification_uri"] == f"{provider.issuer}/device"
    assert begun["user_code"] in begun["verification_uri_complete"]
    assert (await poll(provider, begun))[1]["error"] == "authorization_pending"
    assert (await poll(provider, begun))[1]["error"] == "slow_down"
    ana = provider.browser()
    page = await ana.http.get(begun["verification_uri_complete"])
    assert begun["user_code"] in page.text
    confirm = await ana.submit(page)
    assert "grafana" in confirm.text
    done = await ana.submit(confirm, answer="yes")
    assert "is connected" in done.text
    provider.clock[0] += 15
    status, given = await poll(provider, begun)
    assert status == 200, given
    claims = compact.split(given["id_token"]).payload
    assert (claims["sub"], claims["aud"]) == ("userid:1", "grafana")
    assert (await poll(provider, begun))[1]["error"] == "invalid_grant"


async def test_a_person_says_no(provider: Provider) -> None:
    begun = await begin(provider)
    ana = provider.browser()
    page = await ana.http.get("/device")
    confirm = await ana.submit(page, user_code=begun["user_code"].lower().replace("-", " "))
    assert "was not connected" in (await ana.submit(confirm, answer="no")).text
    assert (await poll(provider, begun))[1]["error"] == "access_denied"


async def test_a_device_code_is_of_one_client_and_expires(provider: Provider) -> None:
    begun = await begin(provider)
    assert (await poll(provider, begun, "other"))[1]["error"] == "unauthorized_client"
    provider.clock[0] += 601
    assert (await poll(provider, begun))[1]["error"] == "expired_token"
    assert (await poll(provider, {"device_code": "unknown"}))[1]["error"] == "invalid_grant"


async def test_who_may_not_log_in_connects_nothing(provider: Provider) -> None:
    begun = await begin(provider)
    robot = provider.browser("robot")
    confirm = await robot.submit(await robot.http.get("/device"), user_code=begun["user_code"])
    assert confirm.status_code == 403


async def test_user_codes_cannot_be_tried_without_end(provider: Provider) -> None:
    ana = provider.browser()
    page = await ana.http.get("/device")
    seen = [(await ana.submit(page, user_code=f"BCDF-{letter * 4}")).status_code for letter in "BCDFGHJKLMNP"]
    assert seen[:10] == [404] * 10
    assert set(seen[10:]) == {429}


async def test_another_site_cannot_connect_a_device(provider: Provider) -> None:
    begun = await begin(provider)
    ana, mallory = provider.browser(), provider.browser("bob")
    theirs = await mallory.submit(await mallory.http.get("/device"), user_code=begun["user_code"])
    action, fields = idp.form(theirs)
    for sent in (fields, {**fields, "form": ""}, {"user_code": begun["user_code"]}):
        await ana.http.get("/device")
        answer = await ana.http.post(action, data={**sent, "answer": "yes"})
        assert answer.status_code == 403
    ours = await ana.http.get("/device")
    skipped = await ana.submit(ours, user_code=begun["user_code"], answer="yes")
    assert skipped.status_code == 403


async def test_only_clients_that_are_registered_for_it_have_devices(provider: Provider) -> None:
    answer = await provider.browser().post("/device_authorization", {"scope": "openid"}, "other")
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
