"""Wherever the store, or we, stop within a redemption: one winner at most, and no login that nobody holds.

Each question to a store is one transaction, so what a kill leaves behind is what stands before a question or after it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from fakes import idp, oauthclients
from fakes.idp import Browser, Provider
from tailseal.state.protocol import Fault, StateUnavailable

QUESTIONS: Final = ("put", "get", "use", "replace", "remove", "owned", "family", "families", "end", "end_session")


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with idp.running(tmp_path, oauthclients.record(allow={"users": ["*@corp.example"]})) as made:
        yield made


@dataclass
class Cut:
    """A store that goes away at its n-th question: before it was asked, or after it was done."""

    state: Any
    number: int
    after: bool
    asked: int = 0

    @contextmanager
    def off(self) -> Iterator[None]:
        for name in QUESTIONS:
            setattr(self.state, name, self._cut(getattr(self.state, name)))
        try:
            yield
        finally:
            for name in QUESTIONS:
                delattr(self.state, name)

    def _cut(self, real: Any) -> Any:  # noqa: ANN401 - any of its questions
        async def ask(*given: Any, **named: Any) -> Any:  # noqa: ANN401
            self.asked += 1
            now = self.asked == self.number
            if now and not self.after:
                raise StateUnavailable(Fault.UNREACHABLE)
            answer = await real(*given, **named)
            if now:
                raise StateUnavailable(Fault.UNREACHABLE)
            return answer

        return ask


async def stands(browser: Browser, given: dict[str, Any]) -> bool:
    header = {"authorization": f"Bearer {given['access_token']}"}
    return (await browser.http.get("/userinfo", headers=header)).status_code == 200


async def ask(browser: Browser, kind: str, handle: str) -> httpx.Response:
    if kind == "code":
        return await browser.redeem(handle)
    return await browser.post("/token", {"grant_type": "refresh_token", "refresh_token": handle})


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", ["code", "refresh"])
async def test_who_tries_again_wins_or_ends_what_there_was(provider: Provider, kind: str, after: bool) -> None:  # noqa: FBT001
    ana, state = provider.browser(), provider.worker.state
    outcomes: list[int] = []
    for number in range(1, 50):
        handle = await ana.login() if kind == "code" else (await ana.tokens())["refresh_token"]
        cut = Cut(state, number, after)
        with cut.off():
            answer = await ask(ana, kind, handle)
        if cut.asked < number:
            assert answer.status_code == 200
            break
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        assert "retry-after" in answer.headers
        again = await ask(ana, kind, handle)
        outcomes.append(again.status_code)
        if again.status_code == 200:
            assert await stands(ana, again.json())
        else:
            assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
        third = await ask(ana, kind, handle)
        assert third.json()["error"] == "invalid_grant", "it would count twice"
        assert await provider.runtime.grants.families("userid:1") == [], "a login would stand that nobody holds"
    else:
        raise AssertionError("it asks for ever")
    assert outcomes == sorted(outcomes), "once it counted it stays counted"
    last_is_use = kind == "refresh" and not after  # its last question is the one that counts
    assert set(outcomes) == ({200} if last_is_use else {200, 400})
