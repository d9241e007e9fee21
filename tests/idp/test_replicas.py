"""Two real workers on one database: a login goes on at either, and of all who race for what counts once, one wins."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes import replicas
from fakes.idp import Browser
from fakes.localapi import FakeLocalApi
from fakes.replicas import Replica
from tailseal_dev.postgres import PostgresServer

RACES = int(os.environ.get("TAILSEAL_RACES", "400"))
AT_ONCE = 4
LOGINS = 8
"""How many people's applications race beside each other."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, as the path of a socket must be."""
    made = Path(tempfile.mkdtemp(prefix="idp-"))
    yield made
    shutil.rmtree(made)


@asynccontextmanager
async def tailnet(folder: Path) -> AsyncIterator[FakeLocalApi]:
    api = FakeLocalApi(folder / "localapi.sock")
    api.knows("user")
    await api.start()
    try:
        yield api
    finally:
        await api.stop()


@asynccontextmanager
async def pair(folder: Path, url: str) -> AsyncIterator[tuple[Replica, Replica]]:
    replicas.bundle(folder, url=url)
    async with (
        tailnet(folder) as api,
        replicas.running(folder, api.path) as one,
        replicas.running(folder, api.path) as two,
    ):
        yield one, two


async def refresh(browser: Browser, token: str) -> httpx.Response:
    return await browser.post("/token", {"grant_type": "refresh_token", "refresh_token": token})


async def told(browser: Browser, token: str) -> httpx.Response:
    return await browser.http.get("/userinfo", headers={"authorization": f"Bearer {token}"})


async def test_a_login_at_one_is_redeemed_at_the_other_refreshed_at_the_first_and_ended_at_either(
    postgres: PostgresServer, folder: Path
) -> None:
    async with (
        pair(folder, postgres.url) as (one, two),
        replicas.browser(one) as here,
        replicas.browser(two) as there,
        replicas.browser(two, one) as anywhere,
    ):
        code = await here.login(scope="openid email")
        tokens = (await there.redeem(code)).json()
        again = await refresh(here, tokens["refresh_token"])
        assert again.status_code == 200, again.text
        assert (await told(there, again.json()["access_token"])).json()["email"] == "alice@example.com"
        assert (await anywhere.tokens())["token_type"] == "Bearer", "the page is of one, its form's answer of the other"
        stolen = await refresh(there, tokens["refresh_token"])
        assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
        for browser in (here, there):
            assert (await refresh(browser, again.json()["refresh_token"])).json()["error"] == "invalid_grant"
            assert (await told(browser, again.json()["access_token"])).status_code == 401


async def test_of_all_who_race_for_a_code_or_a_refresh_token_at_both_one_wins_and_the_login_ends(
    postgres: PostgresServer, folder: Path
) -> None:
    async with (
        pair(folder, postgres.url) as (one, two),
        replicas.browser(one, two) as browser,
        replicas.browser(two, one) as other,
    ):
        await browser.login()  # from now on there is a session, and no page
        for _ in range(max(1, RACES // LOGINS // 2)):
            await asyncio.gather(*(race(browser, other) for _ in range(LOGINS)))


async def race(browser: Browser, other: Browser) -> None:
    """For a code, and then in a login of its own for a refresh token."""
    code = await browser.login()
    ended = await won([each.redeem(code) for each in (browser, other) for _ in range(AT_ONCE // 2)])
    assert (await refresh(browser, ended["refresh_token"])).json()["error"] == "invalid_grant"
    token = (await browser.tokens())["refresh_token"]
    ended = await won([refresh(each, token) for each in (browser, other) for _ in range(AT_ONCE // 2)])
    for each in (browser, other):
        assert (await refresh(each, ended["refresh_token"])).json()["error"] == "invalid_grant"
        assert (await told(each, ended["access_token"])).status_code == 401


async def won(asked: list[Any]) -> dict[str, Any]:
    """What the one got who was first; where nobody was told so in time, nothing counts."""
    answers = await asyncio.gather(*asked)
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[1:] == [400] * (len(answers) - 1), [answer.text for answer in answers]
    refused = [answer.json()["error"] for answer in answers if answer.status_code == 400]
    assert set(refused) == {"invalid_grant"}
    first: dict[str, Any] = next((answer.json() for answer in answers if answer.status_code == 200), {})
    return {"refresh_token": "nobody-won", "access_token": "nobody-won"} | first


async def test_while_the_database_is_gone_all_is_503_and_no_login_is_lost(folder: Path) -> None:
    with PostgresServer() as server:
        async with pair(folder, server.url) as (one, two), replicas.browser(one, two) as browser:
            tokens = await browser.tokens()
            code = await browser.login()
            server.stop_immediately()
            for _ in range(3):
                away = [await refresh(browser, tokens["refresh_token"]), await browser.redeem(code)]
                away.append(await told(browser, tokens["access_token"]))
                found = [(answer.status_code, answer.json()["error"]) for answer in away]
                assert found == [(503, "temporarily_unavailable")] * 3
                page = await browser.http.get("/")
                assert (page.status_code, "retry-after" in page.headers) == (503, True)
            async with httpx.AsyncClient(trust_env=False) as anybody:
                for replica in (one, two):
                    assert (await anybody.get(f"{replica.private}/readyz")).status_code == 200
                    assert (await anybody.get(f"{replica.public}/.well-known/jwks.json")).status_code == 200
            server.start()
            assert (await eventually(browser, code)).status_code == 200
            assert (await told(browser, tokens["access_token"])).status_code == 200
            assert (await refresh(browser, tokens["refresh_token"])).status_code == 200


async def eventually(browser: Browser, code: str) -> httpx.Response:
    for _ in range(100):
        answer = await browser.redeem(code)
        if answer.status_code != 503:
            return answer
        await asyncio.sleep(0.1)
    raise AssertionError(answer.text)


async def test_when_one_is_killed_under_load_the_other_goes_on_with_every_login(
    postgres: PostgresServer, folder: Path
) -> None:
    async with (
        pair(folder, postgres.url) as (one, two),
        replicas.browser(one) as here,
        replicas.browser(two) as there,
    ):
        begun = [(await here.tokens())["refresh_token"] for _ in range(LOGINS)]
        load = [asyncio.create_task(rotating(here, token)) for token in begun[2:]]
        await asyncio.sleep(0.3)
        replicas.ended(one)
        last = await asyncio.gather(*load)
        for token in (*begun[:2], *(token for token, used in last if not used)):
            assert (await refresh(there, token)).status_code == 200
        for token in (token for token, used in last if used):
            answer = await refresh(there, token)  # whether the killed one had used it up, nobody was told
            assert answer.status_code == 200 or answer.json()["error"] == "invalid_grant"
        assert (await there.tokens())["refresh_token"]


async def rotating(browser: Browser, token: str) -> tuple[str, bool]:
    """Refresh until nobody answers; the last token, and whether its use may have counted."""
    while True:
        try:
            answer = await refresh(browser, token)
        except httpx.ConnectError:
            return token, False
        except httpx.TransportError:
            return token, True
        assert answer.status_code == 200, answer.text
        token = answer.json()["refresh_token"]
        await asyncio.sleep(0.02)
