"""What is said about two policies holds for every token and request: checked against the decision itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from fakes.trust import BILLING, NOW, SETTINGS, compiled, subject, verdict
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.decide import Granted, decide
from tailseal.domain.policy.grants import GrantRequest
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.matchers import Verdict
from tailseal.domain.policy.review import overlap
from tailseal.domain.policy.review.overlap import Policy, contradiction, implies, overlaps

TEXTS = ("a", "b", "a/b", "")
matchers = st.one_of(
    st.builds(lambda value: {"exact": value}, st.sampled_from(TEXTS)),
    st.builds(lambda value: {"glob": value}, st.sampled_from(("a*", "**", "*", "a"))),
    st.builds(lambda value: {"regex": value}, st.sampled_from(("a.*", "[ab]"))),
    st.builds(lambda values: {"oneOf": sorted(values)}, st.sets(st.sampled_from(TEXTS), min_size=1)),
    st.builds(lambda value: {"exactInteger": value}, st.integers(0, 1)),
    st.builds(lambda value: {"present": value}, st.booleans()),
)
quantified = st.builds(
    lambda matcher, match: matcher if match is None or "present" in matcher else matcher | {"match": match},
    matchers,
    st.sampled_from((None, None, "Any", "All")),
)
rules = st.lists(st.builds(lambda name, rule: {"claim": name} | rule, st.sampled_from("xy"), quantified), max_size=3)
grants = st.lists(
    st.sampled_from(
        [
            {"name": "billing", "jwt": {"audiences": [BILLING], "scopes": ["r", "w"]}},
            {"name": "less", "jwt": {"audiences": [BILLING], "scopes": ["r"]}},
            {"name": "other", "jwt": {"audiences": ["https://other.corp.example"]}},
        ]
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda grant: str(grant["name"]),
)
limits = st.sampled_from(({}, {"maxAge": "5s"}, {"maxAge": "1m"}, {"algorithms": ["ES256", "RS256"]}))
values = st.one_of(
    st.sampled_from(TEXTS),
    st.integers(0, 2),
    st.booleans(),
    st.lists(st.sampled_from(TEXTS), max_size=2),
    st.lists(st.integers(0, 1), max_size=2),
    st.none(),
)
claims = st.fixed_dictionaries({}, optional={"x": values, "y": values})


def policy(name: str, chosen: list[dict[str, Any]], limit: dict[str, Any], given_: list[dict[str, Any]]) -> Policy:
    trusts = {"claims": chosen} | limit
    return Policy(compiled(trusts, given_, f"team-a/{name}"), {"oidc": trusts})


def _pair(
    *, first_is_wide: bool, wide: list[dict[str, Any]], more: list[dict[str, Any]], rest: tuple[Any, ...]
) -> tuple[Policy, Policy]:
    """Two policies, one of which has the other's rules and further ones, under limits and grants of any kind."""
    one_limit, other_limit, one_grants, other_grants = rest
    names = "ab" if first_is_wide else "ba"
    return policy(names[0], wide, one_limit, one_grants), policy(names[1], [*wide, *more], other_limit, other_grants)


single = st.builds(policy, st.just("a"), rules, limits, grants)
unrelated = st.tuples(single, st.builds(policy, st.just("b"), rules, limits, grants))
related = st.builds(
    _pair, first_is_wide=st.booleans(), wide=rules, more=rules, rest=st.tuples(limits, limits, grants, grants)
)
pairs = st.one_of(related, unrelated)


def trusts(policy: CompiledPolicy, token: dict[str, Any], algorithm: str, age: int) -> bool:
    fresh = policy.trust.max_age is None or age <= policy.trust.max_age
    return verdict(policy.trust, token) is Verdict.MATCH and algorithm in policy.trust.algorithms and fresh


@settings(max_examples=500)
@given(pairs, claims, st.sampled_from(("RS256", "ES256")), st.sampled_from((1, 30, 90)))
def test_who_is_trusted_by_the_narrower_is_trusted_by_the_wider(
    pair: tuple[Policy, Policy], token: dict[str, Any], algorithm: str, age: int
) -> None:
    for narrow, wide in (pair, pair[::-1]):
        if implies(narrow, wide):
            event("implied")
            assert trusts(wide.compiled, token, algorithm, age) or not trusts(narrow.compiled, token, algorithm, age)


requests = st.builds(
    GrantRequest,
    audiences=st.sampled_from(((), (BILLING,), ("https://other.corp.example",))),
    scopes=st.sampled_from(((), ("r",), ("w",))),
)


@settings(max_examples=500)
@given(pairs, claims, requests)
def test_a_shadowed_policy_never_decides_and_an_ambiguous_pair_refuses(
    pair: tuple[Policy, Policy], token: dict[str, Any], request: GrantRequest
) -> None:
    index = PolicyIndex([member.compiled for member in pair])
    decision = decide(index, subject(token), request, SETTINGS, NOW)
    for found, _, shadowed in overlaps(pair):
        event("shadowed" if shadowed else "ambiguous")
        if shadowed:
            assert not (isinstance(decision, Granted) and decision.policy is found)
        elif request == GrantRequest() and verdict(found.trust, subject(token).claims) is Verdict.MATCH:
            assert not isinstance(decision, Granted)


@given(single, claims)
def test_what_contradicts_itself_matches_nobody(member: Policy, token: dict[str, Any]) -> None:
    if contradiction(member.compiled) is not None:
        event("contradiction")
        assert verdict(member.compiled.trust, token) is not Verdict.MATCH


@settings(max_examples=300)
@given(st.lists(st.tuples(rules, limits, grants), min_size=2, max_size=6))
def test_looking_near_by_finds_what_looking_at_every_pair_finds(specs: list[Any]) -> None:
    members = [policy(f"p{number}", *spec) for number, spec in enumerate(specs)]
    with pytest.MonkeyPatch.context() as everywhere:
        everywhere.setattr(overlap, "_nearby", lambda _policy, _index, everybody: everybody)
        wanted = list(overlaps(members))
    event(f"{len(wanted)} found")
    assert list(overlaps(members)) == wanted


@pytest.mark.parametrize(
    "rule",
    [{"exactInteger": 0}, {"exactBoolean": True}, {"exactDecimal": "0.5"}, {"exact": "a"}, {"glob": "a*"}],
    ids=lambda rule: next(iter(rule)),
)
@pytest.mark.parametrize("match", ["Any", "All"])
def test_a_rule_about_one_value_and_one_about_a_list_never_imply_each_other(rule: dict[str, Any], match: str) -> None:
    one = policy("a", [{"claim": "x", **rule}], {}, [{"name": "billing", "jwt": {"audiences": [BILLING]}}])
    several = policy(
        "b", [{"claim": "x", **rule, "match": match}], {}, [{"name": "billing", "jwt": {"audiences": [BILLING]}}]
    )
    assert not implies(one, several)
    assert not implies(several, one)
