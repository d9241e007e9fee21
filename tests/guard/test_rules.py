"""Rules of `guard serve`: what each is about, and paths that mean one thing to us and another to somebody else."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.people import APP
from tailseal.guard.denied import AMBIGUOUS, NO_RULE, Denied
from tailseal.guard.rules import Rules, RulesError


def needs(resource: str = "*", action: str = "read") -> dict[str, Any]:
    return {"capability": APP, "action": action, "resource": resource}


RULES = Rules.read(
    {
        "rules": [
            {"path": "/healthz", "methods": ["GET"], "anonymous": True},
            {"path": "/items/{id}", "methods": ["GET", "HEAD"], "require": [needs("items/{id}")]},
            {"path": "/items/{id}", "require": [needs("items/{id}", "write")]},
            {"path": "/teams/{team}/files/{path:path}", "require": [needs("{team}/{path}")]},
            {"path": "/", "require": []},
        ]
    }
)


@pytest.mark.parametrize(
    ("method", "target", "number", "parameters"),
    [
        ("GET", "/healthz", 0, {}),
        ("GET", "/healthz?verbose", 0, {}),
        ("POST", "/healthz", None, {}),
        ("GET", "/items/7", 1, {"id": "7"}),
        ("HEAD", "/items/7?x=/../y", 1, {"id": "7"}),
        ("DELETE", "/items/7", 2, {"id": "7"}),
        ("get", "/items/7", 2, {"id": "7"}),
        ("GET", "/items/gr%C3%B6%C3%9Fe", 1, {"id": "größe"}),
        ("GET", "/items/a%20b", 1, {"id": "a b"}),
        ("GET", "/items/", None, {}),
        ("GET", "/items", None, {}),
        ("GET", "/items/7/", None, {}),
        ("GET", "/items/7/x", None, {}),
        ("GET", "/Items/7", None, {}),
        ("GET", "/teams/a/files/b/c", 3, {"team": "a", "path": "b/c"}),
        ("GET", "/teams/a/files/", 3, {"team": "a", "path": ""}),
        ("GET", "/teams/a/files", 3, {"team": "a", "path": ""}),
        ("GET", "/", 4, {}),
    ],
)
def test_the_first_rule_about_a_request_decides(
    method: str, target: str, number: int | None, parameters: dict[str, str]
) -> None:
    found = RULES.find(method, target)
    assert found == (NO_RULE if number is None else (RULES.rules[number], parameters))


@pytest.mark.parametrize(
    "target",
    [
        *("", "items/7", "//", "//items/7", "/items//7", "http://host/items/7", "*"),
        *("/items/../admin", "/items/%2e%2e/admin", "/items/.", "/items/%2E"),
        *("/items/7%2Fx", "/items/7%2fx", "/items/7%5Cx", "/items/7\\x", "/items/7;x", "/items/7%3Bx"),
        *("/items/7%00", "/items/7%0a", "/items/%7f", "/items/%", "/items/%zz", "/items/%ff", "/items/7#x"),
        "/" + "x" * 8192,
    ],
)
def test_a_path_that_servers_read_differently_is_refused(target: str) -> None:
    assert RULES.find("GET", target) is AMBIGUOUS


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=20))
def test_whatever_a_client_puts_into_a_segment_is_that_segment_or_nothing(text: str) -> None:
    found = RULES.find("GET", "/items/" + quote(text, safe=""))
    if not isinstance(found, Denied):
        rule, parameters = found
        assert rule.path == "/items/{id}"
        assert parameters == {"id": text}


@given(st.text(max_size=40))
def test_no_target_makes_it_stumble(target: str) -> None:
    found = RULES.find("GET", target)
    assert isinstance(found, Denied) or found[0] in RULES.rules


RULE = {"path": "/", "require": []}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "the file: must have members"),
        ({}, "rules: must be a list"),
        ({"rules": []}, "rules: must be a list of 1"),
        ({"rules": [RULE], "default": "allow"}, "default: is not known"),
        ({"rules": ["/"]}, r"rules\[0\]: must have members"),
        ({"rules": [RULE, {"path": "x", "require": []}]}, r"rules\[1\]\.path"),
        ({"rules": [{"path": "/"}]}, r"rules\[0\]\.require: is missing"),
        ({"rules": [{"path": "/", "anonymous": "yes"}]}, r"anonymous: must be true or false"),
        ({"rules": [{"path": "/", "anonymous": True, "require": [needs()]}]}, "leave one of"),
        ({"rules": [RULE | {"methods": "GET"}]}, r"methods: must be a list"),
        ({"rules": [RULE | {"methods": ["get"]}]}, r"methods: must be a list"),
        ({"rules": [RULE | {"path": "/a{id}"}]}, "whole segment"),
        ({"rules": [RULE | {"path": "/{a:path}/b"}]}, "only at the end"),
        ({"rules": [RULE | {"path": "/{a}/{a}"}]}, "once only"),
        ({"rules": [RULE | {"path": "/{a}/{a:path}"}]}, "once only"),
        ({"rules": [RULE | {"require": "x"}]}, r"require: must be a list"),
        ({"rules": [RULE | {"require": [{}]}]}, r"require\[0\]: needs capability"),
        ({"rules": [RULE | {"require": [needs() | {"resource": [1]}]}]}, r"require\[0\]: needs capability"),
        ({"rules": [RULE | {"require": [needs() | {"role": "x"}]}]}, r"require\[0\]\.role: is not known"),
        ({"rules": [RULE | {"require": [needs("items/{id}")]}]}, r"resource: the path has no \{id\}"),
        ({"rules": [RULE | {"require": [needs() | {"capability": "https://x.example/y"}]}]}, "without a scheme"),
        ({"rules": [RULE | {"require": [needs() | {"resource": []}]}]}, "at least one resource"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place(content: object, complaint: str) -> None:
    with pytest.raises(RulesError, match=complaint):
        Rules.read(content)
