"""A client's signed assertion counts once, at whichever endpoint and across restarts: shown on the real databases."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from fakes import idp, keyfiles, oauthclients
from fakes.idp import Provider, authorization
from fakes.stores import postgres_store
from tailseal.oauth.clientauth import ASSERTION_TYPE
from tailseal.state.protocol import Store
from tailseal.state.sqlite import SQLiteStore

KEY = keyfiles.key("Ed25519")
GRANTS = ["authorization_code", "client_credentials"]
ROBOT = oauthclients.record(authMethod="private_key_jwt", jwks=oauthclients.jwks(KEY), grantTypes=GRANTS)
ASKED: dict[str, dict[str, Any]] = {
    "/token": {"grant_type": "client_credentials"},
    "/par": authorization(),
    "/introspect": {"token": "x"},
}
RIGHT = {"/token": 200, "/par": 201, "/introspect": 200}
Open = Callable[[], Store]
every = pytest.mark.parametrize("path", ASKED)


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the database, again and again."""
    if request.param == "SQLite":
        return lambda: SQLiteStore(tmp_path / "assertions.db", clock=time.time)
    url: str = request.getfixturevalue("postgres").url
    return lambda: postgres_store(url)


@pytest.fixture
async def provider(opened: Open, tmp_path: Path) -> AsyncIterator[Provider]:
    async with idp.running(tmp_path, ROBOT) as made:
        made.clock[0] = time.time()
        await replaced(made, opened)
        yield made


async def replaced(provider: Provider, opened: Open) -> None:
    """As by a restart: only what is in the database is known."""
    former = provider.worker.state.local
    assert former is not None
    await former.aclose()
    provider.worker.state.local = opened()


def assertion(provider: Provider) -> dict[str, str]:
    now, name = int(provider.clock[0]), oauthclients.ID
    said = {"iss": name, "sub": name, "aud": provider.issuer, "iat": now, "exp": now + 300, "jti": os.urandom(9).hex()}
    return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": oauthclients.jwt(KEY, {"kid": "k1"}, said)}


async def ask(provider: Provider, path: str, shown: dict[str, str]) -> tuple[int, str]:
    answer = await provider.browser().http.post(path, data=ASKED[path] | shown)
    return answer.status_code, answer.json().get("error", "")


@every
async def test_it_is_taken_once_and_then_nowhere_also_after_a_restart(
    provider: Provider, opened: Open, path: str
) -> None:
    shown = assertion(provider)
    assert await ask(provider, path, shown) == (RIGHT[path], "")
    for other in ASKED:
        assert await ask(provider, other, shown) == (401, "invalid_client"), other
    await replaced(provider, opened)
    assert await ask(provider, path, shown) == (401, "invalid_client")
    assert await ask(provider, path, assertion(provider)) == (RIGHT[path], "")


@every
async def test_of_many_who_show_it_at_once_one_is_taken(provider: Provider, path: str) -> None:
    shown = assertion(provider)
    answers = await asyncio.gather(*(ask(provider, path, shown) for _ in range(8)))
    assert sorted(answers) == [(RIGHT[path], ""), *[(401, "invalid_client")] * 7]
