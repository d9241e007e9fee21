"""What clients may cost those who are none: room in the store, places in the queue, and time while a replica ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from fakes.exchange import FORM, NOW, SETTINGS, ed_key, foreign_set, form, token
from fakes.oauthclients import client, jwks
from fakes.oauthclients import jwt as signed
from fakes.sts import House, Marks, snapshot
from fakes.worker import until
from tailseal.domain.policy.source import KeySource
from tailseal.tokens.keyset import KeySet, parse_jwks
from tailseal.tokens.once import MARGIN
from tailseal.tokens.request import GRANT_TYPE
from tailseal.workers.common.limits.exchange import Limits, Rate
from tailseal.workers.common.runtime import Runtime
from tailseal.workers.exchange import token as endpoint

KEY = ed_key("client")
ASSERTED = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
KEPT = 60 + SETTINGS.clock_skew + MARGIN


class Clients(House):
    """A house with clients that prove themselves by keys, one of each namespace."""

    def __init__(self, **spec: Any) -> None:  # noqa: ANN401 - as manifests have it
        super().__init__()
        self.store, self.theirs = Marks(), parse_jwks(jwks(KEY))
        members = {"grantTypes": [GRANT_TYPE], "redirectURIs": None, "authMethod": "private_key_jwt"}
        members |= spec or {"jwks": jwks(KEY)}
        found = {name: replace(client(name, **members), namespace=name) for name in ("team-a", "team-b")}
        self.current = replace(snapshot(), clients=found)
        self.fetch = self._keys

    async def _keys(self, source: KeySource) -> KeySet:
        return self.theirs if source.issuer in {"team-a", "team-b"} else foreign_set()

    def runtime(self) -> Runtime:
        return replace(super().runtime(), once=self.store)


def proof(name: str, jti: str, kid: str = "k1") -> dict[str, str]:
    claims = {"iss": name, "sub": name, "aud": SETTINGS.token_endpoint, "exp": int(NOW) + 60, "jti": jti}
    return {"client_assertion_type": ASSERTED, "client_assertion": signed(KEY, {"kid": kid, "typ": "JWT"}, claims)}


async def ask(caller: httpx.AsyncClient, **fields: str) -> httpx.Response:
    return await caller.post("/token", content=form(token(), **fields), headers={"content-type": FORM})


async def test_no_namespace_fills_the_store_with_assertions_of_its_client() -> None:
    house = Clients()
    house.limits = Limits(lambda: house.now, marks=Rate(1, 3 * KEPT, 8))
    async with house.client() as caller:
        answers = [await ask(caller, **proof("team-a", f"j{number}")) for number in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert answers[3].json()["tailseal_reason"] == "MarksLimited"
        assert int(answers[3].headers["retry-after"]) == KEPT
        assert len(house.store.marks) == 3
        assert (await ask(caller, **proof("team-b", "j0"))).status_code == 200


async def test_a_used_assertion_takes_nothing_from_its_namespace() -> None:
    house = Clients()
    house.limits = Limits(lambda: house.now, marks=Rate(1, 3 * KEPT, 8))
    async with house.client() as caller:
        assert (await ask(caller, **proof("team-a", "j0"))).status_code == 200
        assert {(await ask(caller, **proof("team-a", "j0"))).status_code for _ in range(9)} == {401}
        assert (await ask(caller, **proof("team-a", "j1"))).status_code == 200


async def test_clients_whose_keys_come_slowly_leave_half_of_the_places_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(endpoint.TokenEndpoint.__init__.__kwdefaults__, "limit", 8)
    house, slow = Clients(jwksURI="https://keys.example/jwks"), asyncio.Event()

    async def keys(source: KeySource) -> KeySet:
        if source.issuer == "team-a":
            held.append(source)
            await slow.wait()
        return await house._keys(source)

    held: list[KeySource] = []
    house.fetch = keys
    async with house.client() as caller:
        assert (await ask(caller)).status_code == 200
        waiting = [asyncio.create_task(ask(caller, **proof("team-a", f"j{number}"))) for number in range(8)]
        await until(lambda: bool(held) and sum(task.done() for task in waiting) == 4)
        assert (await ask(caller)).status_code == 200
        slow.set()
        answers = await asyncio.gather(*waiting)
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [503] * 4
    assert {answer.json().get("tailseal_reason") for answer in answers} == {None, "Overloaded"}


async def test_a_request_waits_for_its_client_and_its_keys_no_longer_than_for_one_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endpoint, "PATIENCE", 0.2)
    house, slow = Clients(jwksURI="https://keys.example/jwks"), 0.12

    async def keys(source: KeySource) -> KeySet:
        await asyncio.sleep(slow)
        return await house._keys(source)

    house.fetch = keys
    async with house.client() as caller:
        answered = await ask(caller, **proof("team-a", "j0"))
    assert (answered.status_code, answered.json()["tailseal_reason"]) == (503, "ExchangeTimedOut")
