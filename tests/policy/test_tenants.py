"""Two tenants of one provider: whatever one of them writes, the other's callers get what they got before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from fakes import trust
from fakes.trust import ANYTHING, BILLING, GITHUB, NOW, compiled, record, settings, spec, subject
from tailseal.domain.policy.compile import accepted
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.decide import Granted, GrantRequest, Refused, decide
from tailseal.domain.policy.index import PolicyIndex

KEY = {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
EVIL = "https://evil.example"
VICTIM = {"issuer": GITHUB, "claims": [{"claim": "repository_owner_id", "exact": "65"}]}
TOKEN = {"iss": GITHUB, "sub": "repo:octo@65/app@74:ref:refs/heads/main", "repository_owner_id": "65"}
PER_TENANT = settings(
    bounds=(
        ANYTHING.model_copy(update={"name": "a", "namespaces": ("team-a",), "audiences": (BILLING,)}),
        ANYTHING.model_copy(update={"name": "evil", "namespaces": ("evil",), "audiences": (f"{EVIL}/**", EVIL)}),
    )
)


def outcome(policies: list[CompiledPolicy], request: GrantRequest, token: dict[str, Any] = TOKEN) -> object:
    """What a caller of the victim gets, but for what only the audit line says."""
    decision = decide(PolicyIndex(policies), subject(token), request, PER_TENANT, NOW)
    if isinstance(decision, Granted):
        return decision.policy.id, decision.grant.name, decision.scopes, decision.audience, decision.ttl
    return decision.reason


def policy_of(
    namespace: str,
    oidc: dict[str, Any],
    grants: list[dict[str, Any]],
    **members: Any,  # noqa: ANN401
) -> CompiledPolicy | None:
    """What the provider makes of it: a policy, or None if it is refused."""
    found = accepted(record(spec(oidc, grants, **members), f"{namespace}/deploy"), PER_TENANT)
    return found if isinstance(found, CompiledPolicy) else None


OWN = compiled(VICTIM, [{"name": "g", "jwt": {"audiences": [BILLING], "scopes": ["read"]}}], under=PER_TENANT)

SOURCES = st.sampled_from(
    [
        {},
        {"keys": {"jwks": {"keys": [KEY], "expiryTime": "2099-01-01T00:00:00Z"}}},
        {"keys": {"jwksURI": f"{EVIL}/jwks"}},
        {"keys": {"discovery": {"discoveryURL": f"{EVIL}/d"}}},
        {"caBundle": CA},
    ]
)
RULES = st.sampled_from(
    [
        {"claims": [{"claim": "repository_owner_id", "exact": "65"}]},
        {"claims": [{"claim": "repository_owner_id", "oneOf": ["65", "66"]}]},
        {"claims": [{"claim": "repository_owner_id", "exact": "65"}, {"claim": "sub", "regex": "(a+)+$"}]},
        {"subject": {"glob": "repo:octo@65/**"}},
    ]
)
GRANTS = st.lists(
    st.sampled_from(
        [
            {"jwt": {"audiences": [EVIL], "scopes": ["read", "write"], "ttl": "24h"}},
            {"jwt": {"audiences": [BILLING], "scopes": ["read", "write"], "ttl": "24h"}},
            {"jwt": {"audiences": [trust.OURS]}},
            {"tailscale": {"upstream": "prod", "scopes": ["all"], "tags": ["tag:prod"]}},
        ]
    ),
    min_size=1,
    max_size=3,
).map(lambda grants: [{"name": f"g{number}"} | grant for number, grant in enumerate(grants)])
ATTACKS = st.builds(
    lambda source, rules, limits, grants, enforcement: policy_of(
        "evil", {"issuer": GITHUB} | source | rules | limits, grants, enforcement=enforcement
    ),
    SOURCES,
    RULES,
    st.sampled_from([{}, {"maxAge": "1s"}, {"algorithms": ["ES512"]}, {"audiences": [EVIL]}]),
    GRANTS,
    st.sampled_from(["Enforce", "Audit"]),
)
REQUESTS = st.sampled_from(
    [
        GrantRequest(audiences=(BILLING,)),
        GrantRequest(resources=(BILLING,), scopes=("read",)),
        GrantRequest(audiences=(BILLING,), scopes=("write",)),
        GrantRequest(policy="team-a/deploy"),
        GrantRequest(policy="team-a/deploy", scopes=("write",)),
        GrantRequest(audiences=(BILLING,), grant="g"),
    ]
)


@hypothesis(max_examples=400, deadline=None)
@given(ATTACKS, REQUESTS)
def test_whatever_a_tenant_writes_the_others_callers_get_what_they_got_before(
    attack: CompiledPolicy | None, request: GrantRequest
) -> None:
    policies = [OWN] if attack is None else [OWN, attack]
    alone, together = outcome([OWN], request), outcome(policies, request)
    if isinstance(alone, tuple):
        assert together == alone
    else:
        assert not isinstance(together, tuple)


@hypothesis(max_examples=200, deadline=None)
@given(ATTACKS)
def test_no_tenants_policy_ever_grants_beyond_its_bounds(attack: CompiledPolicy | None) -> None:
    if attack is None:
        return
    for target in (BILLING, trust.OURS, trust.STS):
        decision = decide(PolicyIndex([attack]), subject(TOKEN), GrantRequest(audiences=(target,)), PER_TENANT, NOW)
        assert isinstance(decision, Refused)


def test_without_a_target_a_second_tenant_can_cause_a_question_but_never_another_token() -> None:
    attack = policy_of("evil", VICTIM, [{"name": "g", "jwt": {"audiences": [EVIL]}}])
    assert attack is not None
    assert outcome([OWN, attack], GrantRequest()) == "AmbiguousGrant"
    assert outcome([OWN, attack], GrantRequest(policy="team-a/deploy")) == outcome([OWN], GrantRequest())


@pytest.mark.parametrize("claim", ["repository_owner", "repository", "actor"])
def test_a_name_that_passes_on_to_somebody_else_pins_nothing(claim: str) -> None:
    grants = [{"name": "g", "jwt": {"audiences": [EVIL]}}]
    assert policy_of("evil", {"issuer": GITHUB, "claims": [{"claim": claim, "exact": "octo"}]}, grants) is None


def test_a_policy_of_the_same_name_in_another_namespace_is_another_policy() -> None:
    attack = policy_of("evil", VICTIM, [{"name": "g", "jwt": {"audiences": [EVIL]}}])
    assert attack is not None
    decision = decide(PolicyIndex([OWN, attack]), subject(TOKEN), GrantRequest(policy="evil/deploy"), PER_TENANT, NOW)
    assert isinstance(decision, Granted)
    assert (decision.policy.id, decision.audience) == ("evil/deploy", (EVIL,))


def test_a_callers_question_about_a_foreign_policy_tells_nothing_about_it() -> None:
    stranger = TOKEN | {"repository_owner_id": "99", "sub": "repo:x@99/y@1:ref:refs/heads/main"}
    there = outcome([OWN], GrantRequest(policy="team-a/deploy"), stranger)
    absent = outcome([OWN], GrantRequest(policy="team-a/nothing"), stranger)
    assert there == absent == "NoPolicyMatches"
    picky = compiled(VICTIM | {"audiences": ["https://picky.example"]}, policy="team-a/picky", under=PER_TENANT)
    assert outcome([OWN, picky], GrantRequest(policy="team-a/picky"), TOKEN) == "NoPolicyMatches"
