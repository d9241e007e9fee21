"""Every matcher against every kind of value: match, mismatch, wrong type and missing stay apart."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from fakes import trust
from fakes.trust import compiled
from tailseal.domain.policy.matchers import Verdict

MATCH, MISSING, WRONG_TYPE, MISMATCH = Verdict.MATCH, Verdict.MISSING, Verdict.WRONG_TYPE, Verdict.MISMATCH


def verdict(rule: dict[str, Any], claims: dict[str, Any]) -> Verdict:
    return trust.verdict(compiled({"claims": [rule]}).trust, claims)


@pytest.mark.parametrize(
    ("matcher", "value", "expected"),
    [
        ({"exact": "65"}, "65", MATCH),
        ({"exact": "65"}, "65 ", MISMATCH),
        ({"exact": "65"}, "\uff16\uff15", MISMATCH),
        ({"exact": "main"}, "Main", MISMATCH),
        ({"exact": "65"}, 65, WRONG_TYPE),
        ({"exact": "true"}, True, WRONG_TYPE),
        ({"exact": "a"}, ["a"], WRONG_TYPE),
        ({"exact": "a"}, {"a": 1}, WRONG_TYPE),
        ({"exact": "a"}, None, MISSING),
        ({"exactInteger": 1}, 1, MATCH),
        ({"exactInteger": 1}, 2, MISMATCH),
        ({"exactInteger": 1}, 1.9, WRONG_TYPE),
        ({"exactInteger": 1}, 1.0, WRONG_TYPE),
        ({"exactInteger": 1}, True, WRONG_TYPE),
        ({"exactInteger": 1}, "1", WRONG_TYPE),
        ({"exactInteger": 1}, 2**64 + 1, MISMATCH),
        ({"exactBoolean": True}, True, MATCH),
        ({"exactBoolean": True}, False, MISMATCH),
        ({"exactBoolean": True}, "true", WRONG_TYPE),
        ({"exactBoolean": True}, 1, WRONG_TYPE),
        ({"exactBoolean": False}, 0, WRONG_TYPE),
        ({"exactDecimal": "1.50"}, 1.5, MATCH),
        ({"exactDecimal": "1.10"}, 1.1, MATCH),
        ({"exactDecimal": "0.1"}, Decimal("0.1000000000000000055"), MISMATCH),
        ({"exactDecimal": "2"}, 2, MATCH),
        ({"exactDecimal": "1"}, 1.9, MISMATCH),
        ({"exactDecimal": "1"}, True, WRONG_TYPE),
        ({"exactDecimal": "1"}, "1", WRONG_TYPE),
        ({"exactDecimal": "1"}, float("nan"), WRONG_TYPE),
        ({"exactDecimal": "1"}, float("inf"), WRONG_TYPE),
        ({"exactDecimal": "1"}, Decimal("1e999999"), MISMATCH),
        ({"oneOf": ["a", "b"]}, "b", MATCH),
        ({"oneOf": ["a", "b"]}, "c", MISMATCH),
        ({"oneOf": ["1"]}, 1, WRONG_TYPE),
        ({"oneOf": ["a"]}, ["a"], WRONG_TYPE),
        ({"glob": "refs/heads/*"}, "refs/heads/main", MATCH),
        ({"glob": "refs/heads/*"}, "refs/tags/v1", MISMATCH),
        ({"glob": "**"}, 1, WRONG_TYPE),
        ({"regex": "v[0-9]+"}, "v12", MATCH),
        ({"regex": "v[0-9]+"}, "xv12", MISMATCH),
        ({"regex": "v[0-9]+"}, "v12\n", MISMATCH),
        ({"regex": ".*"}, 1, WRONG_TYPE),
        ({"present": True}, 0, MATCH),
        ({"present": True}, "", MATCH),
        ({"present": True}, None, MISSING),
        ({"present": False}, None, MATCH),
        ({"present": False}, False, MISMATCH),
    ],
)
def test_a_matcher_says_match_mismatch_wrong_type_or_missing(
    matcher: dict[str, Any], value: object, expected: Verdict
) -> None:
    assert verdict({"claim": "c"} | matcher, {"c": value}) is expected
    assert verdict({"path": ["o", "c"]} | matcher, {"o": {"c": value}}) is expected


@pytest.mark.parametrize("matcher", [{"exact": ""}, {"exactInteger": 0}, {"exactBoolean": False}, {"glob": "**"}])
def test_a_claim_that_is_not_there_is_missing_and_never_empty_zero_or_false(matcher: dict[str, Any]) -> None:
    assert verdict({"claim": "c"} | matcher, {}) is MISSING


@pytest.mark.parametrize(
    ("quantifier", "value", "expected"),
    [
        ("Any", ["a", "x"], MATCH),
        ("Any", ["x", "y"], MISMATCH),
        ("Any", [1, "a"], MATCH),
        ("Any", [1, "x"], WRONG_TYPE),
        ("Any", [], MISMATCH),
        ("Any", "a", WRONG_TYPE),
        ("Any", [["a"]], WRONG_TYPE),
        ("Any", [None], WRONG_TYPE),
        ("Any", None, MISSING),
        ("All", ["a", "a"], MATCH),
        ("All", ["a", "x"], MISMATCH),
        ("All", ["a", 1], WRONG_TYPE),
        ("All", [], MISMATCH),
        ("All", "a", WRONG_TYPE),
    ],
)
def test_lists_match_by_any_or_by_all_elements_and_an_empty_list_never(
    quantifier: str, value: object, expected: Verdict
) -> None:
    for matcher in ({"exact": "a"}, {"oneOf": ["a"]}, {"glob": "a"}, {"regex": "a"}):
        assert verdict({"claim": "c", "match": quantifier} | matcher, {"c": value}) is expected


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"kubernetes.io": {"namespace": "a"}}, MATCH),
        ({"kubernetes.io": {"namespace": "b"}}, MISMATCH),
        ({"kubernetes.io": {}}, MISSING),
        ({}, MISSING),
        ({"kubernetes": {"io": {"namespace": "a"}}}, MISSING),
        ({"kubernetes.io": "namespace"}, WRONG_TYPE),
        ({"kubernetes.io": [{"namespace": "a"}]}, WRONG_TYPE),
        ({"kubernetes.io.namespace": "a"}, MISSING),
    ],
)
def test_a_path_leads_into_objects_name_by_name(claims: dict[str, Any], expected: Verdict) -> None:
    assert verdict({"path": ["kubernetes.io", "namespace"], "exact": "a"}, claims) is expected


def test_absence_below_something_that_is_no_object_is_not_absence() -> None:
    assert verdict({"path": ["o", "c"], "present": False}, {"o": "text"}) is WRONG_TYPE
    assert verdict({"path": ["o", "c"], "present": False}, {}) is MATCH


def test_all_rules_must_hold_and_the_subject_is_one_of_them() -> None:
    policy = compiled({"subject": {"glob": "job-*"}, "claims": [{"claim": "a", "exact": "1"}]})
    assert trust.verdict(policy.trust, {"sub": "job-1", "a": "1"}) is MATCH
    assert trust.verdict(policy.trust, {"sub": "job-1", "a": "2"}) is MISMATCH
    assert trust.verdict(policy.trust, {"sub": "x", "a": "1"}) is MISMATCH
    assert trust.verdict(policy.trust, {"sub": "job-1"}) is MISSING


def test_equality_is_asked_before_patterns_whatever_the_order_in_the_manifest() -> None:
    policy = compiled(
        {"subject": {"regex": "a"}, "claims": [{"claim": "g", "glob": "b*"}, {"claim": "e", "exact": "c"}]}
    )
    assert [rule.path for rule in policy.trust.rules] == [("e",), ("g",), ("sub",)]
