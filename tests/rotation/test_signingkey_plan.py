"""A SigningKey's life: schedule, requests, spares, revocation, loss and retirement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailseal.domain.rotation.signingkey.ledger import KeyRecord, Schedule, SigningKeyLedger
from tailseal.domain.rotation.signingkey.plan import Issuer, SigningKeyPlan, State, Usage, Wish, plan, with_key

HOUR, DAY = 3_600, 86_400
SCHEDULE = Schedule(
    algorithm="ES256", rsa_bits=3072, interval=30 * DAY, publish_lead=DAY, max_age=300, clock_skew=60, spare=True
)
START = 1_000_000_000.0


@dataclass
class Life:
    """Plans, makes the keys that are asked for, and keeps the ledger as the Secret would."""

    wish: Wish = field(default_factory=lambda: Wish(SCHEDULE))
    now: float = START
    ledger: SigningKeyLedger = field(default_factory=lambda: SigningKeyLedger(schedule=SCHEDULE))
    material: set[str] = field(default_factory=set)
    issuers: tuple[Issuer, ...] = ()
    made: int = 0
    last: SigningKeyPlan | None = None

    def step(self) -> SigningKeyPlan:
        while (step := plan(self.wish, self.ledger, self.material, self.issuers, self.now)).make:
            for new in step.make:
                self.made += 1
                kid = f"k{self.made}"
                self.material.add(kid)
                self.ledger = with_key(self.ledger, new, {"kid": kid}, self.now)
        self.ledger, self.last = step.ledger, step
        self.material &= step.material
        return step

    def live(self, seconds: float) -> SigningKeyPlan:
        """Let time pass, waking whenever the plan asked for it."""
        until = self.now + seconds
        step = self.step()
        for _ in range(1000):
            if step.wake_at is None or step.wake_at > until:
                self.now = until
                return self.step()
            assert step.wake_at >= self.now
            self.now = step.wake_at
            step = self.step()
        raise AssertionError("never at rest")

    def ask(self, **changes: object) -> None:
        schedule = self.wish.schedule.but(**{k: v for k, v in changes.items() if k in Schedule.model_fields})
        rest = {k: v for k, v in changes.items() if k not in Schedule.model_fields}
        self.wish = replace(self.wish, schedule=schedule, **rest)  # type: ignore[arg-type]

    def use(self, *, signs: str | None = None, publishes: tuple[str, ...] = (), waits: str | None = None) -> None:
        """One issuer that lists the SigningKey."""
        usage: Mapping[str, Usage] = {
            kid: Usage(served_at=self.now, active=kid == signs, activated_at=self.now, waiting=kid == waits)
            for kid in (*publishes, *([signs] if signs else []))
        }
        self.issuers = (Issuer("idp", listed=True, usage=usage),)

    def states(self) -> dict[str, str]:
        assert self.last is not None
        return {state.record.kid: str(state.state) for state in self.last.states}

    def signer(self) -> KeyRecord:
        signer = self.ledger.signer()
        assert signer is not None
        return signer


def test_a_new_signing_key_has_a_signer_and_a_spare_in_one_step() -> None:
    life = Life()
    life.step()
    assert life.states() == {"k1": "Active", "k2": "Published"}
    assert life.made == 2


def test_planning_again_changes_nothing() -> None:
    life = Life()
    first = life.step()
    again = plan(life.wish, life.ledger, life.material, life.issuers, life.now)
    assert (again.ledger, again.states, again.events) == (first.ledger, first.states, ())


def test_without_a_spare_the_next_key_is_made_when_it_must_be_published() -> None:
    life = Life()
    life.ask(spare=False)
    life.step()
    assert life.made == 1
    assert life.live(29 * DAY - 1).states[-1].record.kid == "k1"
    life.live(1)
    assert life.states() == {"k1": "Active", "k2": "Published"}
    life.live(DAY)
    assert life.signer().kid == "k2"


def test_the_next_key_follows_after_the_interval_and_the_former_retires() -> None:
    life = Life()
    assert life.step().next_rotation == START + 30 * DAY
    life.live(30 * DAY - 1)
    assert life.signer().kid == "k1"
    life.live(1)
    assert life.states() == {"k1": "Retiring", "k2": "Active", "k3": "Published"}
    life.live(HOUR)
    assert life.states()["k1"] == "Retired"
    assert "k1" not in life.material


def test_periods_missed_while_the_operator_was_down_happen_once() -> None:
    life = Life()
    life.step()
    life.now += 200 * DAY
    life.step()
    assert life.signer().kid == "k2"
    assert life.live(29 * DAY).signer == life.signer()
    assert life.made == 3


def test_a_signer_that_no_issuer_signs_with_yet_is_not_followed() -> None:
    life = Life()
    life.use(waits="k1", publishes=("k1",))
    life.step()
    life.live(100 * DAY)
    assert life.signer().kid == "k1"
    assert life.states()["k1"] == "Published"
    life.use(signs="k1")
    life.step()
    assert life.states()["k1"] == "Active"
    assert life.last is not None
    assert life.last.next_rotation == life.now + 30 * DAY


def test_a_key_behind_another_in_the_list_rotates_by_the_clock() -> None:
    life = Life()
    life.step()
    life.use(publishes=("k1", "k2"))
    life.live(31 * DAY)
    assert life.signer().kid == "k2"


@pytest.mark.parametrize(
    ("asked", "rotates"),
    [(START + 10, True), (START, False), (START - DAY, False), (START + 5 * DAY, False)],
    ids=["younger than the signer", "as old as the signer", "older than the signer", "in the future"],
)
def test_a_request_asks_for_a_signer_made_after_its_time(asked: float, *, rotates: bool) -> None:
    life = Life()
    life.step()
    life.now += DAY
    life.ask(rotate_after=asked)
    life.step()
    assert (life.signer().kid != "k1") == rotates


def test_a_request_does_not_take_the_spare_which_is_as_old_as_the_signer() -> None:
    life = Life()
    life.step()
    life.now += DAY
    life.ask(rotate_after=life.now - 1)
    life.step()
    assert life.signer().created_at == life.now
    assert life.states() == {"k1": "Retiring", "k2": "Retiring", "k3": "Published", "k4": "Published"}


def test_a_request_for_a_time_to_come_is_honoured_then() -> None:
    life = Life()
    life.step()
    life.ask(rotate_after=START + DAY)
    assert life.step().next_rotation == START + DAY
    life.live(2 * DAY)
    assert life.signer().created_at == START + DAY


def test_requests_during_a_rotation_coalesce_into_one_more() -> None:
    life = Life()
    life.step()
    life.use(signs="k1", publishes=("k2",))
    life.step()
    for second in range(1, 6):
        life.now = START + second
        life.ask(rotate_after=life.now)
        life.step()
    pending = life.signer().kid
    life.use(signs=pending, publishes=("k1",))
    life.now += HOUR
    life.step()
    assert life.signer().kid != pending
    assert life.signer().created_at == START + 5
    life.use(signs=life.signer().kid)
    signer = life.signer().kid
    life.step()
    assert life.signer().kid == signer


def test_another_algorithm_takes_effect_with_the_next_key() -> None:
    life = Life()
    life.step()
    life.now += DAY
    life.ask(algorithm="RS256")
    life.step()
    assert life.signer().algorithm == "ES256"
    assert [(key.algorithm, key.rsa_bits) for key in life.ledger.upcoming()] == [("RS256", 3072)]
    life.live(30 * DAY)
    assert life.signer().algorithm == "RS256"


def test_a_longer_key_takes_effect_with_the_next_one() -> None:
    life = Life()
    life.ask(algorithm="RS256")
    life.step()
    life.ask(rsa_bits=4096)
    life.step()
    assert [key.rsa_bits for key in life.ledger.upcoming()] == [4096]


def test_a_revoked_signer_is_followed_by_its_spare_in_the_same_write() -> None:
    life = Life()
    life.step()
    life.use(signs="k1", publishes=("k2",))
    life.step()
    life.ask(revoked=frozenset({"k1"}))
    step = life.step()
    assert life.signer().kid == "k2"
    assert life.signer().sign_now
    assert step.wake_at == life.now, "the next spare must not hold the revocation up"
    assert life.made == 2
    assert step.material == {"k2"}
    assert life.states()["k1"] == "Revoked"
    life.step()
    assert life.made == 3


def test_stop_lets_nothing_sign_before_its_time() -> None:
    life = Life()
    life.ask(sign_now=False)
    life.step()
    life.use(signs="k1", publishes=("k2",))
    life.step()
    life.ask(revoked=frozenset({"k1"}))
    life.step()
    assert life.signer().kid == "k2"
    assert not life.signer().sign_now


def test_a_pending_successor_hurries_when_the_key_that_still_signs_is_revoked() -> None:
    life = Life()
    life.step()
    life.use(signs="k1", publishes=("k2",))
    life.step()
    life.now += 31 * DAY
    life.step()
    assert not life.signer().sign_now
    life.ask(revoked=frozenset({"k1"}))
    life.step()
    assert life.signer().kid == "k2"
    assert life.signer().sign_now


def test_revoked_is_for_ever() -> None:
    life = Life()
    life.step()
    life.ask(revoked=frozenset({"k1", "never-ours"}))
    life.step()
    life.ask(revoked=frozenset())
    life.live(400 * DAY)
    assert set(life.ledger.revoked) == {"k1", "never-ours"}
    assert "k1" not in life.material


def test_lost_material_is_followed_and_said_once() -> None:
    life = Life()
    life.step()
    life.use(signs="k1", publishes=("k2",))
    life.step()
    life.material.discard("k1")
    step = life.step()
    assert life.signer().kid == "k2"
    assert not life.signer().sign_now, "law 1 holds for what replaces a lost key"
    assert [event.reason for event in step.events] == ["KeyMaterialLost"]
    assert life.step().events == ()


def test_what_follows_a_lost_ledger_waits_by_the_clock() -> None:
    life = Life(ledger=SigningKeyLedger(schedule=SCHEDULE, succeeds_lost=True))
    assert life.step().active is None
    assert life.live(359).active is None
    assert life.live(1).active is not None


def test_material_stays_while_an_issuer_publishes_the_key() -> None:
    life = Life()
    life.step()
    life.use(signs="k1", publishes=("k2",))
    life.step()
    life.now += 31 * DAY
    life.step()
    life.use(signs="k2", publishes=("k1",))
    life.live(10 * DAY)
    assert life.states()["k1"] == "Retiring"
    life.use(signs="k2")
    life.step()
    assert life.states()["k1"] == "Retired"


def test_the_newest_signing_key_of_several_issuers_is_active() -> None:
    life = Life()
    life.step()
    life.now += 31 * DAY
    life.step()
    old = Issuer("slow", listed=True, usage={"k1": Usage(served_at=1.0, active=True)})
    new = Issuer("quick", listed=True, usage={"k2": Usage(served_at=1.0, active=True)})
    life.issuers = (old, new)
    step = life.step()
    assert step.active is not None
    assert step.active.kid == "k2"
    assert life.states()["k1"] == "Retiring"


def test_a_key_is_published_when_every_issuer_that_lists_it_serves_it() -> None:
    life = Life()
    life.use(publishes=("k1",), waits="k1")
    life.issuers = (*life.issuers, Issuer("other", listed=True))
    life.step()
    assert life.states()["k1"] == State.PENDING
    life.issuers = life.issuers[:1]
    life.step()
    assert life.states()["k1"] == State.PUBLISHED


def test_what_went_long_ago_is_forgotten_but_not_what_was_revoked() -> None:
    life = Life()
    life.step()
    life.ask(revoked=frozenset({"k1"}))
    for _ in range(60):
        life.live(31 * DAY)
    assert len(life.ledger.keys) < 40
    assert "k1" in life.ledger.revoked


acts = st.lists(
    st.tuples(
        st.sampled_from(["wait", "jump", "rotate", "revoke", "lose", "algorithm", "spare", "sign"]), st.integers(0, 7)
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(acts)
def test_whatever_happens_there_is_one_signer_and_a_bounded_number_of_keys(history: list[tuple[str, int]]) -> None:
    life = Life()
    for act, number in history:
        revoked_before = set(life.ledger.revoked)
        match act:
            case "wait":
                life.now += (1.0, 60.0, 400.0, HOUR, DAY, 10 * DAY, 31 * DAY, 300 * DAY)[number]
            case "jump":
                life.now += (HOUR, -HOUR)[number % 2]
            case "rotate":
                life.ask(rotate_after=life.now + (-1, 0, 1, DAY)[number % 4])
            case "revoke" if life.ledger.keys:
                victim = life.ledger.keys[number % len(life.ledger.keys)].kid
                life.ask(revoked=life.wish.revoked | {victim} if number % 3 else frozenset())
            case "lose":
                life.material -= set(sorted(life.material)[: number % 2 + 1])
            case "algorithm":
                life.ask(algorithm=("ES256", "RS256", "EdDSA")[number % 3])
            case "spare":
                life.ask(spare=bool(number % 2))
            case "sign":
                life.use(signs=life.signer().kid) if life.ledger.signer() else None
        step = life.step()
        again = plan(life.wish, life.ledger, life.material, life.issuers, life.now)
        assert again.make == () or step.wake_at == life.now
        assert again.make or again.ledger == step.ledger
        wanted = [key for key in life.ledger.keys if key.wanted_at is not None and not key.past]
        assert len(wanted) == 1
        assert wanted[0].kid in life.material
        assert revoked_before <= set(life.ledger.revoked)
        assert not set(life.ledger.revoked) & life.material
        assert len(life.ledger.upcoming()) <= 1
        assert life.material == {key.kid for key in life.ledger.keys if not key.gone} - {
            key.kid for key in life.ledger.keys if key.lost_at is not None
        }
