"""A real worker on a file, killed while people log in: what it answered is kept, and nothing counts twice."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from fakes import idp, replicas
from fakes.answered import Told, check, nothing
from fakes.idp import Browser
from fakes.localapi import FakeLocalApi
from tailseal.oauth import credentials
from tailseal.state.sqlite import FILE, SQLiteStore

KILLS = int(os.environ.get("TAILSEAL_KILLS", "4"))
AT_ONCE, LOGINS = 4, 6
"""Loads, and how often each logs in at most: of one person's logins at a client the last 32 stand."""
REFRESHED = 12
"""How often each login is, at most: of its used tokens the last 16 are known."""
FRESH = 45.0
"""Seconds for which a code is surely kept: a minute by the worker's clock, and then it may be swept."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, as the path of a socket must be."""
    made = Path(tempfile.mkdtemp(prefix="idp-"))
    (made / "state").mkdir()
    replicas.bundle(made)
    yield made
    shutil.rmtree(made)


@dataclass
class Load:
    """Logins one after the other, as long as somebody answers; and what was answered.

    Args:
        browser: with a session.
        told: digests of what was given and of what was used.
        given: Unix seconds when each code was.
    """

    browser: Browser
    told: Told = field(default_factory=nothing)
    given: dict[bytes, float] = field(default_factory=dict)

    async def run(self) -> None:
        try:
            for _ in range(LOGINS):
                await self.log_in()
        except httpx.TransportError:
            return

    async def log_in(self) -> None:
        sent = idp.parameters(await asked(self.browser))
        if "code" not in sent:  # on a crowded machine
            assert sent["error"] == "temporarily_unavailable"
            return
        digest = credentials.digest(sent["code"])
        self.told["code"].add(digest)
        self.given[digest] = time.time()
        answer, used = await self.browser.redeem(sent["code"]), "won"
        for _ in range(REFRESHED):
            if answer.status_code == 503:
                return
            assert answer.status_code == 200, answer.text
            self.told[used].add(digest)
            token = answer.json()["refresh_token"]
            digest, used = credentials.digest(token), "rotated"
            self.told["refresh"].add(digest)
            answer = await refresh(self.browser, token)

    def kept(self, at: float) -> Told:
        """What must still be known of what was answered before a time."""
        late = {digest for digest, given in self.given.items() if given < at - FRESH}
        return self.told | {"code": self.told["code"] - late}


async def refresh(browser: Browser, token: str) -> httpx.Response:
    return await browser.post("/token", {"grant_type": "refresh_token", "refresh_token": token})


async def test_a_worker_that_is_killed_under_load_loses_nothing_and_lets_nothing_count_twice(folder: Path) -> None:
    api = FakeLocalApi(folder / "localapi.sock")
    api.knows("user")
    await api.start()
    options, cookies = f"--state={folder}/state", httpx.Cookies()
    mine = ""
    for _ in range(KILLS):
        async with replicas.running(folder, api.path, options) as replica, replicas.browser(replica) as browser:
            browser.http.cookies = cookies
            if mine:
                await goes_on(browser, mine)
            mine = (await browser.tokens())["refresh_token"]
            loads = [Load(browser) for _ in range(AT_ONCE)]
            tasks = [asyncio.create_task(load.run()) for load in loads]
            wanted = random.randrange(1, 100)
            async with asyncio.timeout(120):
                while not all(task.done() for task in tasks) and given(loads) < wanted:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await asyncio.sleep(random.random() * 0.02)
            killed = time.time()
            replicas.ended(replica)
            await asyncio.gather(*tasks)
            cookies = browser.http.cookies
        store = SQLiteStore(folder / "state" / FILE, clock=lambda: 0.0)
        for load in loads:
            await check(store, load.kept(killed))
        await store.aclose()
    async with replicas.running(folder, api.path, options) as replica, replicas.browser(replica) as browser:
        browser.http.cookies = cookies
        last = await goes_on(browser, mine)
        for token in (mine, last):
            answer = await refresh(browser, token)
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), "a replay ends the login"
    await api.stop()


async def goes_on(browser: Browser, token: str) -> str:
    """There is a session still, and a login whose token nobody used since; the next token."""
    async with asyncio.timeout(60):
        while "code" not in (sent := idp.parameters(await asked(browser))):
            assert sent["error"] == "temporarily_unavailable"
            await asyncio.sleep(0.1)
    answer = await refresh(browser, token)
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["refresh_token"]
    return found


async def asked(browser: Browser) -> httpx.Response:
    async with asyncio.timeout(60):
        while (answer := await browser.http.get("/authorize", params=idp.authorization())).status_code == 503:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert answer.status_code == 303, "who has a session sees no page"
    return answer


def given(loads: list[Load]) -> int:
    return sum(len(load.told["refresh"]) for load in loads)
