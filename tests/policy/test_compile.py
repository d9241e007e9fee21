"""What a spec compiles to, and what is said of one that does not."""

from __future__ import annotations

from typing import Any

import pytest

from fakes import trust
from fakes.trust import compiled, record, settings, spec
from tailseal.api.reasons import Reason
from tailseal.api.trustpolicy import From
from tailseal.domain.bundle.model import Bound
from tailseal.domain.policy import providers
from tailseal.domain.policy.compile import PolicyError, accepted, compile_policy
from tailseal.domain.policy.compiled import CompiledPolicy, GrantKind
from tailseal.domain.policy.source import KeySource

KEY = {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def test_what_is_left_out_has_its_default_in_code() -> None:
    policy = compiled()
    assert policy.id == "team-a/deploy"
    assert policy.enforce
    assert policy.trust.algorithms == {"RS256"}
    assert policy.trust.audiences == {trust.OURS, trust.STS}
    assert policy.trust.source == KeySource(
        trust.ISSUER, "discovery", "https://ci.foreign.example/.well-known/openid-configuration"
    )
    assert policy.grants[0].ttl == 600
    assert policy.longest_ttl == 600
    assert policy.trust.max_age is None


def test_grants_know_their_targets() -> None:
    jwt, api = compiled(grants=[trust.JWT_GRANT, trust.TAILSCALE_GRANT]).grants
    assert (jwt.kind, jwt.targets, jwt.audiences) == (GrantKind.JWT, {trust.BILLING}, (trust.BILLING,))
    assert (api.kind, api.targets, api.upstream) == (GrantKind.TAILSCALE, {trust.TAILSCALE}, "prod")
    assert (api.ttl, api.tags) == (0, ("tag:ci", "tag:test"))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {"keys": {"discovery": {}}}, True),
        ({}, {"keys": {"discovery": {"discoveryURL": trust.ISSUER + "/.well-known/openid-configuration"}}}, True),
        ({}, {"keys": {"discovery": {"discoveryURL": "https://evil.example/x"}}}, False),
        ({}, {"keys": {"jwksURI": trust.ISSUER + "/.well-known/openid-configuration"}}, False),
        ({}, {"caBundle": CA}, False),
        ({"caBundle": CA}, {"caBundle": CA + "\n"}, False),
        ({"keys": {"jwks": {"keys": [KEY]}}}, {"keys": {"jwks": {"keys": [dict(reversed(KEY.items()))]}}}, True),
        ({"keys": {"jwks": {"keys": [KEY]}}}, {"keys": {"jwks": {"keys": [KEY | {"kid": "l"}]}}}, False),
        ({}, {"issuer": "https://other.example"}, False),
        ({}, {"issuer": trust.ISSUER + "/"}, False),
    ],
)
def test_a_key_source_is_issuer_kind_place_and_ca(one: dict[str, Any], other: dict[str, Any], *, same: bool) -> None:
    assert (compiled(one).trust.source == compiled(other).trust.source) is same


def test_inline_keys_come_with_their_expiry() -> None:
    policy = compiled({"keys": {"jwks": {"keys": [KEY], "expiryTime": "2027-01-15T08:00:00Z"}}})
    assert policy.trust.source.expires_at == 1_800_000_000.0
    assert '"kid":"k"' in policy.trust.source.jwks


@pytest.mark.parametrize(
    ("content", "path", "reason"),
    [
        ({}, "spec.from", Reason.INVALID_SPEC),
        (spec({"issuer": "http://ci.foreign.example"}), "spec.from.oidc.issuer", Reason.INVALID_SPEC),
        (spec({"subject": {"glob": "***"}}), "spec.from.oidc.subject.glob", Reason.INVALID_SPEC),
        (spec({"claims": [{"claim": "a", "regex": "("}]}), "spec.from.oidc.claims[0].regex", Reason.INVALID_SPEC),
        (
            spec({"claims": [{"claim": "a", "exact": "b", "glob": "c"}]}),
            "spec.from.oidc.claims[0]",
            Reason.INVALID_SPEC,
        ),
        (spec({"condition": "claims.a"}), "spec.from.oidc.condition", Reason.INVALID_SPEC),
        (
            spec(grants=[{"name": "a", "tailscale": {"upstream": "nowhere", "scopes": ["a"]}}]),
            "spec.grants[0].tailscale.upstream",
            Reason.REF_NOT_FOUND,
        ),
        (
            spec({"keys": {"jwks": {"keys": [KEY], "expiryTime": "2027-13-45T08:00:00Z"}}}),
            "spec.from.oidc.keys.jwks.expiryTime",
            Reason.INVALID_SPEC,
        ),
    ],
)
def test_what_does_not_compile_is_told_with_field_and_reason(
    content: dict[str, Any], path: str, reason: Reason
) -> None:
    with pytest.raises(PolicyError) as caught:
        compile_policy(record(content), settings())
    assert (path, reason) in {(finding.path, finding.reason) for finding in caught.value.findings}
    assert accepted(record(content), settings()) == caught.value.findings


def test_everything_that_is_wrong_is_told_at_once() -> None:
    content = spec({"subject": {"regex": "("}, "claims": [{"claim": "a", "glob": "***"}]}, actors=[])
    findings = accepted(record(content), settings(bounds=()))
    assert not isinstance(findings, CompiledPolicy)
    assert [finding.path for finding in findings] == [
        "spec.from.oidc.subject.regex",
        "spec.from.oidc.claims[0].glob",
        "spec.identityProviderRef",
    ]


def test_plain_http_is_for_a_provider_that_is_plain_http_itself() -> None:
    loopback = spec({"issuer": "http://127.0.0.1:8000"})
    assert not isinstance(accepted(record(loopback), settings()), CompiledPolicy)
    local = settings(issuer="http://127.0.0.1:9000")
    assert isinstance(accepted(record(loopback), local), CompiledPolicy)
    remote = spec({"issuer": "http://ci.foreign.example"})
    assert not isinstance(accepted(record(remote), local), CompiledPolicy)


def test_a_default_lifetime_is_cut_to_what_bounds_allow_and_a_named_one_is_refused() -> None:
    narrow = settings(
        bounds=(Bound(name="b", namespaces=("*",), issuers=("*",), key_sources=("*",), audiences=("*",), max_ttl=60),)
    )
    assert compiled(under=narrow).grants[0].ttl == 60
    named = spec(grants=[{"name": "a", "jwt": {"audiences": [trust.BILLING], "ttl": "5m"}}])
    findings = accepted(record(named), narrow)
    assert not isinstance(findings, CompiledPolicy)
    assert [finding.path for finding in findings] == ["spec.grants[0].jwt.ttl"]


def test_every_member_of_from_has_a_general_form() -> None:
    assert set(From.model_fields) == {"oidc", *providers._BLOCKS}
