"""An issuer's steps one by one: publish, wait, switch, retire; and what it says of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakes.issuer import LEASE, WAIT, Issuer, key, spare
from tailseal.domain.evidence import Replica
from tailseal.domain.rotation import IssuerLedger, IssuerPlan, OfferedKey, revoked_offer
from tailseal.domain.rotation.issuer import plan as planner
from tailseal.domain.rotation.issuer.plan import MOST_KEYS
from tailseal.tokens.keyset import MAX_KEYS


def overlap_broken(step: IssuerPlan) -> list[str]:
    return [key.kid for key in step.ledger.keys if key.overlap_broken]


def test_the_first_key_signs_as_soon_as_all_replicas_serve_it() -> None:
    issuer = Issuer(key("k1"), spare("k2"))
    assert (issuer.published(), dict(issuer.last.active)) == (["k1", "k2"], {})
    assert dict(issuer.step().active) == {"ES256": "k1"}
    assert issuer.last.default_algorithm == "ES256"
    assert [held.kid for held in issuer.last.held] == ["k1", "k2"]


def test_no_replica_no_signer() -> None:
    issuer = Issuer(key("k1"), pods=0)
    assert issuer.step().blocked[0].reason == "NoReplicas"
    assert dict(issuer.last.active) == {}


def test_a_key_that_comes_later_waits_until_caches_have_it() -> None:
    issuer = Issuer(key("k1"))
    issuer.step()
    issuer.offered = (key("k1", wanted=False, superseded=True), key("k2"))
    issuer.step()
    assert dict(issuer.live(WAIT - 2).active) == {"ES256": "k1"}
    issuer.live(60)
    assert dict(issuer.last.active) == {"ES256": "k2"}
    assert "k1" in issuer.published()
    assert [held.kid for held in issuer.last.held] == ["k2"]


def test_a_spare_that_was_out_long_enough_signs_at_once() -> None:
    issuer = Issuer(key("k1"), spare("k2"))
    issuer.live(WAIT)
    issuer.offered = (key("k1", wanted=False, superseded=True), key("k2"))
    assert dict(issuer.step().active) == {"ES256": "k2"}


def test_a_retiring_key_goes_when_its_last_token_is_dead_everywhere() -> None:
    issuer = Issuer(key("k1"), spare("k2"))
    issuer.live(WAIT)
    issuer.offered = (key("k1", wanted=False, superseded=True), key("k2"))
    issuer.step()
    issuer.step()
    stopped = issuer.now
    due = issuer.last.next_change
    assert due is not None
    assert abs(due - (stopped + 600 + 60 + 300)) < 2
    issuer.live(due - issuer.now - 5)
    assert issuer.published() == ["k1", "k2"]
    issuer.live(40)
    assert issuer.published() == ["k2"]
    assert issuer.last.next_change is None


def test_a_replica_that_was_not_seen_to_stop_may_sign_until_its_lease_is_over() -> None:
    issuer = Issuer(key("k1"), spare("k2"))
    issuer.live(WAIT)
    issuer.asleep = {"pod-1"}
    issuer.offered = (key("k1", wanted=False, superseded=True), key("k2"))
    issuer.live(3_600)
    former = issuer.ledger.key("k1")
    assert former is not None
    assert issuer.last.next_change == former.sign_until + 600 + 60 + 300
    issuer.pods = ["pod-0"]
    issuer.step()
    assert issuer.last.next_change == issuer.now + 600 + 60 + 300, "a pod that is gone signs no more"


def test_the_lease_is_extended_by_one_write_per_half() -> None:
    issuer = Issuer(key("k1"), spare("k2"))
    issuer.live(WAIT)
    writes = issuer.writes
    woken = 0
    until = issuer.now + 10 * LEASE
    while issuer.now < until:
        assert issuer.last.wake_at is not None
        issuer.step(issuer.last.wake_at - issuer.now)
        woken += 1
    assert 19 <= issuer.writes - writes <= 21
    assert woken <= 42
    assert all(held.sign_until > issuer.now + LEASE / 2 - 60 for held in issuer.last.held)


def test_a_lagging_replica_is_named() -> None:
    issuer = Issuer(key("k1"))
    issuer.live(60)
    issuer.asleep = {"pod-1"}
    issuer.offered = (key("k1", wanted=False, superseded=True), key("k2"))
    issuer.step()
    issuer.live(WAIT * 2)
    blocked = issuer.last.blocked[0]
    assert (blocked.kid, blocked.reason) == ("k2", "ReplicaBehind")
    assert blocked.message.endswith("held by pod-1")
    assert dict(issuer.last.active) == {"ES256": "k1"}


def test_a_new_replica_that_starts_with_the_key_does_not_restart_the_wait() -> None:
    issuer = Issuer(key("k1"))
    issuer.live(60)
    issuer.offered = (key("k1", wanted=False, superseded=True), key("k2"))
    issuer.live(WAIT / 2)
    issuer.pods.append("pod-new")
    issuer.step()
    issuer.live(WAIT / 2 + 60)
    assert dict(issuer.last.active) == {"ES256": "k2"}


def test_a_terminating_replica_counts_till_it_is_gone() -> None:
    issuer = Issuer(key("k1"))
    issuer.live(60)
    issuer.asleep = {"pod-1"}
    issuer.offered = (key("k1", wanted=False, superseded=True), key("k2"))
    issuer.live(WAIT * 2)
    issuer.pods = ["pod-0"]
    issuer.step()
    gone = issuer.now
    issuer.live(WAIT - 5)
    assert dict(issuer.last.active) == {"ES256": "k1"}, "what it served last may be cached still"
    issuer.live(60)
    assert issuer.now - gone < WAIT + 90
    assert dict(issuer.last.active) == {"ES256": "k2"}


def test_a_clock_that_runs_ahead_brings_nothing_forward() -> None:
    issuer = Issuer(key("k1"))
    issuer.live(60)
    issuer.offered = (key("k1", wanted=False, superseded=True), key("k2"))
    issuer.step()
    issuer.step()
    true = issuer.now
    issuer.asleep = set(issuer.pods)
    jumped = issuer.step(3_600)
    assert dict(jumped.active) == {"ES256": "k1"}
    assert jumped.blocked[0].reason == "ReplicaUnreachable"
    for pod, report in issuer.reports.items():
        issuer.reports[pod] = replace(report, sent_at=issuer.now, heard_at=issuer.now, clock=true + 5)
    assert issuer.step().blocked[0].reason == "ClockSkew"
    assert dict(issuer.last.active) == {"ES256": "k1"}


def test_reordering_signing_keys_switches_at_once_between_keys_that_are_out() -> None:
    issuer = Issuer(key("a1", "a"), key("b1", "b"), order=("a", "b"))
    issuer.live(WAIT)
    issuer.spec = replace(issuer.spec, order=("b", "a"))
    assert dict(issuer.step().active) == {"ES256": "b1"}
    assert [held.kid for held in issuer.last.held] == ["a1", "b1"]


def test_another_default_waits_for_its_key() -> None:
    issuer = Issuer(key("a1", "a"), order=("a",))
    issuer.live(60)
    issuer.spec = replace(issuer.spec, order=("r", "a"))
    issuer.offered = (*issuer.offered, key("r1", "r", "RS256"))
    issuer.live(60)
    assert issuer.last.default_algorithm == "ES256"
    issuer.live(WAIT)
    assert (issuer.last.default_algorithm, dict(issuer.last.active)) == ("RS256", {"RS256": "r1", "ES256": "a1"})


def test_a_dropped_signing_key_signs_until_its_successor_may() -> None:
    issuer = Issuer(key("a1", "a"), order=("a",))
    issuer.live(60)
    issuer.spec = replace(issuer.spec, order=("b",))
    issuer.offered = (*issuer.offered, key("b1", "b", "RS256"))
    issuer.live(60)
    assert dict(issuer.last.active) == {"ES256": "a1"}
    issuer.live(WAIT)
    assert dict(issuer.last.active) == {"RS256": "b1"}
    issuer.live(1200)
    assert issuer.published() == ["b1"]


def test_a_dropped_signing_key_beside_the_default_stops_at_once() -> None:
    issuer = Issuer(key("a1", "a"), key("c1", "c", "RS256"), order=("a", "c"))
    issuer.live(60)
    issuer.spec = replace(issuer.spec, order=("a",))
    assert dict(issuer.step().active) == {"ES256": "a1"}
    assert issuer.published() == ["a1", "c1"]


def test_a_changed_algorithm_is_published_and_waits_before_it_replaces_the_former() -> None:
    issuer = Issuer(key("k1"))
    issuer.live(60)
    issuer.offered = (key("k1", wanted=False, superseded=True), key("k2", alg="RS256"))
    issuer.live(60)
    assert dict(issuer.last.active) == {"ES256": "k1"}
    issuer.live(WAIT)
    assert (dict(issuer.last.active), issuer.last.default_algorithm) == ({"RS256": "k2"}, "RS256")


def test_a_revoked_signer_is_gone_in_one_step_and_the_spare_signs() -> None:
    issuer = Issuer(key("k1"), spare("k2"))
    issuer.live(WAIT)
    issuer.offered = (key("k1", wanted=False, revoked=True, superseded=True, private=False), key("k2", sign_now=True))
    step = issuer.step()
    assert (issuer.published(), dict(step.active), [held.kid for held in step.held]) == (
        ["k2"],
        {"ES256": "k2"},
        ["k2"],
    )
    assert overlap_broken(step) == []
    assert [event.reason for event in step.events] == ["KeyRevoked", "KeyActivated"]


def test_without_a_spare_a_new_key_signs_at_once_and_that_is_said() -> None:
    issuer = Issuer(key("k1"))
    issuer.live(WAIT)
    issuer.offered = (key("k1", wanted=False, revoked=True, superseded=True), key("k2", sign_now=True))
    step = issuer.step()
    assert dict(step.active) == {"ES256": "k2"}
    assert overlap_broken(step) == ["k2"]
    assert [event.reason for event in step.events if event.warning] == ["KeyRevoked", "OverlapBroken"]
    assert overlap_broken(issuer.live(WAIT + 60)) == []


def test_stop_means_that_nothing_signs_until_law_1_allows() -> None:
    issuer = Issuer(key("k1"))
    issuer.live(WAIT)
    issuer.offered = (key("k1", wanted=False, revoked=True, superseded=True), key("k2"))
    assert dict(issuer.step().active) == {}
    issuer.live(WAIT + 60)
    assert dict(issuer.last.active) == {"ES256": "k2"}


def test_another_signing_key_that_may_sign_is_preferred_to_breaking_the_overlap() -> None:
    issuer = Issuer(key("a1", "a"), key("b1", "b"), order=("a", "b"))
    issuer.live(WAIT)
    issuer.offered = (
        key("a1", "a", wanted=False, revoked=True, superseded=True),
        key("a2", "a", sign_now=True),
        key("b1", "b"),
    )
    assert dict(issuer.step().active) == {"ES256": "b1"}


def test_hurry_is_for_successors_of_revoked_signers_only() -> None:
    issuer = Issuer(key("k1"))
    issuer.live(60)
    issuer.spec = replace(issuer.spec, order=("corp", "new"))
    issuer.offered = (*issuer.offered, key("n1", "new", "RS256", sign_now=True))
    assert dict(issuer.step().active) == {"ES256": "k1"}


def test_a_revoked_id_never_comes_back() -> None:
    issuer = Issuer(key("k1"), spare("k2"))
    issuer.live(WAIT)
    issuer.offered = (key("k1", wanted=False, revoked=True), key("k2"))
    issuer.step()
    issuer.offered = (key("k1"), key("k2", wanted=False))
    issuer.live(WAIT * 3)
    assert issuer.published() == ["k2"]


def test_a_signing_key_cannot_revoke_anothers_key() -> None:
    issuer = Issuer(key("a1", "a"), key("b1", "b", "RS256"), order=("a", "b"))
    issuer.step()
    issuer.offered = (*issuer.offered, key("x1", "a", revoked=True, wanted=False))
    issuer.offered = (key("b1", "a", revoked=True, wanted=False), *issuer.offered)
    issuer.step()
    assert "b1" in issuer.published()


@pytest.mark.parametrize(("edit", "field"), [({"longest_ttl": 60}, "longest_ttl"), ({"clock_skew": 0}, "clock_skew")])
def test_an_edit_never_shortens_what_was_promised(edit: dict[str, int], field: str) -> None:
    issuer = Issuer(key("k1"), spare("k2"))
    issuer.live(WAIT)
    issuer.offered = (key("k1", wanted=False, superseded=True), key("k2"))
    issuer.live(60)
    due = issuer.last.next_change
    issuer.spec = replace(issuer.spec, **edit)  # type: ignore[arg-type]
    assert issuer.step().next_change == due
    assert issuer.last.max_token_ttl == issuer.spec.longest_ttl
    issuer.spec = replace(issuer.spec, **{field: 3_600})  # type: ignore[arg-type]
    assert due is not None
    assert (issuer.step().next_change or 0) > due


def test_an_issuer_whose_ledger_was_lost_waits_although_it_knows_of_no_set() -> None:
    issuer = Issuer(key("k1"))
    issuer.live(60)
    issuer.ledger = IssuerLedger()
    issuer.replicas = lambda: [  # type: ignore[method-assign]
        Replica(pod, pod, "sts", ever_ready=True, ready=True, terminating=False, report=issuer.reports.get(pod))
        for pod in issuer.pods
    ]
    issuer.offered = (key("k2"),)
    issuer.live(WAIT - 30)
    assert dict(issuer.last.active) == {}
    issuer.live(120)
    assert dict(issuer.last.active) == {"ES256": "k2"}


def test_a_key_without_its_private_part_is_not_handed_out_but_stays_published() -> None:
    issuer = Issuer(key("k1"), spare("k2"))
    issuer.live(WAIT)
    issuer.offered = (key("k1", wanted=False, superseded=True, private=False), key("k2"))
    step = issuer.step()
    assert dict(step.active) == {"ES256": "k2"}
    assert issuer.published() == ["k1", "k2"]


def test_the_set_never_grows_beyond_what_verifiers_read_and_a_revocation_finds_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert MOST_KEYS + 2 * 8 <= MAX_KEYS
    monkeypatch.setattr(planner, "MOST_KEYS", 6)
    issuer = Issuer(key("k0"), spare("s0"))
    issuer.spec = replace(issuer.spec, longest_ttl=86_400)
    issuer.live(WAIT)
    retiring: tuple[OfferedKey, ...] = ()
    for number in range(1, 9):
        retiring = (*retiring, replace(issuer.offered[-2], wanted=False, superseded=True))
        issuer.offered = (*retiring, key(f"k{number}"), spare(f"s{number}"))
        issuer.live(WAIT + 60)
    assert len(issuer.published()) == 6
    kept_out = {offer.kid for offer in issuer.offered if not offer.superseded} - set(issuer.published())
    waiting = [blocked for blocked in issuer.last.blocked if blocked.reason == "KeySetFull"]
    assert {blocked.kid for blocked in waiting} == kept_out != set()
    assert "6 keys are published" in waiting[0].message
    signer = issuer.last.active["ES256"]
    issuer.offered = (revoked_offer(signer, "corp"), *retiring, key("new", sign_now=True), spare("spare"))
    issuer.step()
    assert dict(issuer.step().active) == {"ES256": "new"}
    assert len(issuer.published()) <= 6 + 1
    issuer.step(2 * 86_400)
    issuer.live(60)
    assert dict(issuer.last.active) == {"ES256": "new"}
    assert "spare" in issuer.published()
