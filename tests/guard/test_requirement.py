"""What a grant covers, by tscap's table; resources with path parameters, and values that try to be more than one."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailseal.guard import Requirement, Visitor
from tailseal.guard.denied import NO_CAPABILITY, NO_PERMISSION
from tailseal.guard.template import Template

APP = "example.com/cap/app"


def knows(*grants: Any, capability: str = APP) -> Visitor:  # noqa: ANN401 - any JSON value
    return Visitor({capability: grants}, None, ip_address("100.64.0.1"))


def grant(action: list[str], resources: list[str]) -> dict[str, list[str]]:
    return {"action": action, "resources": resources}


TSCAP = [
    (["*"], ["*"], "read", "items/123", True),
    (["read"], ["*"], "read", "items/123", True),
    (["write"], ["*"], "read", "items/123", False),
    (["write", "read"], ["*"], "read", "items/123", True),
    ([], ["*"], "read", "items/123", False),
    (["read"], ["*"], "read", "*", True),
    (["read"], ["items/*"], "read", "items/*", True),
    (["read"], ["items/*"], "read", "items/123", False),
    (["read"], ["items/123"], "read", "items/456", False),
    (["read"], ["items/123"], "read", "items/123", True),
    (["read"], ["users/*", "*"], "read", "items/123", True),
    (["read"], [], "read", "items/123", False),
    (["read"], ["items/123"], "read", "*", False),
    (["READ"], ["*"], "read", "items/123", False),
]


@pytest.mark.parametrize(("actions", "resources", "action", "resource", "allowed"), TSCAP)
def test_a_grant_covers_what_it_covers_in_tscap(
    actions: list[str], resources: list[str], action: str, resource: str, *, allowed: bool
) -> None:
    requirement = Requirement.of(APP, action, resource)
    for visitor in (
        knows(grant(actions, resources)),
        knows(grant(["x"], ["y"]), grant(actions, resources)),
        knows("nonsense", {"action": 1}, grant(actions, resources)),
    ):
        assert requirement.denial(visitor, {}) is (None if allowed else NO_PERMISSION)


def test_our_own_schema_says_the_same() -> None:
    visitor = knows({"v": 1, "allow": [{"action": ["read"], "resource": ["items/1", "items/2"]}]})
    assert Requirement.of(APP, "read", "items/1").denial(visitor, {}) is None
    assert Requirement.of(APP, "write", "items/1").denial(visitor, {}) is NO_PERMISSION


def test_one_grant_has_to_cover_everything_that_is_asked_for_at_once() -> None:
    both = Requirement.of(APP, "read", ["items/1", "items/2"])
    assert both.denial(knows(grant(["read"], ["items/1", "items/2", "items/3"])), {}) is None
    assert both.denial(knows(grant(["read"], ["items/1"]), grant(["read"], ["items/2"])), {}) is NO_PERMISSION


def test_another_capability_says_nothing_about_this_one() -> None:
    requirement = Requirement.of(APP, "read", "*")
    assert requirement.denial(knows(grant(["*"], ["*"]), capability="example.com/cap/other"), {}) is NO_CAPABILITY
    assert requirement.denial(knows(), {}) is NO_PERMISSION


@pytest.mark.parametrize(
    ("capability", "action", "resource", "complaint"),
    [
        ("https://example.com/cap/app", "read", "*", "without a scheme"),
        ("app", "read", "*", "must have the form"),
        ("", "read", "*", "must have the form"),
        (APP, "", "*", "action"),
        (APP, "read", "", "empty"),
        (APP, "read", [], "at least one"),
        (APP, "read", "items/{}", "name of a path parameter"),
        (APP, "read", "items/{id!r}", "name of a path parameter"),
        (APP, "read", "items/{id:>10}", "name of a path parameter"),
        (APP, "read", "items/{a.b}", "name of a path parameter"),
    ],
)
def test_a_requirement_that_makes_no_sense_is_refused_when_it_is_written(
    capability: str, action: str, resource: str | list[str], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Requirement.of(capability, action, resource)


@pytest.mark.parametrize(
    ("text", "parameters", "meant"),
    [
        ("items/{id}", {"id": "7"}, "items/7"),
        ("items/{id}", {"id": 7}, "items/7"),
        ("teams/{team}/items/{id}", {"team": "a", "id": "7"}, "teams/a/items/7"),
        ("files/{path}", {"path": "a/b"}, "files/a/b"),
        ("{{x}}/{id}", {"id": "7"}, "{x}/7"),
        ("items/{id}", {"id": "{id}"}, "items/{id}"),
        ("items/{id}", {"id": ""}, None),
        ("teams/{team}/items/{id}", {"team": "a/items/b", "id": "7"}, None),
        ("items/{id}/secrets", {"id": "7/public"}, None),
    ],
)
def test_a_value_stands_for_itself_and_for_nothing_else(
    text: str, parameters: dict[str, object], meant: str | None
) -> None:
    assert Template.parse(text).filled(parameters) == meant


def test_a_value_that_cannot_be_told_from_another_is_refused_whatever_is_granted() -> None:
    requirement = Requirement.of(APP, "read", "teams/{team}/items/{id}")
    visitor = knows(grant(["*"], ["*"]))
    assert requirement.denial(visitor, {"team": "a", "id": "7"}) is None
    assert requirement.denial(visitor, {"team": "a/items", "id": "7"}) is NO_PERMISSION


def test_a_parameter_that_the_route_has_not_is_a_fault_and_lets_nobody_in() -> None:
    with pytest.raises(LookupError):
        Requirement.of(APP, "read", "items/{id}").denial(knows(grant(["*"], ["*"])), {"item": "7"})


VALUES = st.text(max_size=8)


@given(VALUES, VALUES, VALUES, VALUES)
def test_two_different_pairs_of_values_never_mean_the_same_resource(one: str, two: str, three: str, four: str) -> None:
    template = Template.parse("teams/{team}/items/{id}")
    first, second = (template.filled({"team": team, "id": item}) for team, item in ((one, two), (three, four)))
    if first is not None and first == second:
        assert (one, two) == (three, four)
