"""The key cache: one fetch for all who wait, never too often, never for ever."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fakes import exchange
from tailseal.domain.policy.source import KeySource
from tailseal.tokens.keyset import KeySet, parse_jwks
from tailseal.workers.common.outbound import keycache
from tailseal.workers.common.outbound.keycache import (
    AGE_LIMIT,
    REFETCH_INTERVAL,
    REFRESH_AFTER,
    KeyCache,
    KeysUnavailable,
)

SOURCE = KeySource("https://ci.example", "jwksURI", "https://ci.example/jwks")
INLINE = KeySource("https://ci.example", "jwks", "sha256:aa", jwks="{}", expires_at=exchange.NOW + 100)


def keys(*kids: str) -> KeySet:
    return parse_jwks({"keys": [exchange.jwk(exchange.ec_key(kid), kid, "ES256") for kid in kids]})


class Bench:
    """A cache whose issuer answers with what it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.adjusted = exchange.NOW - self.now
        """By how much the wall clock is ahead of the other."""
        self.fetched: list[KeySource] = []
        self.counted: list[bool] = []
        self.answer: KeySet | Exception = keys("a")
        self.gate = asyncio.Event()
        self.gate.set()
        self.cache = KeyCache(
            self.fetch,
            clock=lambda: self.now + self.adjusted,
            monotonic=lambda: self.now,
            count=self.counted.append,
        )

    async def fetch(self, source: KeySource) -> KeySet:
        self.fetched.append(source)
        answer = self.answer
        await self.gate.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def have(self, source: KeySource = SOURCE, kid: str | None = "a") -> KeySet | None:
        """What a request ends up with."""
        found = self.cache.get(source, kid)
        if found is None:
            await self.cache.load(source, kid)
            found = self.cache.get(source, kid)
        return found


async def test_nothing_in_hand_is_loaded_once() -> None:
    bench = Bench()
    assert bench.cache.get(SOURCE, "a") is None
    assert await bench.have() is bench.answer
    assert await bench.have() is bench.answer
    assert bench.fetched == [SOURCE]
    assert bench.counted == [True]


async def test_callers_at_the_same_time_share_one_fetch() -> None:
    bench = Bench()
    bench.gate.clear()
    waiting = [asyncio.create_task(bench.have()) for _ in range(20)]
    await asyncio.sleep(0)
    bench.gate.set()
    assert set(await asyncio.gather(*waiting)) == {bench.answer}
    assert len(bench.fetched) == 1


async def test_a_slow_source_holds_no_more_than_so_many_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keycache, "MOST_WAITING", 2)
    bench, other = Bench(), replace(SOURCE, location="https://ci.example/other")
    bench.gate.clear()
    waiting = [asyncio.create_task(bench.have()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(KeysUnavailable) as caught:
        await bench.have()
    assert caught.value.reason == "KeysSlow"
    waiting.append(asyncio.create_task(bench.have(other)))
    waiting[0].cancel()
    await asyncio.sleep(0)
    waiting[0] = asyncio.create_task(bench.have())  # in the place of one who went away
    await asyncio.sleep(0)
    bench.gate.set()
    assert await asyncio.gather(*waiting) == [bench.answer] * 3


async def test_a_caller_that_goes_away_does_not_take_the_fetch_along() -> None:
    bench = Bench()
    bench.gate.clear()
    first, second = asyncio.create_task(bench.have()), asyncio.create_task(bench.have())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    bench.gate.set()
    assert await second is bench.answer
    assert len(bench.fetched) == 1


async def test_an_unknown_key_id_is_asked_for_at_most_once_an_interval() -> None:
    bench = Bench()
    await bench.have()
    for number in range(50):  # at once: the set is fresh, the key unknown
        assert await bench.have(kid=f"x{number}") is bench.answer
    assert len(bench.fetched) == 1
    bench.now += REFETCH_INTERVAL
    bench.answer = keys("a", "b")
    assert await bench.have(kid="b") is bench.answer
    for number in range(50):
        await bench.have(kid=f"x{number}")
    assert len(bench.fetched) == 2


async def test_all_who_come_with_a_new_key_while_it_is_fetched_get_it() -> None:
    bench = Bench()
    await bench.have()
    bench.now += REFETCH_INTERVAL
    bench.answer = keys("a", "b")
    bench.gate.clear()
    first = asyncio.create_task(bench.have(kid="b"))
    await asyncio.sleep(0)
    second = asyncio.create_task(bench.have(kid="b"))
    await asyncio.sleep(0)
    assert await bench.have(kid="a") is not None
    bench.gate.set()
    assert await asyncio.gather(first, second) == [bench.answer, bench.answer]
    assert len(bench.fetched) == 2


async def test_a_first_failure_is_remembered_for_a_second_and_each_further_one_for_twice_as_long() -> None:
    bench = Bench()
    bench.answer = KeysUnavailable("KeysUnreachable", "gone")
    for pause in (1, 2, 4, 8, 16, REFETCH_INTERVAL, REFETCH_INTERVAL):
        before = len(bench.fetched)
        for elapsed in (0, pause - 0.001):
            with pytest.raises(KeysUnavailable, match="gone"):
                await bench.have()
            bench.now += elapsed
        assert len(bench.fetched) == before + 1
        bench.now += 0.001
    assert bench.counted == [False] * 7
    bench.now += REFETCH_INTERVAL
    bench.answer = keys("a")
    assert await bench.have() is bench.answer


async def test_after_an_answer_unknown_key_ids_wait_for_the_interval_again_and_failures_count_anew() -> None:
    bench = Bench()
    good = await bench.have()
    bench.answer = KeysUnavailable("KeysUnreachable", "gone")
    for pause in (REFETCH_INTERVAL, 1, 2):
        bench.now += pause
        assert await bench.have(kid="b") is good
    bench.now += 4
    bench.answer = keys("a")
    good = await bench.have(kid="b")
    bench.now += REFETCH_INTERVAL - 1
    assert await bench.have(kid="b") is good
    assert bench.counted == [True, False, False, False, True]


async def test_a_source_that_makes_us_stumble_is_unavailable_and_remembered_as_any_other() -> None:
    bench = Bench()
    bench.answer = ZeroDivisionError("about the document")
    for _ in range(3):
        with pytest.raises(KeysUnavailable) as caught:
            await bench.have()
        assert (caught.value.reason, "about" in str(caught.value)) == ("InternalFault", False)
    assert (len(bench.fetched), bench.counted) == (1, [False])


async def test_an_old_set_is_refreshed_beside_its_use() -> None:
    bench = Bench()
    former = await bench.have()
    bench.now += REFRESH_AFTER + 1
    bench.answer = keys("b")
    assert await bench.have() is former  # nobody waits
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    found = bench.cache.get(SOURCE, "b")
    assert found is bench.answer  # the key that the issuer withdrew is gone
    assert "a" not in found


async def test_the_last_good_set_serves_an_outage_up_to_a_limit() -> None:
    bench = Bench()
    good = await bench.have()
    bench.answer = KeysUnavailable("KeysUnreachable", "gone")
    bench.now += AGE_LIMIT
    assert await bench.have() is good
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    bench.now += 1
    with pytest.raises(KeysUnavailable):
        await bench.have()


@pytest.mark.parametrize("step", [-86_400.0, 86_400.0])
async def test_a_wall_clock_that_is_put_right_changes_no_interval(step: float) -> None:
    bench = Bench()
    good = await bench.have()
    bench.adjusted += step
    assert await bench.have(kid="b") is good  # asked for less than an interval ago
    bench.now += REFETCH_INTERVAL
    bench.answer = keys("a", "b")
    assert await bench.have(kid="b") is bench.answer


async def test_keys_of_a_policy_need_no_second_fetch_and_expire() -> None:
    bench = Bench()
    good = await bench.have(INLINE)
    bench.now += 99
    assert await bench.have(INLINE, "unknown") is good
    assert len(bench.fetched) == 1
    bench.now += 1
    with pytest.raises(KeysUnavailable) as caught:
        await bench.have(INLINE)
    assert caught.value.reason == "KeysExpired"


async def test_a_later_expiry_of_the_same_keys_counts() -> None:
    bench = Bench()
    good = await bench.have(INLINE)
    bench.now += 100
    assert await bench.have(replace(INLINE, expires_at=None)) is good


async def test_sources_are_kept_apart() -> None:
    bench = Bench()
    others = [
        replace(SOURCE, issuer="https://other.example"),
        replace(SOURCE, kind="discovery"),
        replace(SOURCE, location="https://ci.example/other"),
        replace(SOURCE, ca_digest="sha256:bb"),
    ]
    for source in (SOURCE, *others):
        await bench.have(source)
    assert bench.fetched == [SOURCE, *others]


async def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keycache, "LARGEST", 2)
    bench = Bench()
    first, second, third = (replace(SOURCE, location=f"https://ci.example/{number}") for number in range(3))
    for source in (first, second):
        await bench.have(source)
        bench.now += 1
    await bench.have(first)
    await bench.have(third)
    assert bench.cache.get(second, "a") is None
    assert bench.cache.get(first, "a") is not None
