"""A database is lost while people log in, and its synchronous standby takes its place: no login is lost by that."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from fakes import idp, replicas
from fakes.answered import check
from fakes.idp import Browser
from fakes.localapi import FakeLocalApi
from fakes.logins import AT_ONCE, Load, asked, given
from fakes.stores import postgres_store
from tailseal_dev.postgres import PostgresServer

SOON = 20.0
"""Seconds that looking may take, and a code is still kept."""


async def decided(browser: Browser, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """An answer that is no 503: the worker takes up the URL when it looks."""
    async with asyncio.timeout(120):
        while (answer := await browser.post(path, form)).status_code == 503:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return answer.status_code, answer.json()


async def test_a_standby_takes_the_place_of_a_lost_database_and_every_login_goes_on(
    postgres: PostgresServer, folder: Path
) -> None:
    api = FakeLocalApi(folder / "localapi.sock")
    api.knows("user")
    await api.start()
    with PostgresServer() as primary, PostgresServer(primary=primary) as standby:
        mounted = replicas.bundle(folder, url=primary.url)
        async with replicas.running(folder, api.path) as replica, replicas.browser(replica) as browser:
            mine, code = (await browser.tokens())["refresh_token"], await browser.login()
            assert (await browser.redeem(code)).status_code == 200
            loads = [Load(browser) for _ in range(AT_ONCE)]
            tasks = [asyncio.create_task(load.run()) for load in loads]
            async with asyncio.timeout(120):
                while not all(task.done() for task in tasks) and given(loads) < 20:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await asyncio.to_thread(primary.kill)
            await asyncio.gather(*tasks)
            await asyncio.to_thread(standby.promote)
            mounted.project("credentials", {"state.url": standby.url.encode()})
            kept = await decided(browser, "/introspect", {"token": mine})
            assert (kept[0], kept[1]["active"]) == (200, True)
            again = await decided(browser, "/token", idp.redemption(code))
            assert (again[0], again[1]["error"]) == (400, "invalid_grant"), "it was used before"
            async with asyncio.timeout(120):
                while "code" not in idp.parameters(await asked(browser)):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            store = postgres_store(standby.url)
            for load in loads:
                await check(store, load.kept(time.time() + SOON))
            await store.aclose()
    await api.stop()
