"""A client that was taken away and given back is another: of what people gave it before, nothing counts again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes import idp, oauthclients
from fakes.idp import Browser, Provider, authorization

APP = oauthclients.record(
    scopes=["openid", "offline_access"],
    grantTypes=["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
)
OPAQUE = oauthclients.record("opaque", accessTokenFormat="Opaque")
BACK = APP.model_copy(update={"uid": f"{APP.uid}@0011223344556677"})


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with idp.running(tmp_path, APP, OPAQUE) as made:
        yield made


def withdrawn(provider: Provider) -> None:
    """Away and back again, while another client stays as it is."""
    provider.load(OPAQUE)
    provider.load(BACK, OPAQUE)


async def refused(answer: httpx.Response) -> bool:
    return (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def refresh(browser: Browser, given: dict[str, Any], client: str = oauthclients.ID) -> httpx.Response:
    form = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    return await browser.post("/token", form, client)


async def told(browser: Browser, given: dict[str, Any]) -> int:
    answer = await browser.http.get("/userinfo", headers={"authorization": f"Bearer {given['access_token']}"})
    return answer.status_code


async def active(browser: Browser, token: str) -> bool:
    found: bool = (await browser.post("/introspect", {"token": token})).json()["active"]
    return found


async def test_tokens_and_codes_of_before_are_refused_for_ever_and_a_new_login_works(provider: Provider) -> None:
    ana = provider.browser()
    given, code = await ana.tokens(), await ana.login()
    withdrawn(provider)
    for _ in range(2):
        assert await refused(await refresh(ana, given))
        assert await refused(await ana.redeem(code))
        assert await told(ana, given) == 401
        assert not await active(ana, given["access_token"])
        assert not await active(ana, given["refresh_token"])
    again = await ana.tokens()
    assert await told(ana, again) == 200
    assert (await refresh(ana, again)).status_code == 200


async def test_the_login_of_another_client_in_the_same_browser_goes_on(provider: Provider) -> None:
    ana = provider.browser()
    code = await ana.login(client_id="opaque")
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": idp.CALLBACK}
    given = (await ana.post("/token", form | {"code_verifier": idp.VERIFIER}, "opaque")).json()
    withdrawn(provider)
    assert await told(ana, given) == 200
    assert (await refresh(ana, given, "opaque")).status_code == 200


async def test_the_page_of_what_has_access_shows_what_counts_alone(provider: Provider) -> None:
    ana = provider.browser()
    await ana.tokens()
    assert (await ana.http.get("/")).text.count('name="family"') == 1
    withdrawn(provider)
    assert 'name="family"' not in (await ana.http.get("/")).text
    await ana.tokens()
    assert (await ana.http.get("/")).text.count('name="family"') == 1


async def test_a_token_used_twice_ends_the_login_of_now_and_harms_nothing_by_one_of_before(provider: Provider) -> None:
    ana = provider.browser()
    before = await ana.tokens()
    await refresh(ana, before)
    withdrawn(provider)
    now = await ana.tokens()
    assert await refused(await refresh(ana, before))
    following = (await refresh(ana, now)).json()
    assert await refused(await refresh(ana, now))
    assert await refused(await refresh(ana, following))


async def test_a_device_that_a_person_said_yes_to_before_gets_nothing(provider: Provider) -> None:
    ana = provider.browser()
    begun = (await ana.post("/device_authorization", {})).json()
    confirm = await ana.submit(await ana.http.get("/device"), user_code=begun["user_code"])
    assert (await ana.submit(confirm, answer="yes")).status_code == 200
    withdrawn(provider)
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": begun["device_code"]}
    assert await refused(await ana.post("/token", form))


async def test_a_pushed_request_of_before_is_unknown(provider: Provider) -> None:
    ana = provider.browser()
    pushed = (await ana.post("/par", authorization())).json()
    withdrawn(provider)
    asked = {"client_id": oauthclients.ID, "request_uri": pushed["request_uri"]}
    answer = await ana.http.get("/authorize", params=asked)
    assert answer.status_code == 400
