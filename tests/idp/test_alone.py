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
    lines = (json.loads(line) for line in replica.said().splitlines() if line.startswith("{"))
    return [f"{line['event']}: {line.get('why', '')}" for line in lines if "event" in line]


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
        assert any(line.startswith("state unavailable: the file: ") and "SQLITE_" in line for line in said(replica))
        async with httpx.AsyncClient(base_url=replica.public, trust_env=False) as anybody:
            assert (await anybody.get("/.well-known/openid-configuration")).status_code == 200
        limit(replica, resource.RLIM_INFINITY)
        assert (await browser.redeem(code)).status_code == 200
        assert (await refresh(browser, tokens["refresh_token"])).status_code == 200
        assert "state available again: " in said(replica)
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
        assert [line for line in said(replica) if line.startswith("not on the tailnet, so nobody can log in: ")]
        assert str(socket) in replica.said()
        api = FakeLocalApi(socket)
        api.knows("user")
        await api.start()
        assert (await browser.tokens())["token_type"] == "Bearer"
        for _ in range(200):
            if "on the tailnet: " in said(replica):
                break
            await asyncio.sleep(0.1)
        else:
            raise AssertionError(replica.said())
        await api.stop()
