"""Two tenants of one provider: whatever one of them writes, the other's callers get what they got before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from fakes import trust
from fakes.trust import ANYTHING, BILLING, GITHUB, NOW, compiled, record, settings, spec, subject
from tailseal.api.reasons import Reason
from tailseal.domain.bundle.model import Bound
from tailseal.domain.policy.compile import accepted
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.decide import Granted, GrantRequest, Refused, decide
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.grants import AUTH_KEY
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


NARROW = settings(
    bounds=(
        Bound(
            name="b",
            namespaces=("evil",),
            upstreams=("lab",),
            tailscale_scopes=("dns:read",),
            tailscale_tags=("tag:evil",),
            issuers=(GITHUB, "https://ci.evil.example"),
            key_sources=("Discovery",),
            audiences=(EVIL,),
            max_ttl=600,
            max_policies=1,
        ),
        ANYTHING.model_copy(update={"name": "a", "namespaces": ("team-a",)}),
    )
)
PINNED = {"issuer": GITHUB, "claims": [{"claim": "repository_owner_id", "exact": "66"}]}


def _jwt(**members: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    return [{"name": "g", "jwt": {"audiences": [EVIL]} | members}]


def _api(**members: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    return [{"name": "g", "tailscale": {"upstream": "lab", "scopes": ["dns:read"]} | members}]


def _key(**members: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    return [{"name": "g", "tailscaleAuthKey": {"upstream": "lab", "tags": ["tag:evil"]} | members}]


def _claim(name: str) -> list[dict[str, Any]]:
    return _jwt(claims=[{"name": name, "string": "'victim'"}])


FIELDS = [
    ("somebody else's keys for a shared issuer", PINNED | {"keys": {"jwks": {"keys": [KEY]}}}, _jwt(), "keys"),
    ("keys from a place of his own", PINNED | {"keys": {"jwksURI": f"{EVIL}/jwks"}}, _jwt(), "keys"),
    ("metadata from his own place", PINNED | {"keys": {"discovery": {"discoveryURL": f"{EVIL}/d"}}}, _jwt(), "keys"),
    ("an issuer that nobody opened", {"issuer": "https://other.example"}, _jwt(), "issuer"),
    ("tokens that are for somebody else", PINNED | {"audiences": ["https://vault.example"]}, _jwt(), "audiences"),
    ("all tenants of a shared issuer", {"issuer": GITHUB}, _jwt(), "claims Unpinned"),
    ("a name for an id", PINNED | {"claims": [{"claim": "repository", "exact": "a/b"}]}, _jwt(), "claims Unpinned"),
    ("a pin in CEL only", {"issuer": GITHUB, "condition": "claims.repository == 'a/b'"}, _jwt(), "claims Unpinned"),
    ("our own issuer", {"issuer": trust.OURS}, _jwt(), "issuer Invalid"),
    ("our own issuer, written otherwise", {"issuer": "https://IDP.corp.example"}, _jwt(), "issuer Invalid"),
    ("another tenant's service", PINNED, _jwt(audiences=[BILLING]), "jwt.audiences[0]"),
    ("our issuer as audience", PINNED, _jwt(audiences=[trust.OURS]), "jwt.audiences[0] Reserved"),
    ("our token service as audience", PINNED, _jwt(audiences=[trust.STS]), "jwt.audiences[0] Reserved"),
    ("our token endpoint", PINNED, _jwt(audiences=[f"{trust.STS}/token"]), "jwt.audiences[0] Reserved"),
    ("an upstream's API", PINNED, _jwt(audiences=[trust.TAILSCALE]), "jwt.audiences[0] Reserved"),
    ("a federation audience", PINNED, _jwt(audiences=["api.tailscale.com/T1"]), "jwt.audiences[0] Reserved"),
    ("our assertions' prefix", PINNED, _jwt(audiences=["tailseal:upstream:x"]), "jwt.audiences[0] Reserved"),
    ("a longer life", PINNED, _jwt(ttl="1h"), "jwt.ttl"),
    ("an issuer in a claim", PINNED, _claim("iss"), "jwt.claims[0].name Invalid"),
    ("a subject in a claim", PINNED, _claim("sub"), "jwt.claims[0].name Invalid"),
    ("an actor in a claim", PINNED, _claim("act"), "jwt.claims[0].name Invalid"),
    ("groups", PINNED, _claim("groups"), "jwt.claims[0].name"),
    ("a mail address", PINNED, _claim("email"), "jwt.claims[0].name"),
    ("a moment of login", PINNED, _claim("auth_time"), "jwt.claims[0].name"),
    ("a person as subject", PINNED, _jwt(subject="'1'", subjectPrefix="userid:"), "jwt.subjectPrefix Invalid"),
    ("another policy as subject", PINNED, _jwt(subject="'x'", subjectPrefix="policy:a/"), "jwt.subjectPrefix Invalid"),
    ("any subject", PINNED, _jwt(subject="'x'", subjectPrefix="spiffe://corp/"), "jwt.subjectPrefix"),
    ("another tenant's upstream", PINNED, _api(upstream="prod"), "tailscale.upstream"),
    ("a wider scope", PINNED, _api(scopes=["dns"]), "tailscale.scopes[0]"),
    ("all scopes", PINNED, _api(scopes=["all"]), "tailscale.scopes[0]"),
    ("all to read", PINNED, _api(scopes=["all:read"]), "tailscale.scopes[0]"),
    ("another tenant's tag", PINNED, _api(tags=["tag:prod"]), "tailscale.tags[0]"),
    ("an upstream's lifetime", PINNED, _api(), "tailscale"),
    ("a key for another tag", PINNED, _key(tags=["tag:prod"]), "tailscaleAuthKey.tags[0]"),
    ("a key of another upstream", PINNED, _key(upstream="prod"), "tailscaleAuthKey.upstream"),
    ("a key for longer", PINNED, _key(expiry="24h"), "tailscaleAuthKey.expiry"),
    ("a node that stays", PINNED, _key(ephemeral=False), "tailscaleAuthKey.ephemeral"),
]  # fmt: skip
"""What a tenant tries, with which trust and grants, and where it is refused (for `ExceedsBounds`, if not said)."""

REASONS = {
    "": Reason.EXCEEDS_BOUNDS,
    "Invalid": Reason.INVALID_SPEC,
    "Reserved": Reason.RESERVED_AUDIENCE,
    "Unpinned": Reason.TENANT_NOT_PINNED,
}


@pytest.mark.parametrize(("oidc", "grants", "where"), [row[1:] for row in FIELDS], ids=[row[0] for row in FIELDS])
def test_each_field_that_reaches_for_more_is_refused_at_its_place_and_for_the_right_reason(
    oidc: dict[str, Any], grants: list[dict[str, Any]], where: str
) -> None:
    path, _, reason = where.partition(" ")
    place = "spec.from.oidc" if path in {"issuer", "keys", "audiences", "claims"} else "spec.grants[0]"
    wanted = (f"{place}.{path}", REASONS[reason].value)
    found = accepted(record(spec(oidc, grants), "evil/deploy"), NARROW)
    assert not isinstance(found, CompiledPolicy)
    assert wanted in {(finding.path, finding.reason.value) for finding in found}


@pytest.mark.parametrize(("oidc", "grants", "where"), [row[1:] for row in FIELDS], ids=[row[0] for row in FIELDS])
def test_what_was_allowed_once_is_refused_at_the_very_next_decision_after_bounds_forbid_it(
    oidc: dict[str, Any], grants: list[dict[str, Any]], where: str
) -> None:
    wide = settings(
        bounds=(ANYTHING.model_copy(update={"allow_unpinned": True, "jwt_claims": ("groups", "email", "auth_time"),
                                            "jwt_subject_prefixes": ("**",), "upstream_lifetime": "Accept"}),)
    )  # fmt: skip
    policy = accepted(record(spec(oidc, grants), "evil/deploy"), wide)
    if not isinstance(policy, CompiledPolicy):
        assert where.endswith(("Invalid", "Reserved")), "only what no bounds can ever allow"
        return
    claims = {"iss": policy.trust.source.issuer, "aud": min(policy.trust.audiences), "sub": "x"}
    token = subject(claims | {"repository_owner_id": "66", "repository": "a/b"}, source=policy.trust.source)
    kind = AUTH_KEY if "tailscaleAuthKey" in grants[0] else None
    request = GrantRequest(requested_token_type=kind)
    assert isinstance(decide(PolicyIndex([policy]), token, request, wide, NOW), Granted)
    after = decide(PolicyIndex([policy]), token, request, NARROW, NOW)
    assert after == Refused(Denial.EXCEEDS_BOUNDS, "evil/deploy")


def test_what_stays_within_is_accepted() -> None:
    for grants in (_jwt(), _jwt(ttl="10m", subject="claims.sub", claims=[{"name": "team", "string": "'x'"}]), _key()):
        assert isinstance(accepted(record(spec(PINNED, grants), "evil/deploy"), NARROW), CompiledPolicy)


def test_a_namespace_that_no_rule_names_can_attach_nothing() -> None:
    found = accepted(record(spec(PINNED, _jwt()), "nobody/deploy"), NARROW)
    assert not isinstance(found, CompiledPolicy)
    assert {finding.reason.value for finding in found} == {"ExceedsBounds"}


@pytest.mark.parametrize("text", ["true", "claims.missing == 1", "claims.sub == 'x'"])
def test_no_tenants_expressions_take_a_decision_from_another(text: str) -> None:
    """Shared audience, more conditions than a request may cost, all before the victim's by name."""
    attacks = [compiled(VICTIM | {"condition": text}, OWN_GRANT, f"a-evil/p{number}") for number in range(12)]
    victim = compiled(VICTIM | {"condition": "claims.repository_owner_id == '65'"}, OWN_GRANT)
    request = GrantRequest(audiences=(BILLING,), policy=None)
    decision = decide(PolicyIndex([*attacks, victim]), subject(TOKEN), request, trust.SETTINGS, NOW)
    assert isinstance(decision, Granted)
    assert decision.policy.id == ("a-evil/p0" if text == "true" else "team-a/deploy")
    assert decision.exhausted == ("a-evil",)


OWN_GRANT = [{"name": "g", "jwt": {"audiences": [BILLING], "scopes": ["read"]}}]
