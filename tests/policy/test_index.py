"""The compiled index against a naive reader of the manifests, over random policies, conditions and tokens."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import trust
from fakes.trust import NOW, SETTINGS, compiled, subject, verdict
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.decide import Granted, GrantRequest, decide
from tailseal.domain.policy.index import PolicyIndex

VALUES = st.sampled_from(["a", "b", "1"])
NUMBERS = st.sampled_from([0, 1])
AUDIENCES = [trust.STS, "https://second.example"]
ISSUERS = [trust.ISSUER, trust.ISSUER, "https://other.example"]
PATTERNS = {"glob": ["a", "a*", "*b", "**"], "regex": ["a|b", "a.?", "[0-9]"]}
PLACES = st.sampled_from([{"claim": "x"}, {"claim": "x"}, {"path": ["o", "p"]}, {"path": ["o", "q"]}, {"path": ["x"]}])
MATCHERS = st.one_of(
    VALUES.map(lambda value: {"exact": value}),
    NUMBERS.map(lambda value: {"exactInteger": value}),
    st.booleans().map(lambda value: {"exactBoolean": value}),
    st.lists(VALUES, min_size=1, max_size=3, unique=True).map(lambda values: {"oneOf": values}),
    st.sampled_from(PATTERNS["glob"]).map(lambda value: {"glob": value}),
    st.sampled_from(PATTERNS["regex"]).map(lambda value: {"regex": value}),
)
QUANTIFIERS = st.sampled_from([{}, {}, {"match": "Any"}, {"match": "All"}])
RULES = st.one_of(
    st.builds(lambda place, matcher, match: place | matcher | match, PLACES, MATCHERS, QUANTIFIERS),
    st.builds(lambda place, wanted: place | {"present": wanted}, PLACES, st.booleans()),
)
CONDITIONS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "claims.x == 'a'": lambda claims: claims.get("x") == "a",
    "claims.x != 'a'": lambda claims: claims.get("x") not in (None, "a"),
    "!(claims.x == 'a')": lambda claims: claims.get("x") not in (None, "a"),
    "claims.x == 1": lambda claims: type(claims.get("x")) in {int, float} and claims["x"] == 1,
    "claims.x == true": lambda claims: claims.get("x") is True,
    "has(claims.x) && !has(claims.o)": lambda claims: claims.get("x") is not None and claims.get("o") is None,
    "claims.o.p == 'b'": lambda claims: isinstance(claims.get("o"), dict) and claims["o"].get("p") == "b",
    "claims.sub.startsWith('a')": lambda claims: claims["sub"].startswith("a"),
    "claims.x == 'a' || claims.sub == 'b'": lambda claims: claims.get("x") == "a" or claims["sub"] == "b",
    "claims.x.exists(v, v == 'a')": lambda claims: (
        isinstance(claims.get("x"), list | dict) and any(value == "a" for value in claims["x"])
    ),
    "claims.aud.size() > 1": lambda claims: len(claims["aud"]) > 1,
}
"""Conditions with what they mean in plain words; whatever fails is no yes."""
TRUST = st.fixed_dictionaries(
    {"issuer": st.sampled_from(ISSUERS), "claims": st.lists(RULES, max_size=2)},
    optional={
        "audiences": st.lists(st.sampled_from(AUDIENCES), min_size=1, max_size=2, unique=True),
        "subject": st.sampled_from([{"exact": "a"}, {"exact": "b"}, {"glob": "a*"}]),
        "condition": st.sampled_from(sorted(CONDITIONS)),
    },
)
SCALARS = st.one_of(VALUES, NUMBERS, st.booleans(), st.none(), st.just(1.0))
OBJECTS = st.dictionaries(st.sampled_from("pq"), SCALARS, max_size=2)
CLAIM = st.one_of(SCALARS, SCALARS, st.lists(SCALARS, max_size=3), OBJECTS)
TOKENS = st.fixed_dictionaries(
    {
        "iss": st.sampled_from(ISSUERS),
        "sub": VALUES,
        "aud": st.lists(st.sampled_from([*AUDIENCES, "https://nobody.example"]), min_size=1, max_size=3),
    },
    optional={"x": CLAIM, "o": st.one_of(CLAIM, OBJECTS, OBJECTS)},
)
GRANTS = [{"name": "g", "jwt": {"audiences": [trust.BILLING]}}]


def obeying(oidc: dict[str, Any]) -> dict[str, Any]:
    """Claims that were made to fulfil the manifest, as far as its rules do not contradict each other."""
    wanted = {"glob": "ab", "regex": "a", "present": "a"}
    claims: dict[str, Any] = {"iss": oidc["issuer"], "sub": oidc.get("subject", {}).get("exact", "a")}
    for rule in oidc["claims"]:
        member, value = next((name, rule[name]) for name in rule if name not in {"claim", "path", "match"})
        found = value[-1] if member == "oneOf" else wanted.get(member, value)
        inner: dict[str, Any] = claims
        *outer, last = rule.get("path", [rule.get("claim")])
        for step in outer:
            inner = inner.setdefault(step, {})
        if rule.get("present", True):
            inner[last] = [found] if "match" in rule else found
    return claims | {"aud": [oidc.get("audiences", [trust.STS])[-1]]}


def naive(oidc: dict[str, Any], claims: dict[str, Any]) -> bool:
    """Whether the manifest trusts the token, read rule by rule without any preparation."""
    rules = list(oidc["claims"]) + ([{"claim": "sub"} | oidc["subject"]] if "subject" in oidc else [])
    audiences = oidc.get("audiences", [trust.OURS, trust.STS])
    return (
        oidc["issuer"] == claims["iss"]
        and bool(set(audiences) & set(claims["aud"]))
        and all(_rule_holds(rule, claims) for rule in rules)
    )


def _condition_holds(oidc: dict[str, Any], claims: dict[str, Any]) -> bool:
    return "condition" not in oidc or CONDITIONS[oidc["condition"]](claims)


def _rule_holds(rule: dict[str, Any], claims: Any) -> bool:  # noqa: ANN401
    found = claims
    for step in rule.get("path", [rule.get("claim")]):
        if not isinstance(found, dict):
            return False
        found = found.get(step)
        if found is None:
            break
    if "present" in rule:
        return (found is not None) is rule["present"]
    if "match" in rule:
        holds = [_value_holds(rule, value) for value in found] if isinstance(found, list) else []
        return (any if rule["match"] == "Any" else all)(holds) and bool(holds)
    return _value_holds(rule, found)


def _value_holds(rule: dict[str, Any], found: Any) -> bool:  # noqa: ANN401
    if "exactInteger" in rule:
        return isinstance(found, int) and not isinstance(found, bool) and found == rule["exactInteger"]
    if "exactBoolean" in rule:
        return isinstance(found, bool) and found == rule["exactBoolean"]
    if not isinstance(found, str):
        return False
    if "glob" in rule:
        expression = re.escape(rule["glob"]).replace(r"\*\*", ".*").replace(r"\*", "[^/:@]*")
        return re.fullmatch(expression, found) is not None
    if "regex" in rule:
        return re.fullmatch(rule["regex"], found) is not None
    return found in rule.get("oneOf", [rule.get("exact")])


@settings(max_examples=600, deadline=None)
@given(st.lists(TRUST, max_size=8), st.lists(TOKENS, max_size=2))
def test_the_index_finds_exactly_the_policies_that_a_naive_reader_finds(
    trusts: list[dict[str, Any]], tokens: list[dict[str, Any]]
) -> None:
    policies = [compiled(oidc, GRANTS, f"ns-{number % 3}/p{number}") for number, oidc in enumerate(trusts)]
    index = PolicyIndex(reversed(policies))
    for claims in [*tokens, *map(obeying, trusts)]:
        token = subject(claims)
        expected = sorted(
            (policy.namespace, policy.name)
            for policy, oidc in zip(policies, trusts, strict=True)
            if naive(oidc, claims)
        )
        candidates = index.candidates(token.source, token.audiences, claims)
        matching = [policy for policy in candidates if verdict(policy.trust, claims).value == "match"]
        assert [(policy.namespace, policy.name) for policy in matching] == expected
        holding = {policy.id for policy, oidc in zip(policies, trusts, strict=True) if _condition_holds(oidc, claims)}
        expected = [pair for pair in expected if "/".join(pair) in holding]
        decision = decide(index, token, GrantRequest(), SETTINGS, NOW)
        assert decision == decide(index, token, GrantRequest(), SETTINGS, NOW, trace=[])
        assert isinstance(decision, Granted) == bool(expected)
        if isinstance(decision, Granted):
            assert (decision.policy.namespace, decision.policy.name) == expected[0]


def _owners(count: int) -> list[CompiledPolicy]:
    return [
        compiled(
            {"claims": [{"claim": "team", "exact": "x"}, {"claim": "owner", "exact": str(number)}]},
            GRANTS,
            f"n/p{number}",
        )
        for number in range(count)
    ]


def test_among_many_policies_of_one_issuer_and_audience_the_most_selective_claim_leaves_one() -> None:
    index = PolicyIndex(_owners(300))
    token = subject({"team": "x", "owner": "42"})
    assert [policy.id for policy in index.candidates(token.source, token.audiences, token.claims)] == ["n/p42"]
    assert len(index) == 300


def test_values_of_other_types_find_nothing_and_break_nothing() -> None:
    index = PolicyIndex(_owners(3))
    for value in (1, True, 1.0, None, ["1"], {"a": 1}):
        token = subject({"team": "x", "owner": value})
        assert index.candidates(token.source, token.audiences, token.claims) == ()


def test_a_policy_stands_once_among_the_candidates_however_many_audiences_lead_to_it() -> None:
    index = PolicyIndex([compiled()])
    token = subject({"aud": [trust.OURS, trust.STS, trust.STS]})
    assert len(index.candidates(token.source, token.audiences, token.claims)) == 1


def test_an_issuer_that_no_policy_names_has_no_key_source_and_so_causes_no_fetch() -> None:
    index = PolicyIndex([compiled()])
    assert len(index.issuers(trust.ISSUER)) == 1
    for issuer in (trust.ISSUER + "/", trust.ISSUER.upper(), "", "https://unknown.example"):
        assert index.issuers(issuer) == ()
    assert PolicyIndex().issuers(trust.ISSUER) == ()


def test_the_issuers_own_keys_are_asked_before_those_that_policies_bring_along() -> None:
    elsewhere = compiled({"keys": {"jwksURI": "https://evil.example/jwks"}}, policy="a-evil/first")
    own_ca = compiled({"caBundle": "-----BEGIN CERTIFICATE-----\nMIIB\n"}, policy="b/second")
    plain = compiled(policy="c/third")
    sources = PolicyIndex([elsewhere, own_ca, plain]).issuers(trust.ISSUER)
    assert sources == (plain.trust.source, elsewhere.trust.source, own_ca.trust.source)
