"""The limits: what the buckets promise, whom they count against, and that nobody can fill memory with them."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailseal.tokens.answers import Refusal
from tailseal.workers.common.limits.bucket import Limiter
from tailseal.workers.common.limits.exchange import ISSUER, POLICY, SOURCE, Limits, Rate, source

RATES = st.integers(1, 50)
BURSTS = st.integers(1, 8)
GAPS = st.lists(st.integers(0, 20), max_size=60)
"""Sixteenths of a second between two requests: exact as floats."""


@given(RATES, BURSTS, GAPS)
def test_no_stretch_of_time_lets_in_more_than_burst_and_rate(rate: int, burst: int, gaps: list[int]) -> None:
    limiter, now = Limiter(rate, burst, 8), 0.0
    let_in: deque[float] = deque()
    for gap in gaps:
        now += gap / 16
        if limiter.take("a", now) == 0.0:
            let_in.append(now)
    for first, begin in enumerate(let_in):
        for count, end in enumerate(list(let_in)[first:], 1):
            assert count <= burst + rate * (end - begin) + 0.01


@given(RATES, BURSTS, GAPS)
def test_a_refusal_draws_nothing_and_tells_the_shortest_wait(rate: int, burst: int, gaps: list[int]) -> None:
    limiter, now = Limiter(rate, burst, 8), 0.0
    for gap in gaps:
        now += gap / 16
        wait = limiter.take("a", now)
        if wait:
            assert limiter.take("a", now) == wait
            assert limiter.take("a", now + wait - 0.001) > 0
            now += wait
            assert limiter.take("a", now) == 0.0


@given(RATES, BURSTS, st.integers(1, 60))
def test_who_keeps_to_the_rate_is_never_refused(rate: int, burst: int, count: int) -> None:
    limiter = Limiter(rate, burst, 8)
    assert not any(limiter.take("a", number / rate) for number in range(count))


@given(RATES, BURSTS, st.lists(st.tuples(st.integers(0, 20), st.sampled_from("ab")), max_size=60))
def test_keys_do_not_touch_each_other(rate: int, burst: int, asked: list[tuple[int, str]]) -> None:
    shared, alone, now = Limiter(rate, burst, 8), Limiter(rate, burst, 8), 0.0
    for gap, key in asked:
        now += gap / 16
        wait = shared.take(key, now)
        if key == "a":
            assert wait == alone.take(key, now)


@given(RATES, BURSTS, GAPS)
def test_what_is_given_back_was_never_drawn(rate: int, burst: int, gaps: list[int]) -> None:
    limiter, now = Limiter(rate, burst, 8), 0.0
    for gap in gaps:
        now += gap / 16
        assert limiter.take("a", now) == 0.0
        limiter.give_back("a", now)
        assert len(limiter) == 0
    limiter.give_back("a", now)
    assert sum(limiter.take("a", now) == 0.0 for _ in range(burst + 3)) == burst


@given(st.lists(st.integers(0, 30), max_size=200))
def test_no_more_keys_are_kept_than_said_and_the_one_unused_for_longest_leaves(keys: list[int]) -> None:
    limiter = Limiter(1, 1, 5)
    for key in keys:
        limiter.take(key, 0.0)
        assert len(limiter) <= 5
    recent = list(dict.fromkeys(reversed(keys)))[:5]
    assert all(limiter.take(key, 0.0) > 0 for key in recent)


def test_memory_does_not_grow_with_the_number_of_callers() -> None:
    limiter = Limiter(100, 100, 512)
    for number in range(2000):
        limiter.take(f"{number}", 0.0)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(50_000):
            limiter.take(f"x{number}", 1.0)
            limiter.take("same", 1.0)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(limiter) == 512
    assert grown < 512 * (sys.getsizeof("x12345") + sys.getsizeof(1.0) + 200)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.7", "192.0.2.8", False),
        ("192.0.2.7", "::ffff:192.0.2.7", True),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.8", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("2001:db8:1:2::1", "2001:DB8:0001:2:0:0:0:1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("not:an:address", "not:another", False),
        ("", "192.0.2.7", False),
    ],
)
def test_an_ipv4_address_and_an_ipv6_site_have_one_bucket(one: str, other: str, *, same: bool) -> None:
    assert (source(one) == source(other)) is same


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def reason(refusal: Refusal | None) -> str:
    return refusal.reason if refusal else ""


def test_a_source_pays_for_what_is_refused_only() -> None:
    clock = Clock()
    limits = Limits(clock, source=Rate(1, 3, 8))
    for _ in range(50):  # a fleet behind one address
        assert limits.admit("192.0.2.7") is None
        limits.excuse("192.0.2.7")
    assert [reason(limits.admit("192.0.2.7")) for _ in range(4)] == ["", "", "", "SourceLimited"]
    assert limits.admit("192.0.2.8") is None
    clock.now += 1
    assert limits.admit("192.0.2.7") is None


def test_a_policy_does_not_use_up_its_issuer_nor_a_refused_grant_the_policy() -> None:
    clock = Clock()
    limits = Limits(clock, policy=Rate(1, 2, 8), issuer=Rate(1, 3, 8))
    asked = [reason(limits.grant("ci", policy)) for policy in ("a", "a", "a", "b", "b")]
    assert asked == ["", "", "PolicyLimited", "", "IssuerLimited"]
    clock.now += 1
    assert reason(limits.grant("ci", "b")) == ""
    assert limits.grant("other", "c") is None


def test_the_wait_is_told_in_whole_seconds() -> None:
    limits = Limits(Clock(), source=Rate(0.25, 1, 8))
    limits.admit("192.0.2.7")
    refusal = limits.admit("192.0.2.7")
    assert refusal is not None
    assert (refusal.status, refusal.error, refusal.retry_after) == (429, "temporarily_unavailable", 4)


def test_the_defaults_let_a_matrix_of_jobs_start_at_once_and_leave_others_their_share() -> None:
    limits = Limits(Clock())
    for _ in range(POLICY.burst):
        assert limits.admit("192.0.2.7") is None
        assert limits.grant("https://ci.example", "team/deploy") is None
        limits.excuse("192.0.2.7")
    assert reason(limits.grant("https://ci.example", "team/deploy")) == "PolicyLimited"
    assert limits.grant("https://ci.example", "other/deploy") is None
    assert SOURCE.rate < POLICY.rate * 5 <= ISSUER.rate
