"""The rotation laws where verifiers read the keys from a copy: an issuer's life beside a bucket that misbehaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.issuer_referee import LawBroken
from fakes.issuer_world import OPS, Op, World
from tailseal.domain.evidence import Copy
from tailseal.domain.rotation import IssuerPlan, IssuerSpec, plan_issuer
from tailseal.domain.rotation.issuer.ledger import MIN_CACHE

TTLS = (0, 60, 300, 1_800)


@dataclass
class Place:
    """A bucket, what the operator knows of it, and caches before it."""

    kids: frozenset[str] | None = None
    ttl: int = 300
    reachable: bool = True
    readable: bool = True
    writable: bool = True
    seen: frozenset[str] | None = None
    sent_at: float = 0.0
    since: dict[str, float] = field(default_factory=dict)
    fresh: bool = False


@dataclass
class Published(World):
    """An issuer whose verifiers read from the bucket alone."""

    place: Place = field(default_factory=Place)
    trust: Callable[[Copy], Copy] = lambda copy: copy

    def __post_init__(self) -> None:
        plan = self.plan

        def planned(spec: IssuerSpec, *rest: Any) -> IssuerPlan:  # noqa: ANN401 - as the planner's
            place = self.place
            copy = Copy("cdn", place.seen, place.sent_at, dict(place.since), fresh=place.fresh)
            return plan(replace(spec, copy_age=place.ttl + MIN_CACHE), *rest, copies=(self.trust(copy),))

        self.plan = planned
        super().__post_init__()

    def settle(self) -> None:
        self.place.readable = self.place.writable = True
        super().settle()

    def _operate(self) -> None:
        super()._operate()
        if self.up:
            self._publish()
            self._observe()

    def _publish(self) -> None:
        place = self.place
        if not place.writable:
            return
        wanted = frozenset(key.kid for key in self.ledger.keys)
        if place.kids is None:
            place.fresh = True
        if place.kids != wanted:
            now = self.time + self.offset
            place.since |= dict.fromkeys(wanted - (place.kids or frozenset()), now)
            self._watch()
            place.kids = wanted
            self._watch()

    def _observe(self) -> None:
        place = self.place
        place.seen = place.kids if place.readable and place.kids is not None else None
        place.sent_at = self.time + self.offset

    def _unwritable(self, _: int) -> None:
        self.place.writable = not self.place.writable

    def _unreadable(self, _: int) -> None:
        self.place.readable = not self.place.readable

    def _shorter(self, number: int) -> None:
        self.place.ttl = TTLS[number % len(TTLS)]

    def _wiped(self, _: int) -> None:
        """The operator ends: what it knew of the place is gone."""
        self.place.seen, self.place.fresh, self.place.since = None, False, {}

    def _watch(self) -> None:
        place = self.place
        if place.kids is not None and any(pod.ready for pod in self.pods.values()):
            until = self.time + max(place.ttl, 30.0) + self.skew_ever
            self.cached[place.kids] = max(self.cached.get(place.kids, 0.0), until)
        super()._watch()


MORE = ("unwritable", "unreadable", "shorter", "wiped")
HISTORIES = st.lists(st.tuples(st.sampled_from((*OPS, *MORE, *MORE)), st.integers(0, 9)), min_size=5, max_size=40)


def live(world: Published, history: list[Op]) -> None:
    world.run([("tick", 4), *history])


@given(HISTORIES)
@settings(max_examples=100)
def test_no_history_breaks_a_law_where_verifiers_read_the_copy(history: list[Op]) -> None:
    live(Published(), history)


def _believes_in_silence(copy: Copy) -> Copy:
    """A copy that nobody could read has everything."""
    return (
        Copy(copy.name, frozenset(f"{name}{n}" for name in "abc" for n in range(60)), 1e12) if not copy.seen else copy
    )


def _never_empty(copy: Copy) -> Copy:
    """Whatever is there, nobody ever read a set without the first key."""
    return replace(copy, fresh=True, seen=frozenset(f"{name}{n}" for name in "abc" for n in range(60)), sent_at=1e12)


def _forgets_the_age(spec: IssuerSpec, *rest: Any, **more: Any) -> IssuerPlan:  # noqa: ANN401 - as the planner's
    return plan_issuer(replace(spec, copy_age=0), *rest, **more)


CUT_OFF: list[Op] = [("unwritable", 0), ("unreadable", 0), ("rotate", 0), ("tick", 6), ("tick", 6)]
SLOW_CACHES: list[Op] = [("shorter", 3), ("tick", 6), ("rotate", 0), ("tick", 5), ("tick", 5)]


@pytest.mark.parametrize(
    ("history", "mutant"),
    [
        (CUT_OFF, {"trust": _believes_in_silence}),
        (CUT_OFF, {"trust": _never_empty}),
        (SLOW_CACHES, {"plan": _forgets_the_age}),
    ],
)
def test_who_takes_for_seen_what_was_not_breaks_a_law(history: list[Op], mutant: dict[str, Any]) -> None:
    live(Published(), history)
    with pytest.raises(LawBroken):
        live(Published(**mutant), history)
