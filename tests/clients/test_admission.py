"""An admission lasts while a client may be served, and never comes back: property-tested over any history."""

from __future__ import annotations

from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fakes import oauthclients, trust
from tailseal.api.findings import Finding
from tailseal.api.reasons import Reason
from tailseal.domain.bundle.model import ClientRecord
from tailseal.domain.clients.admission import Outcome, admitted, uid_of
from tailseal.domain.clients.compile import accepted

RECORD = oauthclients.record()
FINE = accepted(RECORD, trust.settings(bounds=()))
SLIP = (Finding("spec.claims[0]", "x"),)
BEYOND = (Finding("spec.claims[0]", "x"), Finding("spec.redirectURIs[0]", "x", Reason.EXCEEDS_BOUNDS))

STATES = st.sampled_from(["fine", "slip", "beyond", "gone", "another"])


def judged(state: str, number: int) -> list[tuple[ClientRecord, Outcome]]:
    if state == "gone":
        return []
    if state == "another":
        return [(RECORD.model_copy(update={"uid": f"uid-{number}"}), FINE)]
    return [(RECORD, {"fine": FINE, "slip": SLIP, "beyond": BEYOND}[state])]


@given(st.lists(STATES, max_size=30))
def test_what_was_lost_once_never_comes_back_and_nothing_else_is_lost(history: list[str]) -> None:
    marks = count()
    present: dict[str, str] = {}
    over: set[str] = set()
    for number, state in enumerate(history):
        former = present
        present = admitted(judged(state, number), former, lambda length: next(marks).to_bytes(length))
        assert admitted(judged(state, number), present, _never) == present, "a second look changes nothing"
        kept, was = present.get("identity/grafana"), former.get("identity/grafana")
        assert kept not in over
        if kept != was:
            assert state in {"beyond", "gone", "another"} or was is None or uid_of(was) != RECORD.uid
            over |= {was} if was else set()
        if state in {"beyond", "gone"}:
            assert kept is None
        if state in {"fine", "another"}:
            assert kept is not None
            assert uid_of(kept) == judged(state, number)[0][0].uid


def test_what_was_admitted_before_there_were_marks_goes_on() -> None:
    former = {"identity/grafana": RECORD.uid}
    assert admitted([(RECORD, FINE)], former, _never) == former


def _never(_length: int) -> Any:  # noqa: ANN401
    raise AssertionError("nothing is to be drawn")
