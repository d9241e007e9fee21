"""Conditions change their transition time on flips only."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailseal.api.conditions import (
    GOOD_IF_FALSE,
    MESSAGE_LENGTH,
    Condition,
    ConditionType,
    conditions_of,
    get_condition,
    set_condition,
)
from tailseal.api.crd.schema import structural
from tailseal.api.kinds import KINDS

NEW_YEAR = 1_798_761_600.0


def ready(status: str, **members: object) -> Condition:
    return Condition.model_validate({"type": "Ready", "status": status, "reason": "Ready", **members})


def test_a_new_condition_begins_now() -> None:
    (condition,) = set_condition((), ready("True"), NEW_YEAR)
    assert condition.last_transition_time == "2027-01-01T00:00:00Z"


def test_the_same_status_keeps_its_time_and_takes_the_new_words() -> None:
    first = set_condition((), ready("True"), NEW_YEAR)
    (second,) = set_condition(first, ready("True", message="still", observedGeneration=2), NEW_YEAR + 60)
    assert second.last_transition_time == "2027-01-01T00:00:00Z"
    assert (second.message, second.observed_generation) == ("still", 2)


def test_another_status_begins_now() -> None:
    first = set_condition((), ready("True"), NEW_YEAR)
    (second,) = set_condition(first, ready("False"), NEW_YEAR + 60)
    assert second.last_transition_time == "2027-01-01T00:01:00Z"


def test_the_time_of_the_new_condition_does_not_count() -> None:
    first = set_condition((), ready("True"), NEW_YEAR)
    (second,) = set_condition(first, ready("True", lastTransitionTime="2030-01-01T00:00:00Z"), NEW_YEAR + 60)
    assert second.last_transition_time == "2027-01-01T00:00:00Z"


def test_other_conditions_stay_where_they_are() -> None:
    accepted = Condition(type="Accepted", status="True", reason="Accepted")
    both = set_condition(set_condition((), ready("True"), NEW_YEAR), accepted, NEW_YEAR)
    again = set_condition(both, ready("False"), NEW_YEAR)
    assert [condition.type for condition in again] == ["Ready", "Accepted"]


def test_a_long_message_is_cut() -> None:
    long = ready("False").model_copy(update={"message": "x" * (MESSAGE_LENGTH + 1)})
    (condition,) = set_condition((), long, NEW_YEAR)
    assert len(condition.message) == MESSAGE_LENGTH


def test_a_document_has_what_metav1_condition_requires() -> None:
    (condition,) = set_condition((), ready("True"), NEW_YEAR)
    assert {"type", "status", "reason", "message", "lastTransitionTime"} <= set(condition.document())


def test_conditions_are_read_from_an_object() -> None:
    written = [condition.document() for condition in set_condition((), ready("True"), NEW_YEAR)]
    condition = get_condition(conditions_of({"status": {"conditions": written}}), "Ready")
    assert condition is not None
    assert condition.status == "True"
    assert conditions_of({}) == ()
    assert get_condition((), "Ready") is None


@given(st.lists(st.sampled_from(["True", "False", "Unknown"]), min_size=1))
def test_the_time_is_that_of_the_last_flip(statuses: list[str]) -> None:
    conditions: tuple[Condition, ...] = ()
    flipped, before = NEW_YEAR, ""
    for step, status in enumerate(statuses):
        now = NEW_YEAR + 60 * step
        flipped, before = (flipped if status == before else now), status
        conditions = set_condition(conditions, ready(status), now)
    (expected,) = set_condition((), ready(before), flipped)
    assert conditions == (expected,)


def test_a_condition_is_good_if_false_just_where_its_words_are_about_its_truth() -> None:
    words = dict(re.findall(r'\n    ([A-Z_]+) = "\w+"\n    """(\w+)', inspect.getsource(ConditionType)))
    assert words.keys() == set(ConditionType.__members__)
    assert {ConditionType[name] for name, first in words.items() if first == "True"} == GOOD_IF_FALSE


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_has_room_for_conditions_of_every_type_at_once(kind: str) -> None:
    schema = structural(KINDS[kind].status)["properties"]["conditions"]
    assert len(ConditionType) < schema["maxItems"], "no status of an object with one too many could be written"


def test_reconcilers_say_conditions_of_these_types_only() -> None:
    root = Path(inspect.getfile(ConditionType)).parents[1] / "reconcile"
    said = set(re.findall(r'\bFact\(\s*"(\w+)"', "\n".join(path.read_text() for path in root.rglob("*.py"))))
    assert "Repaired" in said
    assert said <= set(ConditionType)
