"""A real worker on a file, killed while people log in: what it answered is kept, and nothing counts twice."""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

import httpx
import pytest

from fakes import idp, replicas
from fakes.answered import check
from fakes.idp import Browser
from fakes.localapi import FakeLocalApi
from fakes.logins import AT_ONCE, Load, asked, given, refresh
from tailseal.state.sqlite import FILE, SQLiteStore

pytestmark = pytest.mark.usefixtures("on_a_file")

KILLS = int(os.environ.get("TAILSEAL_KILLS", "4"))


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
