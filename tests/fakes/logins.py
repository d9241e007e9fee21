"""People who log in to a worker one after the other until it dies, and what they were answered."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

import httpx

from fakes import idp
from fakes.answered import Told, nothing
from fakes.idp import Browser
from tailseal.oauth import credentials

AT_ONCE: Final = 4
LOGINS: Final = 6
"""How often each load logs in, at most: of one person's logins at a client the last 32 stand."""
REFRESHED: Final = 12
"""How often each login is, at most: of its used tokens the last 16 are known."""
FRESH: Final = 45.0
"""Seconds for which a code is surely kept: a minute by the worker's clock, and then it may be swept."""


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


async def asked(browser: Browser) -> httpx.Response:
    async with asyncio.timeout(60):
        while (answer := await browser.http.get("/authorize", params=idp.authorization())).status_code == 503:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert answer.status_code == 303, "who has a session sees no page"
    return answer


def given(loads: list[Load]) -> int:
    return sum(len(load.told["refresh"]) for load in loads)
