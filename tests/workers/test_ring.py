"""The ring of last decisions: bounded by number and bytes, and without anything that could be presented as a token."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fakes import exchange
from tailseal.tokens import compact
from tailseal.workers.common.telemetry.ring import MOST_BESIDE, Ring


def audit(decision: str, *, verified: bool = True) -> dict[str, object]:
    return {"decision": decision} | ({"subject": "x"} if verified else {})


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=120))
def test_it_is_bounded_by_number_and_bytes_and_keeps_the_newest(added: list[tuple[bool, int]]) -> None:
    ring = Ring(most=16, largest=200)
    for number, (verified, size) in enumerate(added):
        ring.keep(audit(str(number), verified=verified), None, None, size)
        for kind, most, largest in ((True, 16, 200), (False, 4, 50)):
            mine = [(n, s) for n, (v, s) in enumerate(added[: number + 1]) if v is kind]
            kept = [(n, s) for n, s in mine if ring.find(str(n)) is not None]
            assert kept == mine[len(mine) - len(kept) :]
            assert len(kept) <= most
            assert sum(size for _, size in kept) <= largest


def test_garbage_pushes_out_no_decision_about_a_verified_token() -> None:
    ring = Ring(most=8, largest=1000)
    ring.keep(audit("good"), None, None, 10)
    for number in range(100):
        ring.keep(audit(str(number), verified=False), None, None, 10)
    assert ring.find("good") is not None
    assert ring.find("0") is None
    assert ring.find("99") is not None


def test_neither_signature_nor_header_is_kept() -> None:
    text = exchange.token()
    ring = Ring()
    ring.keep(audit("d"), compact.split(text), None, len(text))
    record = ring.find("d")
    assert record is not None
    head, payload, signature = text.split(".")
    assert record.subject.payload.decode() == payload
    assert signature not in repr(record)
    assert head not in repr(record)


def test_a_thousand_policies_that_are_tried_out_do_not_fill_the_memory() -> None:
    ring = Ring()
    many = [{"policy": f"team/p{number}", "reason": "ConditionFalse"} for number in range(1000)]
    ring.keep(audit("d") | {"wouldDeny": many, "wouldAllow": ("team/a",)}, None, None, 10)
    record = ring.find("d")
    assert record is not None
    assert record.audit["wouldDeny"] == many[:MOST_BESIDE]
    assert record.audit["wouldAllow"] == ("team/a",)
    assert len(many) == 1000
