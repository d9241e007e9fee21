"""Room for what counts once: a tenant gets his share of it, whatever tokens he makes, and a replay draws nothing."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from fakes.exchange import NOW, SETTINGS, claims, form, spec, token
from fakes.sts import House, Marks, post, snapshot
from tailseal.workers.common.limits.exchange import MARKS, Limits, Rate
from tailseal.workers.common.runtime import Runtime

SHARED = SETTINGS.model_copy(update={"state": "Postgres"})
YEAR_9999 = 253_000_000_000


class Once(House):
    def __init__(self) -> None:
        super().__init__()
        self.once = Marks()
        self.current = snapshot(SHARED, spec(replay={"oneTime": True}))

    def runtime(self) -> Runtime:
        return replace(super().runtime(), once=self.once)


@pytest.fixture
def house() -> Once:
    return Once()


async def ask(client: httpx.AsyncClient, number: int, **changes: object) -> httpx.Response:
    return await post(client, form(token(claims(jti=f"j{number}", **changes))))


async def test_nobody_fills_the_store_for_ever_with_tokens_that_never_end(house: Once) -> None:
    async with house.client() as client:
        answers = [await ask(client, number, exp=YEAR_9999) for number in range(3)]
        assert {answer.status_code for answer in answers} == {429}
        assert {answer.json()["tailseal_reason"] for answer in answers} == {"MarksLimited"}
        assert house.once.marks == {}
        assert (await ask(client, 9)).status_code == 200


async def test_what_a_namespace_keeps_is_bounded_by_how_long_it_is_kept(house: Once) -> None:
    kept = 300 + 600
    house.limits = Limits(lambda: house.now, marks=Rate(1, 3 * kept, 8))
    async with house.client() as client:
        answers = [await ask(client, number) for number in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert int(answers[3].headers["retry-after"]) == kept
        house.now += 100
        assert (await ask(client, 5, exp=int(NOW) + 301)).status_code == 429
        house.now += 700  # the mark of a token that ends sooner takes less room
        assert (await ask(client, 6, iat=int(house.now), exp=int(house.now) + 100)).status_code == 200


async def test_who_presents_a_used_token_over_and_over_takes_nothing_from_its_policy(house: Once) -> None:
    house.limits = Limits(lambda: house.now, policy=Rate(1, 5, 8), issuer=Rate(1, 6, 8), marks=Rate(1, 5 * 900, 8))
    async with house.client() as client:
        assert (await ask(client, 0)).status_code == 200
        again = [await ask(client, 0) for _ in range(20)]
        assert {answer.json()["tailseal_reason"] for answer in again} == {"TokenReplayed"}
        assert [(await ask(client, number)).status_code for number in range(1, 6)] == [200] * 4 + [429]


def test_a_namespace_gets_a_small_share_of_the_store_and_a_matrix_of_jobs_fits_in() -> None:
    limits, minutes = Limits(lambda: NOW), 15 * 60
    for _ in range(2000):
        assert limits.mark("team", minutes) is None
    assert MARKS.rate <= 50_000
    assert MARKS.burst / minutes <= 50_000
    assert limits.mark("team", 365 * 86_400) is None
    assert limits.mark("team", 2 * 365 * 86_400) is not None
