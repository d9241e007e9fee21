"""The rules in Python: the same table that the API server is held against."""

from __future__ import annotations

from typing import Any

import pytest

from crd.cases import MINIMAL, Case, obj
from crd.rule_cases import CASES
from crd.schema_cases import VERDICTS
from tailseal.api.crd.definition import custom_resource_definition
from tailseal.api.kinds import KINDS
from tailseal.api.parse import SpecError, parse


def messages(schema: Any) -> set[str]:  # noqa: ANN401
    if isinstance(schema, list):
        return {message for item in schema for message in messages(item)}
    if not isinstance(schema, dict):
        return set()
    rules = schema.get("x-kubernetes-validations", ())
    return {rule["message"] for rule in rules} | {message for item in schema.values() for message in messages(item)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_of_a_crd_has_its_case(kind: str) -> None:
    assert {case.message for case in CASES if case.kind == kind} == messages(custom_resource_definition(KINDS[kind]))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_keeps_a_rule_is_taken(case: Case) -> None:
    parse(case.kind, obj(case.kind, case.keeps, case.names[0]))


@pytest.mark.parametrize("case", [case for case in CASES if case.was is None], ids=str)
def test_what_breaks_a_rule_is_a_finding(case: Case) -> None:
    with pytest.raises(SpecError) as caught:
        parse(case.kind, obj(case.kind, case.breaks, case.names[1]))
    assert case.message in str(caught.value) or case.message.startswith("keys must")  # the keys' type says it here


@pytest.mark.parametrize(
    ("kind", "change", "accepted"), [verdict[1:] for verdict in VERDICTS], ids=[v[0] for v in VERDICTS]
)
def test_python_takes_what_the_schema_takes(kind: str, change: dict[str, Any], accepted: bool) -> None:  # noqa: FBT001
    try:
        parse(kind, obj(kind, change))
    except SpecError:
        assert not accepted
    else:
        assert accepted


@pytest.mark.parametrize("kind", MINIMAL)
def test_the_minimal_spec_is_enough(kind: str) -> None:
    parse(kind, obj(kind, {}))
