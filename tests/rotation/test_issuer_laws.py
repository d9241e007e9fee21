"""The rotation laws hold whatever happens, and the referee catches planners that break them."""

# ruff: noqa: ANN401 - mutants stand in for whatever they replace
from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import issuer_world
from fakes.issuer_backups import RESTORED, Restored
from fakes.issuer_referee import LawBroken
from fakes.issuer_world import BROUGHT, OPS, Op, World
from tailseal.domain.rotation.issuer import choice, evidence, gate, ledger, plan, recover
from tailseal.domain.rotation.issuer.evidence import Evidence
from tailseal.domain.rotation.issuer.ledger import IssuedKey

histories = st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 9)), max_size=60)


@settings(max_examples=60, deadline=None)
@given(histories)
def test_no_history_breaks_a_law(history: list[Op]) -> None:
    World().run(history)


def history(seed: int, length: int) -> list[Op]:
    chance = random.Random(seed)
    return [(chance.choice(OPS), chance.randrange(10)) for _ in range(length)]


@pytest.mark.parametrize("seed", range(15))
def test_no_long_history_breaks_a_law(seed: int) -> None:
    World().run(history(seed, 200))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(BROUGHT), st.integers(0, 9)), max_size=60))
def test_no_history_of_keys_that_are_brought_breaks_a_law(history: list[Op]) -> None:
    World().run(history)


@pytest.mark.parametrize("seed", range(10))
def test_no_long_history_of_keys_that_are_brought_breaks_a_law(seed: int) -> None:
    chance = random.Random(seed)
    World().run([(chance.choice(BROUGHT), chance.randrange(10)) for _ in range(200)])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(RESTORED), st.integers(0, 9)), max_size=60))
def test_no_history_of_backups_that_come_back_breaks_a_law(history: list[Op]) -> None:
    Restored().run(history)


@pytest.mark.parametrize("seed", range(10))
def test_no_long_history_of_backups_that_come_back_breaks_a_law(seed: int) -> None:
    Restored().run(restored(seed, 100))


def restored(seed: int, length: int) -> list[Op]:
    chance = random.Random(seed)
    return [(chance.choice(RESTORED), chance.randrange(10)) for _ in range(length)]


def test_a_signing_secret_from_the_past_makes_no_former_key_sign() -> None:
    world = Restored()
    world.run([("tick", 4), ("backup", 0)])
    for _ in range(2):
        world.run_without_peace([("rotate", 0), *[("tick", 6)] * 3])
    former = dict(world.ledger.active)
    world.run_without_peace([("written", 0), ("tick", 2)])
    assert dict(world.ledger.active) == former


def test_a_ledger_from_the_past_is_told_although_its_signer_signs_again() -> None:
    """Another SigningKey's key signed meanwhile, which the ledger takes for one that never did."""
    world = Restored(order=("a", "b"))
    world.run_without_peace([("tick", 6), ("backup", 0), ("order", 2), *[("tick", 5)] * 3])
    assert world.ledger.active["ES256"].startswith("b")
    world.run_without_peace([("order", 1), ("tick", 4), ("ledger", 0), ("order", 0), *[("tick", 3)] * 20])


def test_a_key_that_one_replica_cannot_sign_with_does_not_become_the_signer() -> None:
    world = World()
    world.run([("tick", 4)])
    former = dict(world.ledger.active)
    world.run_without_peace([("away", 0), ("rotate", 0), ("tick", 6), ("tick", 6)])
    assert world.ledger.active == former
    world.run_without_peace([("away", 0), ("tick", 6)])
    assert world.ledger.active["ES256"] != former["ES256"]


def test_the_histories_are_worth_something() -> None:
    worlds = [World() for _ in range(10)]
    for seed, world in enumerate(worlds):
        world.run(history(seed, 200))
    assert sum(world.rotations for world in worlds) > 20
    assert sum(world.removals for world in worlds) > 20


def test_endless_scale_ups_do_not_stop_a_rotation() -> None:
    world = World()
    world.run([("tick", 4)])
    former = dict(world.ledger.active)
    world.run_without_peace([("rotate", 0), *[("add", 1), ("tick", 2), ("flash", 0), ("remove", 0)] * 40])
    assert world.ledger.active["ES256"] not in former.values()


def serving_is_enough(lagging: Any) -> Any:
    """Who publishes a key is believed to sign with it."""

    def mutant(pods: Any, key: IssuedKey) -> tuple[str, ...]:
        able = [replace(pod, report=pod.report and replace(pod.report, held=pod.report.served)) for pod in pods]
        found: tuple[str, ...] = lagging(able, key)
        return found

    return mutant


def nothing_is_shut(_key: IssuedKey, _evidence: Evidence) -> None:
    return None


def only_time_counts(key: IssuedKey, evidence: Evidence) -> Any:
    return None if evidence.now >= key.published_at + key.wait else gate.Shut("Waiting", "")


def our_clock_is_right(gather: Callable[..., Evidence]) -> Callable[..., Evidence]:
    def mutant(replicas: Any, now: float) -> Evidence:
        seen = gather(replicas, now)
        return Evidence(pods=seen.pods, now=now, early=now, late=now, mark=now)

    return mutant


def one_replica_is_enough(serving: Callable[..., IssuedKey]) -> Callable[..., IssuedKey]:
    def mutant(key: IssuedKey, evidence: Evidence) -> IssuedKey:
        after = serving(key, evidence)
        return after if after.behind is None else after.but(behind=())

    return mutant


def nobody_signs_on(key: IssuedKey, evidence: Evidence) -> IssuedKey:
    stops = key.dropped_at is not None and key.activated_at is not None and key.stopped_at is None
    return key.but(may_sign=(), stopped_at=evidence.late) if stops else key


def new_pods_hold_nothing_old(stopping: Callable[..., IssuedKey]) -> Callable[..., IssuedKey]:
    """Only pods that report to sign with it may sign with it: the silent ones are forgotten."""

    def mutant(key: IssuedKey, evidence: Evidence) -> IssuedKey:
        after = stopping(key, evidence)
        if key.stopped_at is not None:
            return after
        silent = {pod.uid for pod in evidence.pods if pod.report is None or pod.report.sent_at <= (key.dropped_at or 0)}
        left = tuple(uid for uid in after.may_sign or () if uid not in silent)
        return after if after.may_sign is None or left else after.but(may_sign=(), stopped_at=evidence.late)

    return mutant


def the_latest_word_counts(spec: Any, ledger: Any, offers: Any) -> Any:
    return ledger.with_keys(
        key.but(max_age=ledger.max_age, set_age=ledger.max_age, longest_ttl=spec.longest_ttl) for key in ledger.keys
    )


def lifetimes_are_not_promised(promise: Callable[..., Any]) -> Callable[..., Any]:
    """Workers mint longer tokens than the overlap of the keys that sign them."""

    def mutant(spec: Any, ledger: Any, offers: Any) -> Any:
        return promise(replace(spec, longest_ttl=0), ledger, offers)

    return mutant


def leases_are_taken_back(hold: Callable[..., Any]) -> Callable[..., Any]:
    """A key that is dropped is supposed to have stopped at that moment."""

    def mutant(*args: Any) -> Any:
        ledger = hold(*args)
        return ledger.with_keys(key if key.held else key.but(sign_until=0.0) for key in ledger.keys)

    return mutant


def nobody_revokes(revoke: Callable[..., Any]) -> Callable[..., Any]:
    """Nobody's list counts."""

    def mutant(ledger: Any, offers: Any, now: float) -> Any:
        return revoke(ledger, {kid: replace(offer, revoked=False) for kid, offer in offers.items()}, now)

    return mutant


def nothing_is_kept(*_: Any) -> None:
    return None


def revocation_is_a_matter_of_time(ledger: Any, _offers: Any, _now: float) -> Any:
    return ledger


def the_ledger_is_right(ledger: Any, *_: Any) -> Any:
    return ledger


def the_signing_secret_is_right(recovered: Callable[..., Any]) -> Callable[..., Any]:
    """Whatever it says is believed, however old it is."""

    def mutant(ledger: Any, written: Any, offered: Any, spec: Any, replicas: Any, now: float) -> Any:
        old = written is not None and written.revision < ledger.revision
        ledger, replicas = (ledger.but(revision=0), ()) if old else (ledger, replicas)
        return recovered(ledger, written, offered, spec, replicas, now)

    return mutant


def live_through(histories: list[list[Op]]) -> None:
    for past in histories:
        Restored().run(past)


CHANCE = [history(seed, 120) for seed in range(40)]
BACKUPS = [restored(seed, 60) for seed in range(40)]
NO_CACHES = [[("age", 0), ("skew", 0)] + [("rotate", 0), ("tick", 2), ("tick", 1), ("tick", 1), ("tick", 1)] * 6]
EDITS = [[("tick", 4), ("ttl", 2), ("tick", 2), ("ttl", 0), ("tick", 2)]]
TTLS = [[("ttl", 0), ("tick", 6), ("ttl", 2), ("tick", 6), ("rotate", 0), *[("tick", 5)] * 12]]
"""Tokens become longer than they were when their key was published."""
AWAY = [[("tick", 4), ("away", 0), ("rotate", 0), ("tick", 6), ("tick", 6)]]
FROZEN = [[("order", 1), ("tick", 5), ("tick", 5), ("freeze", 0), ("order", 2), ("tick", 3), ("order", 5), ("tick", 6)]]


@pytest.mark.parametrize(
    ("broken", "where", "name", "mutant", "histories"),
    [
        ("law 1", plan, "shut", nothing_is_shut, CHANCE),
        ("law 1", plan, "shut", only_time_counts, CHANCE),
        ("law [13]", IssuedKey, "wait", 0, CHANCE),
        ("law [13]", ledger, "MIN_CACHE", 0, NO_CACHES),
        ("law [123]", evidence, "gather", our_clock_is_right(evidence.gather), CHANCE),
        ("law [13]", evidence, "serving", one_replica_is_enough(evidence.serving), CHANCE),
        ("law [23]", evidence, "stopping", nobody_signs_on, CHANCE),
        ("law [23]", evidence, "stopping", new_pods_hold_nothing_old(evidence.stopping), FROZEN),
        ("law [23]", IssuedKey, "remove_at", property(lambda key: key.dropped_at), CHANCE),
        ("law [34]", plan, "_promise", the_latest_word_counts, CHANCE),
        ("law [24]", plan, "_hold", leases_are_taken_back(plan._hold), CHANCE),
        ("law [237]", plan, "_promise", lifetimes_are_not_promised(plan._promise), TTLS),
        ("law 6", plan, "_revoke", nobody_revokes(plan._revoke), CHANCE),
        ("law 4", plan, "_promise", the_latest_word_counts, EDITS),
        ("law 1", gate, "lagging", serving_is_enough(evidence.lagging), AWAY),
        ("law 5", choice, "_keep", nothing_is_kept, CHANCE),
        ("law [123]", issuer_world, "recovered", the_ledger_is_right, BACKUPS),
        ("law [123]", issuer_world, "recovered", the_signing_secret_is_right(recover.recovered), BACKUPS),
        ("law 6", plan, "_revoke", revocation_is_a_matter_of_time, CHANCE),
    ],
)
def test_a_planner_that_breaks_a_law_is_caught(
    monkeypatch: pytest.MonkeyPatch, broken: str, where: Any, name: str, mutant: Any, histories: list[list[Op]]
) -> None:
    live_through(histories[:1])
    monkeypatch.setattr(where, name, mutant)
    with pytest.raises(LawBroken, match=broken):
        live_through(histories)
