"""Which grant a request gets, and the reason of every refusal."""

from __future__ import annotations

from typing import Any

import pytest

from fakes import trust
from fakes.trust import BILLING, JWT_GRANT, NOW, SETTINGS, STS, TAILSCALE, TAILSCALE_GRANT, compiled, settings, subject
from tailseal.domain.bundle.model import Bound
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.decide import Denial, Granted, GrantRequest, Refused, Step, decide
from tailseal.domain.policy.grants import ACCESS_TOKEN, AUTH_KEY, JWT
from tailseal.domain.policy.index import PolicyIndex

SHIPPING = "https://shipping.corp.example"
BOTH = (JWT_GRANT, TAILSCALE_GRANT)


def ask(
    *policies: CompiledPolicy,
    claims: dict[str, Any] | None = None,
    now: float = NOW,
    **request: Any,  # noqa: ANN401
) -> Granted | Refused:
    trace: list[Step] = []
    index = PolicyIndex(policies)
    decision = decide(index, subject(claims), GrantRequest(**request), SETTINGS, now)
    traced = decide(index, subject(claims), GrantRequest(**request), SETTINGS, now, trace=trace)
    assert traced == decision, "looking on must not change a decision"
    return decision


def granted(decision: Granted | Refused) -> tuple[str, str]:
    assert isinstance(decision, Granted), decision
    return decision.policy.id, decision.grant.name


@pytest.mark.parametrize(
    ("request_", "grant"),
    [
        ({"audiences": (BILLING,)}, "billing"),
        ({"resources": (BILLING,)}, "billing"),
        ({"audiences": (BILLING,), "resources": (BILLING,)}, "billing"),
        ({"resources": (TAILSCALE,)}, "api"),
        ({"requested_token_type": JWT}, "billing"),
        ({"audiences": (BILLING,), "requested_token_type": ACCESS_TOKEN}, "billing"),
        ({"grant": "api"}, "api"),
        ({"scopes": ("dns:read",)}, "api"),
        ({"tags": ("tag:ci",)}, "api"),
        ({"audiences": (BILLING,), "policy": "team-a/deploy"}, "billing"),
    ],
)
def test_a_request_chooses_its_grant_by_target_type_name_scope_or_tag(request_: dict[str, Any], grant: str) -> None:
    assert granted(ask(compiled(grants=BOTH), **request_)) == ("team-a/deploy", grant)


@pytest.mark.parametrize(
    ("request_", "reason", "error"),
    [
        ({}, Denial.AMBIGUOUS_GRANT, "invalid_target"),
        ({"requested_token_type": ACCESS_TOKEN}, Denial.AMBIGUOUS_GRANT, "invalid_target"),
        ({"audiences": (SHIPPING,)}, Denial.TARGET_NOT_GRANTED, "invalid_target"),
        ({"audiences": (BILLING + "/",)}, Denial.TARGET_NOT_GRANTED, "invalid_target"),
        ({"audiences": (BILLING, SHIPPING)}, Denial.TARGET_NOT_GRANTED, "invalid_target"),
        ({"audiences": (BILLING,), "resources": (TAILSCALE,)}, Denial.TARGET_NOT_GRANTED, "invalid_target"),
        ({"audiences": (BILLING,), "scopes": ("invoices.delete",)}, Denial.SCOPE_NOT_GRANTED, "invalid_scope"),
        (
            {"audiences": (BILLING,), "scopes": ("invoices.read", "dns:read")},
            Denial.SCOPE_NOT_GRANTED,
            "invalid_scope",
        ),
        ({"resources": (TAILSCALE,), "scopes": ("devices:core",)}, Denial.SCOPE_NOT_GRANTED, "invalid_scope"),
        ({"resources": (TAILSCALE,), "tags": ("tag:prod",)}, Denial.TAG_NOT_GRANTED, "invalid_scope"),
        ({"audiences": (BILLING,), "tags": ("tag:ci",)}, Denial.TAG_NOT_GRANTED, "invalid_scope"),
        ({"grant": "nothing"}, Denial.GRANT_NOT_FOUND, "invalid_target"),
        ({"requested_token_type": AUTH_KEY}, Denial.TOKEN_TYPE_NOT_GRANTED, "invalid_request"),
        ({"requested_token_type": "urn:x"}, Denial.TOKEN_TYPE_NOT_GRANTED, "invalid_request"),
        ({"policy": "team-b/deploy"}, Denial.NO_POLICY_MATCHES, "invalid_request"),
    ],
)
def test_what_no_grant_covers_is_refused_with_the_reason_of_the_nearest_miss(
    request_: dict[str, Any], reason: Denial, error: str
) -> None:
    refused = ask(compiled(grants=BOTH), **request_)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.reason.error) == (reason, error)


def test_a_request_narrows_scopes_tags_and_audiences_and_otherwise_gets_the_whole_grant() -> None:
    wide = {"name": "wide", "jwt": {"audiences": [BILLING, SHIPPING], "scopes": ["b", "a"], "ttl": "2m"}}
    everything = ask(compiled(grants=[wide]))
    assert isinstance(everything, Granted)
    assert (everything.audience, everything.scopes, everything.ttl) == ((BILLING, SHIPPING), ("b", "a"), 120)
    part = ask(compiled(grants=[wide]), audiences=(SHIPPING,), scopes=("a",))
    assert isinstance(part, Granted)
    assert (part.audience, part.scopes) == ((SHIPPING,), ("a",))
    api = ask(compiled(grants=[TAILSCALE_GRANT]), tags=("tag:test",))
    assert isinstance(api, Granted)
    assert (api.tags, api.scopes, api.audience) == (("tag:test",), ("devices:core:read", "dns:read"), ())


@pytest.mark.parametrize(
    ("oidc", "claims", "now", "reason"),
    [
        ({}, {"aud": "https://other.example"}, NOW, Denial.AUDIENCE_NOT_TRUSTED),
        ({}, {"aud": []}, NOW, Denial.AUDIENCE_NOT_TRUSTED),
        ({"audiences": ["x"]}, {}, NOW, Denial.AUDIENCE_NOT_TRUSTED),
        ({"subject": {"exact": "job-2"}}, {}, NOW, Denial.NO_POLICY_MATCHES),
        ({"claims": [{"claim": "a", "exact": "1"}]}, {}, NOW, Denial.NO_POLICY_MATCHES),
        ({"algorithms": ["ES256"]}, {}, NOW, Denial.ALGORITHM_NOT_ALLOWED),
        ({"maxAge": "1m"}, {"iat": int(NOW) - 121}, NOW, Denial.TOKEN_TOO_OLD),
        ({"maxAge": "1m"}, {"iat": None}, NOW, Denial.TOKEN_TOO_OLD),
        ({"maxAge": "1m"}, {"iat": str(int(NOW))}, NOW, Denial.TOKEN_TOO_OLD),
        ({"maxAge": "1m"}, {"iat": True}, NOW, Denial.TOKEN_TOO_OLD),
    ],
)
def test_a_token_that_a_policy_does_not_trust_is_refused_as_an_invalid_request(
    oidc: dict[str, Any], claims: dict[str, Any], now: float, reason: Denial
) -> None:
    refused = ask(compiled(oidc), claims=claims, now=now)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.reason.error) == (reason, "invalid_request")


def test_max_age_counts_from_iat_with_the_clock_skew_of_the_provider() -> None:
    policy = compiled({"maxAge": "1m"})
    assert granted(ask(policy, claims={"iat": int(NOW) - 120}))
    assert granted(ask(compiled(), claims={"iat": 1}))


def test_inline_keys_stop_counting_at_their_expiry_for_the_policy_that_says_so_and_only_for_it() -> None:
    key = {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    soon = compiled({"keys": {"jwks": {"keys": [key], "expiryTime": "2027-01-15T08:00:00Z"}}}, policy="a/soon")
    late = compiled({"keys": {"jwks": {"keys": [key], "expiryTime": "2028-01-15T08:00:00Z"}}}, policy="b/late")
    assert soon.trust.source == late.trust.source
    for index in (PolicyIndex([soon, late]), PolicyIndex([late, soon])):
        assert index.issuers(trust.ISSUER)[0].expires_at == late.trust.source.expires_at
        token = subject(source=soon.trust.source)
        before = decide(index, token, GrantRequest(), SETTINGS, NOW - 1)
        after = decide(index, token, GrantRequest(), SETTINGS, NOW)
        assert granted(before) == ("a/soon", "billing")
        assert granted(after) == ("b/late", "billing")
    refused = decide(PolicyIndex([soon]), token, GrantRequest(), SETTINGS, NOW)
    assert refused == Refused(Denial.KEYS_EXPIRED, "a/soon")


def test_the_first_policy_by_namespace_and_name_that_covers_the_whole_request_wins() -> None:
    narrow = {"name": "g", "jwt": {"audiences": [BILLING], "scopes": ["a"]}}
    wide = {"name": "g", "jwt": {"audiences": [BILLING], "scopes": ["a", "b"]}}
    policies = [compiled(grants=[wide], policy="b/x"), compiled(grants=[narrow], policy="a/z")]
    policies.append(compiled(grants=[wide], policy="a-b/y"))
    assert granted(ask(*policies, audiences=(BILLING,))) == ("a/z", "g")
    assert granted(ask(*policies, audiences=(BILLING,), scopes=("b",))) == ("a-b/y", "g")
    assert granted(ask(*policies, audiences=(BILLING,), scopes=("a",), policy="b/x")) == ("b/x", "g")


def test_no_policy_completes_another_one() -> None:
    first = compiled(grants=[{"name": "g", "jwt": {"audiences": [BILLING], "scopes": ["a"]}}], policy="a/one")
    second = compiled(grants=[{"name": "g", "jwt": {"audiences": [BILLING], "scopes": ["b"]}}], policy="a/two")
    third = compiled(grants=[{"name": "g", "jwt": {"audiences": [SHIPPING], "scopes": ["a"]}}], policy="a/three")
    both_scopes = ask(first, second, audiences=(BILLING,), scopes=("a", "b"))
    both_targets = ask(first, third, audiences=(BILLING, SHIPPING))
    assert (both_scopes, both_targets) == (
        Refused(Denial.SCOPE_NOT_GRANTED, "a/one"),
        Refused(Denial.TARGET_NOT_GRANTED, "a/one"),
    )


def test_without_a_target_policies_that_lead_to_different_ones_are_ambiguous() -> None:
    first = compiled(policy="a/one")
    same = compiled(policy="a/two")
    other = compiled(grants=[{"name": "g", "jwt": {"audiences": [SHIPPING]}}], policy="b/three")
    assert granted(ask(first, same)) == ("a/one", "billing")
    assert ask(first, other) == Refused(Denial.AMBIGUOUS_GRANT)
    assert granted(ask(first, other, policy="b/three")) == ("b/three", "g")
    assert granted(ask(first, other, audiences=(SHIPPING,))) == ("b/three", "g")


def test_one_policys_ambiguity_does_not_stand_in_the_way_of_another_policy() -> None:
    twice = [{"name": name, "jwt": {"audiences": [BILLING]}} for name in ("one", "two")]
    blocking, clear = compiled(grants=twice, policy="a/blocking"), compiled(policy="b/clear")
    assert granted(ask(blocking, clear, audiences=(BILLING,))) == ("b/clear", "billing")
    assert ask(blocking, audiences=(BILLING,)) == Refused(Denial.AMBIGUOUS_GRANT, "a/blocking")


def test_audit_never_grants_and_is_counted_beside_whatever_is_decided() -> None:
    audit = compiled(policy="a/audit", enforcement="Audit")
    assert ask(audit, audiences=(BILLING,)) == Refused(Denial.AUDIT_ONLY, "a/audit", ("a/audit",))
    decision = ask(audit, compiled(policy="b/real"), audiences=(BILLING,))
    assert granted(decision) == ("b/real", "billing")
    assert decision.audited == ("a/audit",)
    missed = Refused(Denial.TARGET_NOT_GRANTED, "a/audit", trial=(("a/audit", Denial.TARGET_NOT_GRANTED),))
    assert ask(audit, audiences=(SHIPPING,)) == missed


def test_an_audited_policy_never_makes_another_ones_grant_ambiguous() -> None:
    other = [{"name": "g", "jwt": {"audiences": [SHIPPING]}}]
    audit = compiled(grants=other, policy="a/audit", enforcement="Audit")
    assert granted(ask(audit, compiled(policy="b/real"))) == ("b/real", "billing")


def test_bounds_that_became_narrower_hold_at_the_very_next_decision() -> None:
    policy = compiled()
    index = PolicyIndex([policy])
    narrower = settings(bounds=(Bound(name="b", namespaces=("team-a",), issuers=("*",), key_sources=("*",)),))
    wider = settings(issuer="https://other-idp.example")
    request = GrantRequest(audiences=(BILLING,))
    assert granted(decide(index, subject(), request, wider, NOW))
    assert decide(index, subject(), request, narrower, NOW) == Refused(Denial.EXCEEDS_BOUNDS, "team-a/deploy")


def test_a_token_verified_under_one_key_source_counts_for_no_other() -> None:
    key = {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    forger = compiled({"keys": {"jwks": {"keys": [key]}}}, policy="evil/own-keys")
    victim = compiled(policy="team-a/deploy")
    index = PolicyIndex([forger, victim])
    forged = subject(source=forger.trust.source)
    assert len(index.issuers(trust.ISSUER)) == 2
    assert granted(decide(index, forged, GrantRequest(), SETTINGS, NOW)) == ("evil/own-keys", "billing")
    named = decide(index, forged, GrantRequest(policy="team-a/deploy"), SETTINGS, NOW)
    assert named == Refused(Denial.NO_POLICY_MATCHES)


def test_every_reason_has_an_oauth_error_and_a_rank_of_its_own() -> None:
    assert {reason.error for reason in Denial} == {"invalid_request", "invalid_target", "invalid_scope"}
    assert len({reason.rank for reason in Denial}) == len(Denial)


def test_a_trace_names_fields_and_outcomes_and_nothing_of_the_token() -> None:
    policy = compiled({"subject": {"glob": "job-*"}, "claims": [{"claim": "secret", "exact": "expected"}]})
    trace: list[Step] = []
    claims = {"secret": "found-in-the-token"}
    decide(PolicyIndex([policy]), subject(claims), GrantRequest(audiences=(SHIPPING,)), SETTINGS, NOW, trace=trace)
    assert trace == [
        Step("team-a/deploy", "spec.from.oidc.audiences", "match", f"{trust.OURS}, {STS}"),
        Step("team-a/deploy", "spec.from.oidc.claims[0]", "mismatch", "exact: expected"),
        Step("team-a/deploy", "spec.from.oidc.subject", "match", "glob: job-*"),
        Step("team-a/deploy", "spec.grants[billing]", "TargetNotGranted"),
        Step("team-a/deploy", "spec", "NoPolicyMatches"),
    ]
    assert "found-in-the-token" not in str(trace)


def test_a_tailscale_grant_is_narrowed_to_a_scope_that_one_of_its_own_allows() -> None:
    wide = {"name": "api", "tailscale": {"upstream": "prod", "scopes": ["devices:core", "dns:read"]}}
    decision = ask(compiled(grants=[wide]), scopes=("devices:core:read",))
    assert isinstance(decision, Granted)
    assert decision.scopes == ("devices:core:read",)
    assert ask(compiled(grants=[wide]), scopes=("dns",)) == Refused(Denial.SCOPE_NOT_GRANTED, "team-a/deploy")
    plain = {"name": "g", "jwt": {"audiences": [BILLING], "scopes": ["devices:core", "all"]}}
    assert isinstance(ask(compiled(grants=[plain]), scopes=("devices:core:read",)), Refused)
