"""An explanation never changes the decision, whatever a token says, and shows no more of it than it may."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.trust import NOW, SETTINGS, compiled, subject
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.decide import Granted, decide
from tailseal.domain.policy.explain import explain, nearest
from tailseal.domain.policy.grants import GrantRequest
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.sensitivity import LONGEST, shown

RULES: list[dict[str, Any]] = [
    {"claim": "ref", "exact": "a"},
    {"claim": "ref", "glob": "a*"},
    {"claim": "ref", "regex": "a|b"},
    {"claim": "x", "oneOf": ["a", "b"]},
    {"claim": "x", "exactInteger": 1},
    {"claim": "x", "exactBoolean": True},
    {"claim": "x", "exactDecimal": "1.5"},
    {"claim": "x", "exact": "a", "match": "Any"},
    {"claim": "x", "present": False},
    {"path": ["kubernetes.io", "name"], "exact": "a"},
]
policies = st.builds(
    lambda rules, age, mode: compiled({"claims": rules} | age, enforcement=mode),
    st.lists(st.sampled_from(RULES), max_size=3),
    st.sampled_from(({}, {"maxAge": "1s"}, {"algorithms": ["ES256"]})),
    st.sampled_from(("Enforce", "Audit")),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
claims = st.fixed_dictionaries({}, optional={"ref": values, "x": values, "kubernetes.io": values, "iat": values})
requests = st.builds(
    GrantRequest,
    audiences=st.sampled_from(((), ("https://x.example",))),
    scopes=st.sampled_from(((), ("invoices.read",), ("all",))),
    requested_token_type=st.sampled_from((None, "urn:x")),
    policy=st.sampled_from((None, "team-a/deploy", "team-a/none")),
    grant=st.sampled_from((None, "billing", "x")),
)


@given(policies, claims, requests)
def test_the_decision_is_the_one_that_production_takes(
    policy: CompiledPolicy, token: dict[str, Any], request: GrantRequest
) -> None:
    index, bearer = PolicyIndex([policy]), subject(token)
    explanation = explain(index, bearer, request, SETTINGS, NOW)
    assert explanation.decision == decide(index, bearer, request, SETTINGS, NOW)
    granted = isinstance(explanation.decision, Granted)
    for account in explanation.accounts:
        assert account.grants is granted
        assert bool(account.failures) is not granted
        assert all(check.fix for check in account.failures)
        assert all(check.found.isascii() and check.found.isprintable() for check in account.checks if check.claim)
    assert (nearest(explanation.accounts) is None) == (granted or not explanation.accounts)


@pytest.mark.parametrize(
    ("path", "value", "written", "expected"),
    [
        (("repository",), "octo-org/shop", "", '"octo-org/shop"'),
        (("run_id",), 7, "", "7"),
        (("aud",), ["a", "b"], "", '["a", "b"]'),
        (("kubernetes.io", "pod", "name"), "web-1", "", '"web-1"'),
        (("actor",), "octo-cat", "octo-dog", '"octo-..." (masked; 8 characters)'),
        (("actor",), "octo-cat", "", '"..." (masked; 8 characters)'),
        (("level",), 7, "", "a whole number (masked)"),
        (("groups",), ["a"], "", "a list (masked)"),
        (("profile",), {"a": "b"}, "", "an object of 1 members"),
        (("jti",), "x", "x", "a text (not shown)"),
        (("email",), "ana@corp.example", "ana@corp.example", "a text (not shown)"),
        (("sub",), "ana@corp.example", "", "a text (not shown)"),
        (("sub",), "repo:o@1/r@2:ref:x", "", '"repo:o@1/r@2:ref:x"'),
        (("ref",), "eyJhbGciOiJub25lIn0.e30.", "", "a text (not shown)"),
        (("ref",), ["ana@corp.example"], "", "a list (not shown)"),
        (("gitlab_token",), True, "", "a boolean (not shown)"),
        (("ref",), "\x1b[2J\u202e", "", '"\\u001b[2J\\u202e"'),
    ],
)
def test_a_claim_is_shown_by_its_sensitivity(path: tuple[str, ...], value: object, written: str, expected: str) -> None:
    assert shown(path, value, written) == expected


def test_a_long_value_is_cut() -> None:
    assert len(shown(("ref",), "x" * 2000)) < LONGEST + 30
