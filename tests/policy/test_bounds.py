"""What bounds allow to whom, field by field, and what nobody may do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fakes import trust
from fakes.trust import ANYTHING, BILLING, GITHUB, JWT_GRANT, TAILSCALE_GRANT, record, settings, spec
from tailseal.api.reasons import Reason
from tailseal.domain.bundle.model import Bound, Settings
from tailseal.domain.policy.compile import accepted
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.expressions import cel
from tailseal.domain.tenancy import bounds

KEY = {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
OWNER = {"claims": [{"claim": "repository_owner_id", "exact": "65"}]}


def refused(content: dict[str, Any], under: Settings, policy: str = "team-a/deploy") -> set[tuple[str, Reason]]:
    """Path and reason of everything that keeps the policy from being accepted."""
    found = accepted(record(content, policy), under)
    return set() if isinstance(found, CompiledPolicy) else {(finding.path, finding.reason) for finding in found}


def bound(**changes: Any) -> Bound:  # noqa: ANN401 - any of its fields
    return ANYTHING.model_copy(update=changes)


def only(**changes: Any) -> Settings:  # noqa: ANN401
    return settings(bounds=(bound(**changes),))


@pytest.mark.parametrize(
    ("rules", "namespace", "allowed"),
    [
        ((), "identity", True),
        ((), "team-a", False),
        ((bound(namespaces=("team-a",)),), "team-a", True),
        ((bound(namespaces=("team-a",)),), "team-b", False),
        ((bound(namespaces=("team-a",)),), "identity", False),
        ((bound(namespaces=("team-a",)), bound(name="own", namespaces=("identity",))), "identity", True),
        ((bound(namespaces=("*",)),), "team-b", True),
        ((bound(namespaces=()),), "team-a", False),
        ((bound(namespaces=("team-*",)),), "team-a", False),
    ],
)
def test_without_rules_the_own_namespace_may_do_everything_and_others_nothing(
    rules: tuple[Bound, ...], namespace: str, *, allowed: bool
) -> None:
    under = settings(bounds=rules)
    assert bounds.admitted(namespace, under) is allowed
    expected = set() if allowed else {("spec.identityProviderRef", Reason.EXCEEDS_BOUNDS)}
    assert refused(spec(), under, f"{namespace}/deploy") == expected


@pytest.mark.parametrize(
    ("content", "member", "good", "bad", "path"),
    [
        (spec(), "issuers", "https://*.foreign.example", "https://*.other.example", "spec.from.oidc.issuer"),
        (spec(), "issuers", "*", "https://?", "spec.from.oidc.issuer"),
        (spec(), "key_sources", "Discovery", "JWKS", "spec.from.oidc.keys"),
        (spec(), "key_sources", "https://ci.foreign.example/**", "https://ci.foreign.example", "spec.from.oidc.keys"),
        (spec({"keys": {"jwks": {"keys": [KEY]}}}), "key_sources", "JWKS", "Discovery", "spec.from.oidc.keys"),
        (
            spec({"keys": {"jwksURI": "https://keys.example/jwks"}}),
            "key_sources",
            "https://keys.example/*",
            "Discovery",
            "spec.from.oidc.keys",
        ),
        (
            spec({"keys": {"discovery": {"discoveryURL": "https://keys.example/d"}}}),
            "key_sources",
            "https://keys.example/*",
            "Discovery",
            "spec.from.oidc.keys",
        ),
        (
            spec({"audiences": ["https://other.example"]}),
            "subject_audiences",
            "https://other.example",
            "https://third.example",
            "spec.from.oidc.audiences",
        ),
        (spec(), "audiences", BILLING, BILLING + "/", "spec.grants[0].jwt.audiences[0]"),
        (spec(grants=[TAILSCALE_GRANT]), "upstreams", "prod", "lab", "spec.grants[0].tailscale.upstream"),
    ],
)
def test_each_list_opens_what_it_names_and_nothing_else(
    content: dict[str, Any], member: str, good: str, bad: str, path: str
) -> None:
    assert refused(content, only(**{member: (good,)})) == set()
    expected = {(path, Reason.EXCEEDS_BOUNDS)}
    assert refused(content, only(**{member: (bad,)})) == expected
    assert refused(content, only(**{member: ()})) == expected


@pytest.mark.parametrize(
    "path",
    ["../team-b/jwks", "%2e%2E/team-b/jwks", "..%2fteam-b/jwks", "./jwks", "x/..", "..\\\\team-b/jwks", "..;/jwks"],
)
@pytest.mark.parametrize("pattern", ["https://keys.example/team-a/**", "*"])
def test_a_key_source_leads_where_the_pattern_says(path: str, pattern: str) -> None:
    under = only(key_sources=(pattern,))
    assert refused(spec({"keys": {"jwksURI": "https://keys.example/team-a/jwks?x=../b"}}), under) == set()
    content = spec({"keys": {"jwksURI": f"https://keys.example/team-a/{path}"}})
    assert refused(content, under) == {("spec.from.oidc.keys", Reason.EXCEEDS_BOUNDS)}


def test_every_scope_and_tag_must_be_allowed() -> None:
    content = spec(grants=[TAILSCALE_GRANT])
    assert refused(content, only(tailscale_scopes=("devices:*:read",), tailscale_tags=("tag:*",))) == {
        ("spec.grants[0].tailscale.scopes[1]", Reason.EXCEEDS_BOUNDS)
    }
    assert refused(content, only(tailscale_tags=("tag:ci",))) == {
        ("spec.grants[0].tailscale.tags[1]", Reason.EXCEEDS_BOUNDS)
    }


@pytest.mark.parametrize(
    ("max_ttl", "ttl", "allowed"),
    [
        (300, "5m", True),
        (300, "301s", False),
        (300, None, True),
        (None, "10m", True),
        (None, "601s", False),
        (86_400, "24h", True),
    ],
)
def test_lifetimes_end_at_max_ttl_or_at_the_providers_own(
    max_ttl: int | None, ttl: str | None, *, allowed: bool
) -> None:
    jwt = {"audiences": [BILLING]} | ({"ttl": ttl} if ttl else {})
    expected = set() if allowed else {("spec.grants[0].jwt.ttl", Reason.EXCEEDS_BOUNDS)}
    assert refused(spec(grants=[{"name": "g", "jwt": jwt}]), only(max_ttl=max_ttl)) == expected


def test_a_tailscale_token_outlives_a_short_max_ttl_unless_that_is_accepted() -> None:
    content = spec(grants=[TAILSCALE_GRANT])
    assert refused(content, only(max_ttl=3599)) == {("spec.grants[0].tailscale", Reason.EXCEEDS_BOUNDS)}
    assert refused(content, only(max_ttl=3600)) == set()
    assert refused(content, only(max_ttl=None)) == set()
    assert refused(content, only(max_ttl=60, upstream_lifetime="Accept")) == set()


def test_rules_add_but_each_stands_for_itself() -> None:
    ci = bound(name="ci", audiences=("https://staging.example",))
    corp = bound(name="corp", issuers=("https://sso.corp.example",), audiences=("https://prod.example",))
    under = settings(bounds=(ci, corp))

    def policy(issuer: str, audience: str) -> dict[str, Any]:
        return spec({"issuer": issuer}, [{"name": "g", "jwt": {"audiences": [audience]}}])

    assert refused(policy(trust.ISSUER, "https://staging.example"), under) == set()
    assert refused(policy("https://sso.corp.example", "https://prod.example"), under) == set()
    assert refused(policy(trust.ISSUER, "https://prod.example"), under) != set()
    both = [{"name": name, "jwt": {"audiences": [f"https://{name}.example"]}} for name in ("staging", "prod")]
    assert refused(spec({"issuer": "https://sso.corp.example"}, both), under) == set()
    assert refused(spec({}, both), under) == {("spec.grants[1].jwt.audiences[0]", Reason.EXCEEDS_BOUNDS)}


def test_a_rule_that_means_nothing_allows_nothing() -> None:
    assert refused(spec(), only(issuers=("***",))) == {("spec.from.oidc.issuer", Reason.EXCEEDS_BOUNDS)}


@pytest.mark.parametrize(
    ("issuer", "oidc", "pinned"),
    [
        (GITHUB, {}, False),
        (GITHUB, OWNER, True),
        (GITHUB, {"claims": [{"claim": "repository_id", "oneOf": ["1", "2"]}]}, True),
        (GITHUB, {"claims": [{"claim": "enterprise_id", "exact": "1"}]}, True),
        (GITHUB, {"claims": [{"claim": "repository_owner_id", "glob": "65"}]}, False),
        (GITHUB, {"claims": [{"claim": "repository_owner_id", "regex": "65"}]}, False),
        (GITHUB, {"claims": [{"claim": "repository_owner_id", "present": True}]}, False),
        (GITHUB, {"claims": [{"claim": "repository_owner_id", "exact": "65", "match": "Any"}]}, False),
        (GITHUB, {"claims": [{"path": ["x", "repository_owner_id"], "exact": "65"}]}, False),
        (GITHUB, {"claims": [{"claim": "repository_owner", "exact": "octo"}]}, False),
        (GITHUB, {"subject": {"exact": "repo:octo/app:ref:refs/heads/main"}}, False),
        (GITHUB, {"subject": {"exact": "repo:octo@65/app@74:ref:refs/heads/main"}}, True),
        (GITHUB, {"subject": {"glob": "repo:octo@65/**"}}, True),
        (GITHUB, {"subject": {"glob": "repo:octo@6*/**"}}, False),
        (GITHUB, {"subject": {"glob": "repo:*@65/**"}}, False),
        (GITHUB, {"subject": {"regex": "repo:octo@65/.*"}}, False),
        ("https://gitlab.com", {"claims": [{"claim": "namespace_path", "exact": "g"}]}, False),
        ("https://gitlab.com", {"claims": [{"claim": "user_id", "exact": "1"}]}, False),
        ("https://gitlab.com", {"claims": [{"claim": "namespace_id", "exact": "1"}]}, True),
        ("https://gitlab.com", {"subject": {"exact": "repo:octo@65/app"}}, False),
        ("https://agent.buildkite.com", {"claims": [{"claim": "organization_slug", "exact": "o"}]}, False),
        ("https://agent.buildkite.com", {"claims": [{"claim": "organization_id", "exact": "u"}]}, True),
        ("https://app.terraform.io", {"subject": {"exact": "organization:o:project:p"}}, False),
        ("https://app.terraform.io", {"claims": [{"claim": "terraform_workspace_id", "exact": "ws"}]}, True),
        ("https://accounts.google.com", {"claims": [{"claim": "email", "exact": "a@b.example"}]}, False),
        ("https://accounts.google.com", {"subject": {"exact": "1234"}}, True),
        ("https://gitlab.corp.example", {}, True),
        (GITHUB + "/enterprise", {}, True),
    ],
)
def test_trust_in_an_issuer_of_many_tenants_is_bound_to_one_by_an_immutable_claim(
    issuer: str, oidc: dict[str, Any], *, pinned: bool
) -> None:
    expected = set() if pinned else {("spec.from.oidc.claims", Reason.TENANT_NOT_PINNED)}
    content = spec(oidc | {"issuer": issuer})
    assert refused(content, settings()) == expected
    assert refused(content, settings(bounds=()), "identity/own") == expected
    assert refused(content, only(allow_unpinned=True)) == set()


@pytest.mark.parametrize(
    "audience",
    [
        trust.OURS,
        trust.OURS + "/",
        trust.OURS.upper(),
        trust.OURS + "/userinfo",
        trust.STS,
        trust.STS + "/token",
        "idp.corp.example",
        "tailseal:upstream:prod",
        "Tailseal:anything",
        trust.TAILSCALE,
        trust.TAILSCALE + "/api/v2",
        "api.tailscale.com/client-id",
        "https://api.tailscale.com",
    ],
)
def test_our_own_addresses_and_upstreams_are_nobodys_audience_whatever_bounds_say(audience: str) -> None:
    content = spec(grants=[{"name": "g", "jwt": {"audiences": [BILLING, audience]}}])
    expected = {("spec.grants[0].jwt.audiences[1]", Reason.RESERVED_AUDIENCE)}
    assert refused(content, settings()) == expected
    assert refused(content, settings(bounds=()), "identity/own") == expected


@pytest.mark.parametrize("audience", ["https://idp.corp.example.org", "https://idp.corp.examples", "billing", "sts"])
def test_audiences_that_only_look_like_ours_are_not_reserved(audience: str) -> None:
    assert refused(spec(grants=[{"name": "g", "jwt": {"audiences": [audience]}}]), settings()) == set()


@pytest.mark.parametrize("issuer", [trust.OURS, trust.OURS + "/", trust.OURS.upper().replace("HTTPS", "https")])
@pytest.mark.parametrize(
    "oidc", [{}, {"keys": {"jwksURI": "https://keys.example/jwks"}}, {"keys": {"jwks": {"keys": [KEY]}}}]
)
def test_nobody_trusts_the_providers_own_tokens_which_could_renew_themselves(issuer: str, oidc: dict[str, Any]) -> None:
    content = spec(oidc | {"issuer": issuer, "audiences": [BILLING]})
    expected = {("spec.from.oidc.issuer", Reason.INVALID_SPEC)}
    assert refused(content, settings()) == expected
    assert refused(content, settings(bounds=()), "identity/own") == expected
    found = accepted(record(content), settings())
    assert not isinstance(found, CompiledPolicy)
    assert "spec.from.session" in str(found[0])
    assert refused(spec(oidc | {"issuer": trust.OURS + "/realms/x"}), settings()) == set()


GROUP = cel.compiled("claims.group", "text")


@pytest.mark.parametrize(("listed", "allowed"), [((), False), (("groups",), True), (("email",), False)])
def test_identity_claims_are_set_only_where_bounds_list_them(listed: tuple[str, ...], *, allowed: bool) -> None:
    policy = trust.compiled()
    grant = replace(policy.grants[0], claims=(("groups", GROUP), ("team", GROUP)))
    changed = replace(policy, grants=(grant,))
    named = ("spec.grants[0].jwt.claims[0].name", Reason.EXCEEDS_BOUNDS)
    violations = {(finding.path, finding.reason) for finding in bounds.violations(changed, only(jwt_claims=listed))}
    assert violations == (set() if allowed else {named})


@pytest.mark.parametrize(
    ("limits", "quota"),
    [((None,), 1000), ((5,), 5), ((5, 9), 9), ((5, None), 1000), ((5000, None), 5000), ((0,), 0), ((), None)],
)
def test_the_number_of_policies_is_the_most_that_any_rule_allows(
    limits: tuple[int | None, ...], quota: int | None
) -> None:
    rules = tuple(bound(name=f"b{number}", max_policies=limit) for number, limit in enumerate(limits))
    assert bounds.policy_quota("team-a", settings(bounds=rules)) == quota


def test_the_providers_own_namespace_has_any_number_unless_a_rule_says_otherwise() -> None:
    assert bounds.policy_quota("identity", settings()) is None
    assert bounds.policy_quota("identity", settings(bounds=(bound(max_policies=7),))) == 7


def test_findings_name_the_bound_that_could_be_widened_and_no_other_namespace() -> None:
    rules = (bound(namespaces=("team-a",), audiences=()), bound(name="b", namespaces=("team-secret",)))
    found = accepted(record(spec(grants=[JWT_GRANT])), settings(bounds=rules))
    assert not isinstance(found, CompiledPolicy)
    assert "bounds[].audiences" in str(found[0])
    assert "team-secret" not in str(found)


def test_what_a_client_chose_for_its_id_is_nobodys_audience() -> None:
    wanted = spec(grants=[{"name": "g", "jwt": {"audiences": ["https://a.example", "grafana"]}}])
    assert isinstance(accepted(record(wanted), settings()), CompiledPolicy)
    (found,) = accepted(record(wanted), settings(client_ids=frozenset({"grafana"})))  # type: ignore[misc]
    assert (found.path, found.reason) == ("spec.grants[0].jwt.audiences[1]", Reason.RESERVED_AUDIENCE)
