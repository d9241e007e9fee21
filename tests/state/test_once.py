"""What counts once does so in both stores alike."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from fakes.stores import Clock, Open
from tailseal.state.limits import LIMITS, MARK
from tailseal.state.protocol import Fault, Mark, StateUnavailable


def mark(seconds: float = 600.0) -> Mark:
    return os.urandom(32), time.time() + seconds


async def test_the_first_claim_is_told_yes_and_every_later_one_no(opened: Open) -> None:
    store, wanted = opened(), mark()
    assert [await store.claim([wanted]) for _ in range(3)] == [True, False, False]


async def test_another_expiry_does_not_make_another_mark(opened: Open) -> None:
    store, (digest, expires_at) = opened(), mark()
    assert await store.claim([(digest, expires_at)])
    assert not await store.claim([(digest, expires_at + 3600)])


async def test_of_two_hundred_at_once_one_wins(opened: Open) -> None:
    store, wanted = opened(), mark()
    assert sum(await asyncio.gather(*(store.claim([wanted]) for _ in range(200)))) == 1


async def test_different_marks_do_not_disturb_each_other(opened: Open) -> None:
    store = opened()
    assert all(await asyncio.gather(*(store.claim([mark()]) for _ in range(100))))


async def test_several_marks_are_taken_together_or_not_at_all(opened: Open) -> None:
    store, first, second, third = opened(), mark(), mark(), mark()
    assert await store.claim([first])
    assert not await store.claim([second, first, third])
    assert await store.claim([third, second])


async def test_crossing_pairs_never_both_win_and_never_lock_each_other(opened: Open) -> None:
    store = opened()
    for _ in range(20):
        pair = [mark(), mark()]
        assert sum(await asyncio.gather(store.claim(pair), store.claim(pair[::-1]))) == 1


async def test_an_expired_mark_is_refused_and_not_called_free(opened: Open) -> None:
    with pytest.raises(StateUnavailable) as error:
        await opened().claim([mark(-1.0)])
    assert error.value.fault is Fault.CLOCK


async def test_a_mark_that_has_expired_keeps_nobody_else_from_the_store(opened: Open) -> None:
    store = opened()
    for expired in ([mark(-1.0)], [mark(), mark(-1.0)]):
        with pytest.raises(StateUnavailable):
            await store.claim(expired)
        assert await store.claim([mark()])


async def test_a_sweep_drops_what_has_expired_and_nothing_else(opened: Open, clock: Clock) -> None:
    store, lasting = opened(), mark()
    for _ in range(5):
        assert await store.claim([mark(30.0)])
    assert await store.claim([lasting])
    clock.wait(60.0)
    assert (await store.sweep())[MARK] == 1
    assert not await store.claim([lasting])


async def test_a_full_store_refuses_and_drops_nothing(opened: Open) -> None:
    store, first = opened(limits={**LIMITS, MARK: 2}), mark()
    assert await store.claim([first])
    assert await store.claim([mark()])
    with pytest.raises(StateUnavailable) as error:
        await store.claim([mark()])
    assert error.value.fault is Fault.FULL
    assert (await store.sweep())[MARK] == 2


async def test_a_mark_that_lasts_for_ever_is_kept(opened: Open) -> None:
    store, digest = opened(), os.urandom(32)
    assert await store.claim([(digest, 1e18)])
    assert not await store.claim([(digest, 1e18)])
