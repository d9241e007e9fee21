"""Which namespaces a rule's selector means, and what happens where there are too many."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailseal.api.identityprovider import Bound, LabelSelector
from tailseal.domain.tenancy import selecting
from tailseal.domain.tenancy.selecting import matches, select

CASES: dict[str, tuple[dict[str, Any], dict[str, str], bool]] = {
    "a selector without parts selects everything, as in Kubernetes": ({}, {}, True),
    "a label of that value": ({"matchLabels": {"tier": "prod"}}, {"tier": "prod", "x": "y"}, True),
    "a label of another value": ({"matchLabels": {"tier": "prod"}}, {"tier": "production"}, False),
    "no such label": ({"matchLabels": {"tier": "prod"}}, {}, False),
    "an empty value is a value": ({"matchLabels": {"tier": ""}}, {}, False),
    "all parts must hold": ({"matchLabels": {"a": "1", "b": "2"}}, {"a": "1"}, False),
    "In": ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
    "In, absent": ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
    "NotIn": ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "1"}, False),
    "NotIn, absent": ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
    "Exists": ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
    "Exists, absent": ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {}, False),
    "DoesNotExist": ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
    "DoesNotExist, absent": ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {}, True),
    "labels and expressions": (
        {"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]},
        {"a": "1"},
        False,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_selector_means(case: str) -> None:
    selector, labels, expected = CASES[case]
    assert matches(LabelSelector.model_validate(selector), labels) is expected


def bound(name: str = "teams", **selector: Any) -> Bound:  # noqa: ANN401 - as manifests have it
    return Bound.model_validate({"name": name, "namespaces": {"from": "Selector", "selector": selector}})


def test_each_rule_selects_its_own_and_rules_without_selector_none() -> None:
    names = Bound.model_validate({"name": "named", "namespaces": {"from": "Names", "names": ["a"]}})
    found = select([bound("prod", matchLabels={"tier": "prod"}), bound("all"), names], {"b": {"tier": "prod"}, "a": {}})
    assert (dict(found.names), found.left_out) == ({"prod": ("b",), "all": ("a", "b")}, 0)


def test_the_youngest_namespaces_have_no_room_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selecting, "MAX_SELECTED", 3 * len('"ns-0",'))
    namespaces = {f"ns-{number}": {} for number in (4, 3, 2, 1, 0)}
    assert select([bound()], namespaces) == selecting.Selected({"teams": ("ns-2", "ns-3", "ns-4")}, 2)


@given(st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["", "1", "2"])), st.sampled_from("abcd"))
def test_in_and_not_in_and_exists_and_does_not_exist_are_opposites(labels: dict[str, str], key: str) -> None:
    def holds(operator: str, *values: str) -> bool:
        requirement = {"key": key, "operator": operator, **({"values": list(values)} if values else {})}
        return matches(LabelSelector.model_validate({"matchExpressions": [requirement]}), labels)

    assert holds("In", "1", "2") is not holds("NotIn", "1", "2")
    assert holds("Exists") is not holds("DoesNotExist")
