"""`ClockSkew`: a replica whose clock is off is named, coarsely, and the time that passes writes no status."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakes.provider import NS, conditions, message, standard
from fakes.world import World
from tailseal.domain import clocks
from tailseal.domain.evidence import Report


def report(clock: float, sent: float = 1000.0, heard: float = 1001.0) -> Report:
    return Report(sent, heard, clock, {}, frozenset(), frozenset(), {})


@pytest.mark.parametrize(("clock", "off"), [(1000.0, 0), (1000.5, 0), (1001.0, 0), (1121.0, 120), (880.0, -120)])
def test_the_way_of_an_answer_is_no_skew(clock: float, off: float) -> None:
    assert clocks.offset(report(clock)) == off


@pytest.mark.parametrize(
    ("seconds", "step", "said"),
    [
        (65.0, 60, "1m"),
        (119.9, 60, "1m"),
        (-121.0, -120, "2m"),
        (45.0, 30, "30s"),
        (8000.0, 3600, "1h"),
        (9e9, 86400, "1d"),
    ],
)
def test_it_is_said_in_few_steps(seconds: float, step: int, said: str) -> None:
    assert clocks.coarse(seconds) == step
    assert clocks.text(step) == said


async def running() -> World:
    seen = standard()
    await seen.run_for(600)
    return seen


def shift(seen: World, *seconds: float) -> None:
    """Set the clocks of the first replicas off by so much."""
    found = list(seen.replicas.obedient(NS, "corp"))
    for index, off in enumerate(seconds):
        told = found[index].report
        assert told is not None
        found[index] = replace(found[index], report=replace(told, clock=told.heard_at + off))
    seen.replicas.tell(NS, "corp", found)


async def test_a_clock_that_is_right_is_not_spoken_of() -> None:
    seen = await running()
    shift(seen, 59.0, -59.0)
    await seen.converge()
    assert "ClockSkew" not in conditions(seen)


async def test_a_clock_that_is_off_is_named_and_ready_stays() -> None:
    seen = await running()
    name = seen.replicas.obedient(NS, "corp")[0].name
    shift(seen, 130.0)
    await seen.converge()
    assert conditions(seen)["ClockSkew"] == ("True", "ClockSkew")
    assert f"{name} is more than 2m ahead" in message(seen, "ClockSkew")
    assert conditions(seen)["Ready"] == ("True", "Ready")


async def test_a_drifting_clock_writes_no_status() -> None:
    seen = await running()
    shift(seen, -130.0)
    await seen.converge()
    before = len(seen.cluster.writes)
    for off in (-131.0, -150.0, -200.0, -290.0):
        shift(seen, off)
        await seen.converge()
    assert len(seen.cluster.writes) == before


async def test_a_clock_on_the_edge_does_not_flap_and_one_that_was_set_is_forgotten() -> None:
    seen = await running()
    shift(seen, 61.0)
    await seen.converge()
    shift(seen, 59.0)
    await seen.converge()
    assert "ClockSkew" in conditions(seen)
    shift(seen, 40.0)
    await seen.converge()
    assert "ClockSkew" not in conditions(seen)
