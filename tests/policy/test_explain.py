"""An explanation never changes the decision, whatever a token says, and shows no more of it than it may."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from fakes.trust import ISSUER, NOW, SETTINGS, compiled, settings, subject
from tailseal.cli.explain.output import account_lines
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.decide import Granted, Refused, decide
from tailseal.domain.policy.explaining import retold
from tailseal.domain.policy.explaining.explain import explain, nearest
from tailseal.domain.policy.explaining.sensitivity import LONGEST, shown
from tailseal.domain.policy.grants import GrantRequest
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.trust import is_too_old

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
KEY = {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
FOR_NOBODY = {"AudienceNotTrusted", "NoPolicyMatches"}
"""Reasons that a caller is told by what there is in all, and an owner by what his policy asks."""
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


ENTRIES: list[dict[str, Any]] = [
    {},
    {"subject": {"exact": "robot"}},
    {"claims": [{"claim": "ref", "glob": "a*"}]},
    {"algorithms": ["ES256"]},
    {"audiences": ["https://elsewhere.example"]},
    {"condition": "claims.x == 1"},
    {"condition": "claims.ref == 'a'", "maxAge": "1m"},
    {"maxAge": "1m"},
    {"maxAge": "1s"},
    {"keys": {"jwks": {"keys": [KEY], "expiryTime": "2027-01-15T08:00:10Z"}}},
    {"replay": {"oneTime": True}},
]
trusts = st.builds(lambda *members: members[0] | members[1], st.sampled_from(ENTRIES), st.sampled_from(ENTRIES))
whole_claims = st.fixed_dictionaries(
    {},
    optional={
        "sub": st.sampled_from(("robot", "job-1")),
        "ref": st.sampled_from(("a", "b")),
        "x": st.sampled_from((1, "1", True)),
        "iat": st.sampled_from([int(NOW) - age for age in (0, 1, 30, 61, 90, 121, 150)] + [True, "1", None]),
    },
)


@example({}, [{"maxAge": "1m", "subject": {"exact": "robot"}}], ({}, {"iat": int(NOW) - 90}), 0.0, 60)
@hypothesis(max_examples=400)
@given(
    trusts,
    st.lists(trusts, max_size=2),
    st.tuples(whole_claims, st.none() | whole_claims),
    st.sampled_from((-30.0, 0.0, 0.5, 30.0)),
    st.sampled_from((0, 60)),
)
def test_no_check_ever_disagrees_with_the_decision_whatever_the_clocks_say(
    oidc: dict[str, Any],
    entries: list[dict[str, Any]],
    said: tuple[dict[str, Any], dict[str, Any] | None],
    late: float,
    skew: int,
) -> None:
    """What every check says together is what was decided: on tokens of subjects and actors, by any two clocks."""
    under = settings(clock_skew=skew, state="Postgres")
    actors = [{"oidc": {"issuer": ISSUER} | entry} for entry in entries]
    policy = compiled(oidc, under=under, actors=actors)
    bearer = subject(said[0], source=policy.trust.source)
    sources = {entry.source for entry in policy.actors}
    acting = None if said[1] is None else [subject(said[1], source=source) for source in sources]
    index, now = PolicyIndex([policy]), NOW + late
    explanation = explain(index, bearer, GrantRequest(), under, now, acting)
    assert explanation.decision == decide(index, bearer, GrantRequest(), under, now, actors=acting)
    (account,) = explanation.accounts
    outcome = explanation.decision.reason.value if isinstance(explanation.decision, Refused) else "match"
    assert account.outcome == outcome or {account.outcome, outcome} <= FOR_NOBODY
    assert bool(account.failures) is (outcome != "match")
    about = [check for check in account.checks if check.field.startswith("spec.from.")]
    of_actors = outcome in {"ActorNotAllowed", "ActorNotTrusted", "ActorNotNamed"}
    assert all(check.passed for check in about) is (outcome == "match" or of_actors)
    for place, entry in enumerate(policy.actors if outcome == "ActorNotTrusted" else ()):
        checks = [check for check in account.checks if check.field.startswith(f"spec.actors[{place}].")]
        assert acting is not None
        assert not all(check.passed for check in checks), entry.origin
        if any(check.field.endswith(".maxAge") for check in checks):
            assert is_too_old(acting[0].claims, entry.max_age or 0, now, skew)


def test_of_tokens_that_count_once_it_is_told_what_would_be_marked_and_never_its_value() -> None:
    once, under = {"replay": {"oneTime": True}}, settings(state="Postgres")
    policy = compiled(once, under=under, actors=[{"oidc": {"issuer": ISSUER} | once}])
    index, request = PolicyIndex([policy]), GrantRequest()
    explained = explain(index, subject({"jti": "j-7"}), request, under, NOW, [subject()])
    (account,) = explained.accounts
    lines = list(account_lines(retold.account(retold.document(account)), near=False))
    after = "is marked as used before anything is given; whether it was before, only the store knows"
    assert f"  ok    spec.from.oidc.replay (jti): its jti {after}" in lines
    assert f"  ok    spec.actors[0].oidc.replay (jti): what was signed, since it has no jti, {after}" in lines
    assert "j-7" not in "".join(lines)
    (refused,) = explain(index, subject(), GrantRequest(scopes=("all",)), under, NOW).accounts
    assert not [check for check in refused.checks if check.field.endswith("replay")]


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
