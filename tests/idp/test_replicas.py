"""Two real workers on one database: a login goes on at either, and of all who race for what counts once, one wins."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from fakes import idp, replicas, sidecar
from fakes.idp import Browser
from fakes.localapi import recorded
from fakes.replicas import Replica
from tailseal_dev.ports import free_ports
from tailseal_dev.postgres import PostgresServer

RACES = int(os.environ.get("TAILSEAL_RACES", "400"))
AT_ONCE = int(os.environ.get("TAILSEAL_RACERS", "4"))
LOGINS = 4
"""How many people's applications race beside each other."""
OUTAGE = float(os.environ.get("TAILSEAL_OUTAGE", "0"))
"""Seconds for which the database stays away, at least."""


Ask = Callable[[Browser], Awaitable[httpx.Response]]


@contextmanager
def tailnet(folder: Path) -> Iterator[Path]:
    """Its socket; by a process of its own, so that what is busy here makes nobody wait for it."""
    (folder / "people.json").write_text(json.dumps({replicas.ALICE: recorded("user")}))
    socket = folder / "localapi.sock"
    environment = os.environ | {"TS_SOCKET": str(socket), "TS_LOCAL_ADDR_PORT": f"127.0.0.1:{free_ports(1)[0]}"}
    with subprocess.Popen([sys.executable, sidecar.__file__, folder / "people.json"], env=environment) as running:
        try:
            yield socket
        finally:
            running.kill()


@asynccontextmanager
async def pair(folder: Path, url: str) -> AsyncIterator[tuple[Replica, Replica]]:
    replicas.bundle(folder, url=url)
    with tailnet(folder) as api:
        async with replicas.running(folder, api) as one, replicas.running(folder, api) as two:
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
        won = 0
        for _ in range(max(1, RACES // LOGINS // 2)):
            won += sum(await asyncio.gather(*(race(browser, other) for _ in range(LOGINS))))
        assert won > 0


async def race(browser: Browser, other: Browser) -> int:
    """For a code, and then in a login of its own for a refresh token: how many won that."""
    code = await code_of(browser)
    await race_for(browser, other, lambda each: each.redeem(code))
    token = (await tokens_of(browser))["refresh_token"]
    return await race_for(browser, other, lambda each: refresh(each, token))


async def code_of(browser: Browser) -> str:
    """Where there is a session, however busy the machine is."""
    answer = await decided(lambda: browser.http.get("/authorize", params=idp.authorization()))
    return idp.parameters(answer)["code"]


async def tokens_of(browser: Browser) -> dict[str, Any]:
    """Of a login of its own: a code that was answered with 503 may have counted, so it is not tried again."""
    for _ in range(60):
        answer = await browser.redeem(await code_of(browser))
        if answer.status_code != 503:
            break
    found: dict[str, Any] = answer.json()
    assert answer.status_code == 200, found
    return found


async def race_for(browser: Browser, other: Browser, ask: Ask) -> int:
    """Of all at once one gets tokens at most, none where a code was replayed in time; and the login ends at both."""
    answers = await asyncio.gather(*(ask(each) for each in (browser, other) for _ in range(AT_ONCE // 2)))
    given = [answer.json() for answer in answers if answer.status_code == 200]
    refused = [answer.json()["error"] for answer in answers if answer.status_code == 400]
    busy = [answer.text for answer in answers if answer.status_code == 503]
    assert len(given) <= 1
    assert set(refused) <= {"invalid_grant"}
    assert len(given) + len(refused) + len(busy) == AT_ONCE
    for found in given if refused else ():
        for each in (browser, other):
            assert (await decided(partial(refresh, each, found["refresh_token"]))).status_code == 400
            assert (await decided(partial(told, each, found["access_token"]))).status_code == 401
    return len(given)


async def decided(ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """An answer that is no 503: on a crowded machine the database or the node may not answer in time."""
    for _ in range(60):
        answer = await ask()
        if answer.status_code != 503:
            return answer
        await asyncio.sleep(0.5)
    raise AssertionError(answer.text)


async def test_while_the_database_is_gone_all_is_503_and_no_login_is_lost(folder: Path) -> None:
    with PostgresServer() as server:
        async with pair(folder, server.url) as (one, two), replicas.browser(one, two) as browser:
            tokens = await browser.tokens()
            code, begun = await browser.login(), time.monotonic()
            server.stop_immediately()
            until = time.monotonic() + OUTAGE
            for number in count():
                away = [await refresh(browser, tokens["refresh_token"]), await browser.redeem(code)]
                away.append(await told(browser, tokens["access_token"]))
                away += [
                    await browser.post(path, {"token": tokens["access_token"]}) for path in ("/introspect", "/revoke")
                ]
                found = {(answer.status_code, answer.json()["error"]) for answer in away}
                assert found == {(503, "temporarily_unavailable")}
                away.append(await browser.http.get("/"))
                sent = idp.parameters(await browser.http.get("/authorize", params=idp.authorization()))
                assert sent["error"] == "temporarily_unavailable", "RFC 6749 section 4.1.2.1 has no 503 there"
                assert {(answer.status_code, "retry-after" in answer.headers) for answer in away} == {(503, True)}
                if number > 1 and time.monotonic() > until:
                    break
                await asyncio.sleep(min(OUTAGE, 0.5))
            async with httpx.AsyncClient(trust_env=False) as anybody:
                for replica in (one, two):
                    assert (await anybody.get(f"{replica.private}/readyz")).status_code == 200
                    assert (await anybody.get(f"{replica.public}/.well-known/jwks.json")).status_code == 200
            server.start()
            for _ in (one, two):
                assert (await decided(lambda: told(browser, tokens["access_token"]))).status_code == 200
            kept = {"token": tokens["refresh_token"]}
            assert (await decided(lambda: browser.post("/introspect", kept))).json()["active"]
            late = await browser.redeem(
                code
            )  # if that is not answered in time on a crowded machine, it may have counted
            assert late.status_code in {200, 503} or time.monotonic() - begun > 50, "a code lives for a minute"
            for _ in (one, two):
                assert (await tokens_of(browser))["access_token"], "there is still a session"


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
        if answer.status_code == 503:  # on a crowded machine; whether it counted, nobody was told
            return token, True
        assert answer.status_code == 200, answer.text
        token = answer.json()["refresh_token"]
        await asyncio.sleep(0.02)
