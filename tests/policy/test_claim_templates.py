"""Claims and subjects that policies give by expressions: of which kind, within which bounds, never somebody else's."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.expressions import TEAM, ask, minting, refused
from fakes.trust import BILLING, NOW, SETTINGS, compiled, record, settings, spec, subject
from tailseal.api.reasons import Reason
from tailseal.domain.bundle.model import Bound
from tailseal.domain.policy.compile import accepted
from tailseal.domain.policy.compiled import CompiledPolicy, Given
from tailseal.domain.policy.decide import Granted, GrantRequest, Refused, decide
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.explaining.explain import explain
from tailseal.domain.policy.index import PolicyIndex


def test_templates_give_claims_and_the_rest_of_the_subject() -> None:
    claims = [TEAM, {"name": "run", "string": "'run-' + string(claims.run)"}]
    decision = ask(minting(claims=claims, subject="claims.team"), claims={"team": "payments", "run": 7})
    assert isinstance(decision, Granted)
    assert decision.given.claims == (("team", "payments"), ("run", "run-7"))
    assert decision.given.subject == "policy:team-a/deploy:payments"
    plain = ask(minting())
    assert isinstance(plain, Granted)
    assert plain.given == Given()


@pytest.mark.parametrize("team", [None, 7, True, ["x"], {"a": "x"}, "x" * 513, "\ud800", 2**64])
def test_a_template_without_a_text_refuses_the_grant(team: object) -> None:
    assert ask(minting(claims=[TEAM]), claims={"team": team}) == Refused(Denial.CLAIM_ERROR, "team-a/deploy")
    assert ask(minting(subject="claims.team"), claims={"team": team}) == Refused(Denial.CLAIM_ERROR, "team-a/deploy")


TYPED: dict[str, Any] = {
    "text": "a",
    "texts": ["a", "b"],
    "none": [],
    "n": 7,
    "yes": True,
    "odd": ["a", 1],
    "hole": ["a", None],
    "many": ["a"] * 65,
    "long": ["a" * 513],
    "much": ["a" * 500] * 9,
    "far": 2**53,
    "half": 1.0,
    "o": {"a": "b"},
}


@pytest.mark.parametrize(
    ("member", "gives"),
    [
        ("strings", {"texts": ("a", "b"), "none": ()}),
        ("integer", {"n": 7}),
        ("boolean", {"yes": True}),
        ("string", {"text": "a"}),
    ],
)
def test_a_template_gives_a_value_of_the_kind_that_is_said_or_nothing_is_granted(
    member: str, gives: dict[str, Any]
) -> None:
    for name in [*TYPED, "missing"]:
        found = ask(minting(claims=[{"name": "c", member: f"claims.{name}"}]), claims=TYPED)
        if name in gives:
            assert isinstance(found, Granted)
            assert found.given.claims == (("c", gives[name]),)
            assert type(found.given.claims[0][1]) is type(gives[name])
        else:
            assert found == Refused(Denial.CLAIM_ERROR, "team-a/deploy"), name


@pytest.mark.parametrize(
    ("member", "text"),
    [("strings", "'a'"), ("strings", "[1]"), ("integer", "1.0"), ("integer", "uint(1)"), ("boolean", "1")],
)
def test_a_template_that_can_only_give_another_kind_is_found_when_the_policy_is_accepted(
    member: str, text: str
) -> None:
    assert refused({"claims": [{"name": "c", member: text}]}) == {
        (f"spec.grants[0].jwt.claims[0].{member}", Reason.INVALID_SPEC)
    }


def test_a_list_of_groups_is_reserved_like_any_word_of_identity() -> None:
    jwt = {"claims": [{"name": "groups", "strings": "claims.groups_direct"}]}
    assert refused(jwt) == {("spec.grants[0].jwt.claims[0].name", Reason.EXCEEDS_BOUNDS)}
    assert refused(jwt, jwt_claims=("groups",)) == set()


@pytest.mark.parametrize("team", ["", "x" * 250, "a\nb", "ümläut", "a\x00"])
def test_a_subject_is_visible_ascii_of_at_most_255_characters(team: str) -> None:
    assert ask(minting(subject="claims.team"), claims={"team": team}) == Refused(Denial.CLAIM_ERROR, "team-a/deploy")


def test_a_grant_whose_template_fails_leaves_the_request_to_the_next_policy() -> None:
    decision = ask(minting("a/first", claims=[TEAM]), minting("b/second"), audiences=(BILLING,))
    assert isinstance(decision, Granted)
    assert decision.policy.id == "b/second"


@pytest.mark.parametrize(
    "name", ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "act", "cnf", "policy"]
)
def test_a_claim_that_verifiers_decide_by_is_ours_even_where_bounds_list_it(name: str) -> None:
    claims = [{"name": name, "string": "'x'"}]
    assert refused({"claims": claims}, jwt_claims=(name,)) == {
        ("spec.grants[0].jwt.claims[0].name", Reason.INVALID_SPEC)
    }


@pytest.mark.parametrize("name", ["Scope", "SUB", "\u017fub", "Act", "may_Act", "Client_ID"])
def test_a_name_that_careless_readers_take_for_one_of_ours_is_ours(name: str) -> None:
    # Go's encoding/json fills a member `scope` from any of these, by Unicode's folding
    assert refused({"claims": [{"name": name, "string": "'x'"}]}, jwt_claims=(name, "scope")) == {
        ("spec.grants[0].jwt.claims[0].name", Reason.INVALID_SPEC)
    }


@pytest.mark.parametrize("name", ["Groups", "EMAIL", "group\u017f", "role\u017f"])
def test_a_name_that_careless_readers_take_for_one_of_identity_is_listed_as_it_is_written(name: str) -> None:
    claims = {"claims": [{"name": name, "string": "'x'"}]}
    path = ("spec.grants[0].jwt.claims[0].name", Reason.EXCEEDS_BOUNDS)
    assert refused(claims, jwt_claims=("groups", "email", "roles")) == {path}
    assert refused(claims, jwt_claims=(name,)) == set()


@pytest.mark.parametrize("name", ["authorization_details", "_claim_names", "_claim_sources", "sub_id", "scp", "role"])
def test_what_else_services_decide_by_is_reserved(name: str) -> None:
    claims = {"claims": [{"name": name, "string": "'x'"}]}
    assert refused(claims) == {("spec.grants[0].jwt.claims[0].name", Reason.EXCEEDS_BOUNDS)}
    assert refused(claims, jwt_claims=(name,)) == set()


@pytest.mark.parametrize("name", ["groups", "email", "roles", "auth_time", "preferred_username", "node"])
def test_a_claim_that_speaks_of_identity_is_set_only_where_the_rule_that_allows_the_grant_lists_it(name: str) -> None:
    jwt = {"claims": [{"name": name, "string": "'x'"}]}
    path = ("spec.grants[0].jwt.claims[0].name", Reason.EXCEEDS_BOUNDS)
    assert refused(jwt) == {path}
    assert refused(jwt, jwt_claims=(name,)) == set()
    elsewhere = Bound(name="other", namespaces=("*",), jwt_claims=(name,))
    grants = [{"name": "g", "jwt": {"audiences": [BILLING]} | jwt}]
    wide = Bound(name="b", namespaces=("*",), issuers=("*",), key_sources=("*",), audiences=("*",))
    found = accepted(record(spec(grants=grants)), settings(bounds=(wide, elsewhere)))
    assert not isinstance(found, CompiledPolicy), "two rules never add up to one grant"


@pytest.mark.parametrize(
    ("prefix", "allowed", "reason"),
    [
        ("spiffe://corp/", (), Reason.EXCEEDS_BOUNDS),
        ("spiffe://corp/", ("spiffe://corp/",), None),
        ("spiffe://corp/a/", ("spiffe://corp/**",), None),
        ("spiffe://evil/", ("spiffe://corp/**",), Reason.EXCEEDS_BOUNDS),
        ("policy:other/name:", ("*",), Reason.INVALID_SPEC),
        ("userid:", ("*",), Reason.INVALID_SPEC),
        ("node:n", ("*",), Reason.INVALID_SPEC),
        ("NODE:", ("*",), Reason.INVALID_SPEC),
        ("u", ("*",), Reason.INVALID_SPEC),
        ("tailseal:upstream:", ("*",), Reason.INVALID_SPEC),
        ("system:serviceaccount:", ("*",), Reason.INVALID_SPEC),
    ],
)
def test_a_subject_begins_with_the_policys_name_or_as_bounds_allow_and_never_like_somebody_else(
    prefix: str, allowed: tuple[str, ...], reason: Reason | None
) -> None:
    found = refused({"subject": "claims.sub", "subjectPrefix": prefix}, jwt_subject_prefixes=allowed)
    assert found == (set() if reason is None else {("spec.grants[0].jwt.subjectPrefix", reason)})


def test_a_prefix_that_bounds_allow_stands_before_what_the_template_gives() -> None:
    under = settings(bounds=(SETTINGS.bounds[0].model_copy(update={"jwt_subject_prefixes": ("ci:*",)}),))
    grants = [{"name": "g", "jwt": {"audiences": [BILLING], "subject": "claims.sub", "subjectPrefix": "ci:"}}]
    policy = compiled(grants=grants, under=under)
    decision = decide(PolicyIndex([policy]), subject(), GrantRequest(), under, NOW)
    assert isinstance(decision, Granted)
    assert decision.given.subject == "ci:job-1"
    narrowed = decide(PolicyIndex([policy]), subject(), GrantRequest(), SETTINGS, NOW)
    assert narrowed == Refused(Denial.EXCEEDS_BOUNDS, "team-a/deploy")


def test_a_template_that_fails_is_explained_at_the_grants() -> None:
    account = explain(PolicyIndex([minting(claims=[TEAM])]), subject(), GrantRequest(), SETTINGS, NOW).accounts[0]
    (check,) = account.failures
    assert (check.field, check.outcome) == ("spec.grants", "ClaimError")
