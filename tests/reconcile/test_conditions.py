"""Status as every kind writes it: when it says something new, with kstatus's pair only while it holds."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.cluster import FakeCluster
from fakes.context import FakeClock, FakeRecorder, make_context
from fakes.provider import NS, signing_key
from tailseal.cluster import kinds
from tailseal.cluster.port import Object
from tailseal.reconcile.conditions import Fact, next_status, summarise, write_status

GOOD = Fact("Accepted", status=True, reason="Accepted")
WAITING = Fact("Programmed", status=False, reason="WaitingForReplicas", message="waiting for p")
UNKNOWN = Fact("Programmed", status=None, reason="ReplicaUnreachable")
BROKEN = Fact("Accepted", status=False, reason="InvalidSpec", message="spec.x: wrong", stalled=True)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ([GOOD], {"Ready": (True, "Ready")}),
        ([GOOD, WAITING], {"Ready": (False, "WaitingForReplicas"), "Reconciling": (True, "WaitingForReplicas")}),
        ([GOOD, UNKNOWN], {"Ready": (None, "ReplicaUnreachable"), "Reconciling": (True, "ReplicaUnreachable")}),
        ([BROKEN, WAITING], {"Ready": (False, "InvalidSpec"), "Stalled": (True, "InvalidSpec")}),
        ([WAITING, BROKEN], {"Ready": (False, "WaitingForReplicas"), "Stalled": (True, "InvalidSpec")}),
    ],
    ids=["good", "waiting", "unknown", "broken", "broken behind waiting"],
)
def test_ready_and_the_pair_follow_from_the_facts(facts: list[Fact], expected: dict[str, tuple[bool, str]]) -> None:
    found = {fact.type: (fact.status, fact.reason) for fact in summarise(facts)[len(facts) :]}
    assert found == expected


def obj(**status: Any) -> Object:  # noqa: ANN401 - members of a status
    return {**signing_key(), "metadata": {"name": "corp", "namespace": NS, "generation": 3}, "status": status}


def test_a_condition_that_is_no_longer_stated_goes() -> None:
    before = next_status(obj(), summarise([GOOD, WAITING]), {}, 100.0)
    after = next_status(obj(**before), summarise([GOOD]), {}, 200.0)
    assert [entry["type"] for entry in after["conditions"]] == ["Accepted", "Ready"]


def test_the_time_moves_only_with_the_status() -> None:
    before = next_status(obj(), summarise([GOOD, WAITING]), {}, 100.0)
    other = Fact("Programmed", status=False, reason="NoReplicas")
    after = next_status(obj(**before), summarise([GOOD, other]), {}, 200.0)
    times = {entry["type"]: entry["lastTransitionTime"] for entry in after["conditions"]}
    assert times["Programmed"] == "1970-01-01T00:01:40Z"
    flipped = next_status(obj(**after), summarise([GOOD]), {}, 300.0)
    assert {entry["type"]: entry["lastTransitionTime"] for entry in flipped["conditions"]} == {
        "Accepted": "1970-01-01T00:01:40Z",
        "Ready": "1970-01-01T00:05:00Z",
    }


@pytest.mark.parametrize("more", [{"severity": "x"}, {"reason": "of-another-form"}, {"message": "long" * 10_000}])
def test_what_a_later_version_says_in_status_keeps_no_earlier_one_from_saying_its_own(more: dict[str, str]) -> None:
    wanted = next_status(obj(), summarise([GOOD]), {}, 100.0)
    later = {**wanted, "conditions": [{**wanted["conditions"][0], **more}, *wanted["conditions"][1:]]}
    found = next_status(obj(**later), summarise([GOOD]), {}, 100.0)
    assert {entry["type"]: entry for entry in found["conditions"]} == {
        entry["type"]: entry for entry in wanted["conditions"]
    }


def test_every_part_names_the_generation_it_is_about() -> None:
    status = next_status(obj(), summarise([GOOD]), {"extra": 1, "absent": None}, 100.0)
    assert status["observedGeneration"] == 3
    assert {entry["observedGeneration"] for entry in status["conditions"]} == {3}
    assert status["extra"] == 1
    assert "absent" not in status


async def test_the_same_status_is_written_once() -> None:
    cluster, clock, recorder = FakeCluster(), FakeClock(), FakeRecorder()
    ctx = make_context(cluster, clock, recorder=recorder)
    cluster.user_apply(signing_key())

    async def write(*facts: Fact) -> bool:
        present = cluster.peek(kinds.SIGNING_KEY, NS, "corp")
        return await write_status(ctx, present, summarise(facts), {}, manager="m")

    assert await write(GOOD, WAITING)
    clock.advance(60)
    assert not await write(GOOD, WAITING)
    assert recorder.events == [], "that something has begun is no news"
    assert await write(GOOD)
    assert await write(BROKEN)
    assert not await write(BROKEN)
    assert recorder.reasons() == ["Ready", "InvalidSpec"]
    assert [warning for _, warning, _, _ in recorder.events] == [False, True]
