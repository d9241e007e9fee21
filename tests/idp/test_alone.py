"""A real worker whose disk or whose node fails it: what can be answered is, the rest is 503, and the log says why."""

from __future__ import annotations

import asyncio
import json
import resource
from pathlib import Path

import httpx
import pytest

from fakes import replicas
from fakes.idp import Browser, authorization
from fakes.localapi import FakeLocalApi
from fakes.replicas import Replica

pytestmark = pytest.mark.usefixtures("on_a_file")


def limit(replica: Replica, size: int) -> None:
    """The most bytes that a file of its may have, as on a disk that is full from there on."""
    resource.prlimit(replica.run.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def said(replica: Replica) -> list[str]:
    whole = replica.said().rpartition("\n")[0].splitlines()  # of the last one there may be a part
    lines = (json.loads(line) for line in whole if line.startswith("{"))
    return [f"{line['event']}: {line.get('why', '')}" for line in lines if "event" in line]


async def until_said(replica: Replica, start: str, *parts: str) -> None:
    async with asyncio.timeout(120):
        while not any(line.startswith(start) and all(part in line for part in parts) for line in said(replica)):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def refresh(browser: Browser, token: str) -> httpx.Response:
    return await browser.post("/token", {"grant_type": "refresh_token", "refresh_token": token})


async def test_on_a_full_disk_logins_are_503_and_go_on_as_soon_as_there_is_room(folder: Path) -> None:
    api = FakeLocalApi(folder / "localapi.sock")
    api.knows("user")
    await api.start()
    async with (
        replicas.running(folder, api.path, f"--state={folder}/state") as replica,
        replicas.browser(replica) as browser,
    ):
        tokens = [await browser.tokens() for _ in range(3)][-1]
        code = await browser.login()
        limit(replica, (folder / "state/state.db-wal").stat().st_size)
        for answer in [await browser.redeem(code), await refresh(browser, tokens["refresh_token"])]:
            assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
            assert answer.json()["tailseal_reason"] == "StateUnavailable"
        await until_said(replica, "state unavailable: the file: ", "SQLITE_")
        async with httpx.AsyncClient(base_url=replica.public, trust_env=False) as anybody:
            assert (await anybody.get("/.well-known/openid-configuration")).status_code == 200
        limit(replica, resource.RLIM_INFINITY)
        assert (await browser.redeem(code)).status_code == 200
        assert (await refresh(browser, tokens["refresh_token"])).status_code == 200
        await until_said(replica, "state available again: ")
    await api.stop()


async def test_without_its_node_everything_but_logins_is_answered_and_logins_are_when_it_comes(folder: Path) -> None:
    socket = folder / "localapi.sock"
    async with (
        replicas.running(folder, socket, f"--state={folder}/state") as replica,
        replicas.browser(replica) as browser,
        httpx.AsyncClient(base_url=replica.public, trust_env=False) as anybody,
    ):
        for path in ("/.well-known/jwks.json", "/.well-known/openid-configuration"):
            assert (await anybody.get(path)).status_code == 200
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": "x"}
        exchange = await anybody.post("/token", data=form)
        assert (exchange.status_code, exchange.json()["error"]) == (400, "invalid_request")
        page = await browser.http.get("/authorize", params=authorization())
        assert (page.status_code, "retry-after" in page.headers) == (503, True)
        await until_said(replica, "not on the tailnet, so nobody can log in: ", str(socket))
        api = FakeLocalApi(socket)
        api.knows("user")
        await api.start()
        assert (await browser.tokens())["token_type"] == "Bearer"
        await until_said(replica, "on the tailnet: ")
        await api.stop()
