"""Client secrets: hashed, strong, and following each other without an instant at which the application's is unknown."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailseal.domain.bundle.model import ClientSecret
from tailseal.domain.clients import secrets
from tailseal.domain.clients.secrets import OVERLAP, SecretInputs, SecretLedger, SecretPlan, digest, plan, secret_of

ID = "grafana"
NOW = 1_800_000_000.0
BROUGHT = "0123456789abcdef" * 2


def drawing() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: secret_of(next(numbers).to_bytes(32, "little") + bytes(range(32)))


def first(draw: Callable[[], str]) -> SecretPlan:
    return plan(SecretInputs(ID, SecretLedger(), "", now=NOW), draw)


def test_a_first_secret_is_made_and_stays() -> None:
    draw = drawing()
    made = first(draw)
    assert secrets.weakness(made.secret) == ""
    assert made.ledger.known() == (ClientSecret(digest=digest(ID, made.secret)),)
    again = plan(SecretInputs(ID, made.ledger, made.secret, now=NOW + 1), draw)
    assert (again.secret, again.ledger) == (made.secret, made.ledger)


def test_workers_know_the_next_secret_before_the_application_is_told() -> None:
    draw = drawing()
    made = first(draw)
    asked = {"rotate_after": NOW + 10, "now": NOW + 10}
    one = plan(SecretInputs(ID, made.ledger, made.secret, **asked), draw)
    assert one.secret == made.secret
    assert len(one.ledger.known()) == 2
    waiting = plan(SecretInputs(ID, one.ledger, made.secret, one.pending, **asked), draw)
    assert (waiting.secret, waiting.ledger) == (made.secret, one.ledger)
    two = plan(SecretInputs(ID, one.ledger, made.secret, one.pending, served=True, **asked), draw)
    assert two.secret == one.pending
    assert not two.pending
    assert {entry.digest for entry in two.ledger.known()} == {digest(ID, made.secret), digest(ID, two.secret)}
    rest = plan(SecretInputs(ID, two.ledger, two.secret, served=True, **asked), draw)
    assert rest.ledger == two.ledger, "one request is one rotation"
    assert rest.wake_at == NOW + 10 + OVERLAP
    after = plan(SecretInputs(ID, two.ledger, two.secret, rotate_after=NOW + 10, now=NOW + 10 + OVERLAP), draw)
    assert after.ledger.known() == (ClientSecret(digest=digest(ID, two.secret)),)


def test_a_pending_secret_that_was_lost_is_drawn_anew_and_never_told() -> None:
    draw = drawing()
    made = first(draw)
    one = plan(SecretInputs(ID, made.ledger, made.secret, rotate_after=NOW + 1, now=NOW + 2), draw)
    two = plan(SecretInputs(ID, one.ledger, made.secret, rotate_after=NOW + 1, served=True, now=NOW + 3), draw)
    assert two.secret == made.secret
    assert two.ledger.following == digest(ID, two.pending) != one.ledger.following


def test_a_request_of_the_past_or_withdrawn_changes_nothing_and_one_of_the_future_waits() -> None:
    draw = drawing()
    made = first(draw)
    assert (
        plan(SecretInputs(ID, made.ledger, made.secret, rotate_after=NOW - 1, now=NOW + 1), draw).ledger == made.ledger
    )
    later = plan(SecretInputs(ID, made.ledger, made.secret, rotate_after=NOW + 100, now=NOW + 1), draw)
    assert (later.ledger, later.wake_at) == (made.ledger, NOW + 100)
    begun = plan(SecretInputs(ID, made.ledger, made.secret, rotate_after=NOW + 1, now=NOW + 1), draw)
    assert plan(SecretInputs(ID, begun.ledger, made.secret, begun.pending, now=NOW + 2), draw).ledger == made.ledger


def test_a_secret_that_somebody_overwrote_is_replaced_and_the_real_one_goes_on_for_a_while() -> None:
    draw = drawing()
    made = first(draw)
    repaired = plan(SecretInputs(ID, made.ledger, "x" * 40, now=NOW + 5), draw)
    assert repaired.secret not in {made.secret, "x" * 40}
    assert repaired.ledger.former == digest(ID, made.secret)
    assert repaired.ledger.until == NOW + 5 + OVERLAP


def test_a_secret_whose_ledger_was_lost_goes_on_unless_it_is_weak() -> None:
    draw = drawing()
    kept = plan(SecretInputs(ID, SecretLedger(), BROUGHT, now=NOW), draw)
    assert (kept.secret, kept.ledger.current) == (BROUGHT, digest(ID, BROUGHT))
    assert plan(SecretInputs(ID, SecretLedger(), "hunter2", now=NOW), draw).secret != "hunter2"


def test_another_secret_that_is_brought_follows_the_former_with_an_overlap() -> None:
    draw = drawing()
    one = plan(SecretInputs(ID, SecretLedger(), "", brought=BROUGHT, now=NOW), draw)
    assert one.secret == BROUGHT
    two = plan(SecretInputs(ID, one.ledger, BROUGHT, brought=BROUGHT[::-1], rotate_after=NOW, now=NOW + 1), draw)
    assert two.secret == BROUGHT[::-1]
    assert [entry.digest for entry in two.ledger.known()] == [digest(ID, BROUGHT[::-1]), digest(ID, BROUGHT)]


@pytest.mark.parametrize(
    "weak", ["", "short", "a" * 64, "x" * 129, "pässwörter-sind-lang-genug-aber-nicht", "a b" * 20]
)
def test_a_weak_secret_is_not_taken_and_not_quoted(weak: str) -> None:
    why = secrets.weakness(weak)
    assert why
    assert weak not in why or not weak


def test_a_secret_is_known_by_its_hash_for_its_client_alone_and_until_it_ends() -> None:
    known = (
        ClientSecret(digest=digest(ID, BROUGHT)),
        ClientSecret(digest=digest(ID, BROUGHT[::-1]), expires_at=NOW),
    )
    assert secrets.is_right(ID, BROUGHT, known, NOW)
    assert secrets.is_right(ID, BROUGHT[::-1], known, NOW - 1)
    assert not secrets.is_right(ID, BROUGHT[::-1], known, NOW)
    assert not secrets.is_right("other", BROUGHT, known, NOW)
    assert not secrets.is_right(ID, "", known, NOW)
    assert not secrets.is_right(ID, BROUGHT, (), NOW)


@given(
    st.builds(
        SecretLedger,
        *[st.sampled_from(["", "sha256:" + "0" * 64]), st.floats(0, 2e9), st.just(""), st.just(""), st.floats(0, 2e9)],
    )
)
def test_a_ledger_survives_its_text(ledger: SecretLedger) -> None:
    assert SecretLedger.from_json(ledger.to_json()) == ledger


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"current": 1}', '{"current": "sha1:00"}', '{"until": "x"}', '{"a": 1}']
)
def test_what_is_no_ledger_says_nothing(text: str) -> None:
    assert SecretLedger.from_json(text) == SecretLedger()


@pytest.mark.parametrize("number", ["Infinity", "NaN", "1e999", "1" + "0" * 400, "true", "-1", "9007199254740992"])
@pytest.mark.parametrize("member", ["until", "created_at"])
def test_times_that_no_bundle_can_hold_are_no_ledger(member: str, number: str) -> None:
    hashed = "sha256:" + "0" * 64
    text = f'{{"current": "{hashed}", "former": "{hashed}", "{member}": {number}}}'
    assert SecretLedger.from_json(text) == SecretLedger()


@given(
    st.lists(
        st.tuples(st.sampled_from(["rotate", "tamper", "restart", "serve", "lose", "wait"]), st.integers(1, 90_000))
    )
)
def test_whatever_happens_the_application_is_never_told_a_secret_that_workers_do_not_know(
    happenings: list[tuple[str, int]],
) -> None:
    draw, now, rotate, served = drawing(), NOW, None, frozenset[str]()
    made = first(draw)
    for what, seconds in happenings:
        now += seconds
        held, ledger, pending = made.secret, made.ledger, made.pending
        if what == "rotate":
            rotate = now
        elif what == "tamper":
            held = BROUGHT
        elif what == "restart":
            pending = ""
        elif what == "lose":
            held, ledger = "", SecretLedger()
        elif what == "serve":
            served = frozenset(entry.digest for entry in ledger.known())
        everywhere = served == {entry.digest for entry in ledger.known()}
        before = made
        seen = SecretInputs(ID, ledger, held, pending, rotate_after=rotate, served=everywhere, now=now)
        made = plan(seen, draw)
        assert digest(ID, made.secret) == made.ledger.current
        assert (
            plan(SecretInputs(ID, made.ledger, made.secret, made.pending, rotate_after=rotate, now=now), draw).ledger
            == made.ledger
        )
        if what in {"rotate", "restart", "serve", "wait"} and made.secret != before.secret:
            assert made.ledger.current in served
            assert made.ledger.former == digest(ID, before.secret)
