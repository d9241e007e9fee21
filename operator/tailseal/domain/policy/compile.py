"""Turns a TrustPolicy's spec into closures, for the operator that accepts it and the worker that decides by it.

Both run this same code on the same spec and settings. What does not compile, does not grant.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from tailseal.api.base import to_alias
from tailseal.api.findings import Finding, SpecError
from tailseal.api.times import parse_time
from tailseal.api.trustpolicy import ClaimRule, From, Grant, JwtGrant, Matcher, Oidc, TrustPolicySpec
from tailseal.api.trustpolicy.oidc import DEFAULT_ALGORITHMS
from tailseal.api.unsupported import unsupported
from tailseal.api.validation import parse_spec
from tailseal.domain import canonical
from tailseal.domain.bundle.model import PolicyRecord, Settings
from tailseal.domain.policy import matchers, providers
from tailseal.domain.policy.compiled import CompiledGrant, CompiledPolicy, GrantKind
from tailseal.domain.policy.expressions import cel, patterns
from tailseal.domain.policy.general import General, demanding
from tailseal.domain.policy.matchers import Rule
from tailseal.domain.policy.source import TAILNET, KeySource, SourceKind, well_known
from tailseal.domain.policy.trust import Trust
from tailseal.domain.policy.upstreams import upstream_grant
from tailseal.domain.tenancy import bounds

__all__ = ["CompiledPolicy", "Finding", "PolicyError", "accepted", "compile_policy"]

_FROM: Final = "spec.from"

MOST_REGEXES: Final = 8
"""Regular expressions of one party: each may take milliseconds, and nothing interrupts them."""

_MATCHERS: Final[Mapping[str, tuple[int, Callable[[Any], matchers.Test]]]] = {
    "exact": (0, matchers.exact),
    "exact_integer": (0, matchers.exact_integer),
    "exact_boolean": (0, matchers.exact_boolean),
    "one_of": (0, matchers.one_of),
    "exact_decimal": (1, lambda value: matchers.exact_decimal(Decimal(value))),
    "glob": (1, lambda value: matchers.text(patterns.glob(value))),
    "regex": (matchers.REGEX, lambda value: matchers.text(patterns.regex(value))),
}
"""Cost (see `Rule`) and maker of a test, by attribute of the model."""


_CLAIM_KINDS: Final[tuple[tuple[str, cel.Kind], ...]] = (
    ("string", "text"),
    ("strings", "texts"),
    ("integer", "integer"),
    ("boolean", "boolean"),
)
"""What the expression of a claim gives, by the member of the model it stands in."""


class PolicyError(SpecError):
    """The policy must not grant anything; `findings` say everything that is wrong with it."""


def accepted(record: PolicyRecord, settings: Settings) -> CompiledPolicy | tuple[Finding, ...]:
    """The policy, or why it must not grant."""
    try:
        return compile_policy(record, settings)
    except PolicyError as error:
        return error.findings


def compile_policy(record: PolicyRecord, settings: Settings) -> CompiledPolicy:
    """The policy, ready to be decided on.

    Args:
        record: the policy as the API server stores it.
        settings: of the provider that it names. Only a provider that is plain http itself, which no API server
            takes, may trust issuers on plain http of this very machine.

    Raises:
        PolicyError: the spec is invalid, not supported yet, or beyond the provider's bounds.
    """
    try:
        spec = parse_spec(TrustPolicySpec, record.spec, loopback=settings.issuer.startswith("http://"))
    except SpecError as error:
        raise PolicyError(error.findings) from None
    if later := unsupported(spec):
        raise PolicyError(later)
    policy, findings = _compile(record, spec, general(spec.from_, _FROM), settings)
    if findings := (*findings, *bounds.violations(policy, settings)):
        raise PolicyError(findings)
    return policy


def general(trust: From, path: str) -> General:
    """The general form of what a policy trusts.

    Args:
        trust: exactly one of its members is there.
        path: where it stands.
    """
    return providers.general(trust, path) if trust.oidc is None else _oidc(trust.oidc, f"{path}.oidc")


def _oidc(oidc: Oidc, origin: str) -> General:
    findings: list[Finding] = []
    found = General(
        origin=origin,
        issuer=oidc.issuer,
        rules=_rules(oidc, origin, findings),
        keys=oidc.keys,
        ca_bundle=oidc.ca_bundle or "",
        algorithms=oidc.algorithms or DEFAULT_ALGORITHMS,
        audiences=oidc.audiences,
        findings=tuple(findings),
    )
    return demanding(found, oidc)


def _compile(
    record: PolicyRecord, spec: TrustPolicySpec, trust: General, settings: Settings
) -> tuple[CompiledPolicy, tuple[Finding, ...]]:
    """The policy without what is wrong, and what is wrong."""
    findings: list[Finding] = []
    policy = CompiledPolicy(
        namespace=record.namespace,
        name=record.name,
        generation=record.generation,
        settings=settings,
        enforce=spec.enforcement == "Enforce",
        trust=_trust(trust, settings, findings),
        actors=tuple(
            _actor(actor, f"spec.actors[{position}]", settings, findings) for position, actor in enumerate(spec.actors)
        ),
        grants=tuple(
            _grant(grant, f"spec.grants[{position}]", record.namespace, settings, findings)
            for position, grant in enumerate(spec.grants)
        ),
    )
    return policy, tuple(findings)


def _actor(actor: From, path: str, settings: Settings, findings: list[Finding]) -> Trust:
    trust = general(actor, path)
    if trust.tailnet:
        message = "is nobody who has an actor token: name who issues it"
        findings.append(Finding(trust.origin, message))
    return _trust(trust, settings, findings)


def _trust(trust: General, settings: Settings, findings: list[Finding]) -> Trust:
    """What is meant, without what is wrong with it: that goes to the findings."""
    findings += trust.findings
    return Trust(
        origin=trust.origin,
        source=_source(trust, settings, findings),
        algorithms=_set(trust.algorithms),
        audiences=_set(trust.audiences or (*settings.subject_audiences, *trust.also)),
        rules=tuple(sorted(trust.rules, key=lambda rule: rule.cost)),
        max_age=trust.max_age,
        condition=_program(trust.condition, "condition", f"{trust.origin}.condition", findings),
        one_time=trust.one_time,
    )


def _source(trust: General, settings: Settings, findings: list[Finding]) -> KeySource:
    keys, bundle = trust.keys, trust.ca_bundle
    if trust.tailnet:
        return TAILNET
    if not trust.issuer:
        return _named(settings.issuer, "session", settings.issuer, "")
    if keys is not None and keys.jwks is not None:
        expires_at = _expiry(keys.jwks.expiry_time, f"{trust.origin}.keys.jwks.expiryTime", findings)
        return _inline(trust.issuer, canonical.dumps(keys.jwks.jwks()), expires_at)
    if keys is not None and keys.jwks_uri is not None:
        return _named(trust.issuer, "jwksURI", keys.jwks_uri, bundle)
    discovery = keys.discovery if keys is not None else None
    url = (discovery.discovery_url if discovery is not None else None) or well_known(trust.issuer)
    return _named(trust.issuer, "discovery", url, bundle)


@functools.lru_cache(maxsize=1024)
def _inline(issuer: str, jwks: bytes, expires_at: float | None) -> KeySource:
    return KeySource(issuer, "jwks", canonical.digest(jwks), jwks=jwks.decode(), expires_at=expires_at)


@functools.lru_cache(maxsize=1024)
def _named(issuer: str, kind: SourceKind, url: str, ca_bundle: str) -> KeySource:
    ca_digest = canonical.digest(ca_bundle.encode()) if ca_bundle else ""
    return KeySource(issuer, kind, url, ca_digest, ca_bundle=ca_bundle)


@functools.lru_cache(maxsize=1024)
def _set(values: tuple[str, ...]) -> frozenset[str]:
    """One object for equal values: thousands of policies name the same audiences."""
    return frozenset(values)


def _expiry(text: str | None, path: str, findings: list[Finding]) -> float | None:
    try:
        return parse_time(text) if text is not None else None
    except ValueError:
        findings.append(Finding(path, "must be an RFC 3339 time, such as 2027-01-31T12:00:00Z"))
        return None


def _rules(oidc: Oidc, origin: str, findings: list[Finding]) -> tuple[Rule, ...]:
    """All rules in the order of the manifest."""
    rules = []
    if oidc.subject is not None:
        rules.append(_rule(oidc.subject, ("sub",), f"{origin}.subject", findings))
    for position, claim in enumerate(oidc.claims):
        path = claim.path or (claim.claim or "",)
        rules.append(_rule(claim, path, f"{origin}.claims[{position}]", findings))
    if sum(rule.cost >= matchers.REGEX for rule in rules) > MOST_REGEXES:
        text = f"at most {MOST_REGEXES} regular expressions: use exact, oneOf or glob where they will do"
        findings.append(Finding(f"{origin}.claims", text))
    return tuple(rules)


def _rule(model: Matcher | ClaimRule, path: tuple[str, ...], field: str, findings: list[Finding]) -> Rule:
    if isinstance(model, ClaimRule) and model.present is not None:
        test = matchers.presence(path, wanted=model.present)
        return Rule(field, path, 0, f"present: {str(model.present).lower()}", None, "", test)
    member = next(name for name in model.model_fields_set if name in _MATCHERS)  # exactly one, says the model's rule
    value = getattr(model, member)
    cost, make = _MATCHERS[member]
    try:
        test_value = make(value)
    except patterns.PatternError as error:
        findings.append(Finding(f"{field}.{member}", str(error)))
        test_value = matchers.exact("")
    quantifier = model.match if isinstance(model, ClaimRule) else None
    if quantifier is not None:
        test_value = matchers.elements(test_value, quantifier)
    return Rule(
        field=field,
        path=path,
        cost=cost,
        expected=f"{to_alias(member)}: {value}",
        keys=_keys(member, value) if quantifier is None else None,
        prefix=_prefix(member, value) if quantifier is None else "",
        test=matchers.claim(path, test_value, value if member == "exact" and quantifier is None else None),
    )


def _keys(member: str, value: Any) -> frozenset[str | int] | None:  # noqa: ANN401 - the model knows its type
    if member in {"exact", "exact_integer"}:
        return frozenset({value})
    return frozenset(value) if member == "one_of" else None


def _prefix(member: str, value: Any) -> str:  # noqa: ANN401
    if member == "exact":
        return str(value)
    return patterns.literal_prefix(value) if member == "glob" else ""


def _grant(grant: Grant, path: str, namespace: str, settings: Settings, findings: list[Finding]) -> CompiledGrant:
    if grant.jwt is not None:
        return CompiledGrant(
            name=grant.name,
            kind=GrantKind.JWT,
            targets=_set(grant.jwt.audiences),
            audiences=grant.jwt.audiences,
            scopes=grant.jwt.scopes,
            ttl=grant.jwt.ttl or bounds.default_ttl(namespace, settings),
            claims=tuple(_claims(grant.jwt, f"{path}.jwt", findings)),
            require_dpop=bool(grant.jwt.require_dpop),
            subject=_program(grant.jwt.subject, "text", f"{path}.jwt.subject", findings),
            subject_prefix=grant.jwt.subject_prefix or "",
        )
    return upstream_grant(grant, path, settings, findings)


def _claims(grant: JwtGrant, path: str, findings: list[Finding]) -> Iterator[tuple[str, cel.Program]]:
    for position, claim in enumerate(grant.claims):
        member, kind = next(found for found in _CLAIM_KINDS if getattr(claim, found[0]) is not None)
        program = _program(getattr(claim, member), kind, f"{path}.claims[{position}].{member}", findings)
        if program is not None:
            yield claim.name, program


def _program(text: str | None, kind: cel.Kind, path: str, findings: list[Finding]) -> cel.Program | None:
    """The expression; None where there is none, or none that can be used: then a finding says so."""
    try:
        return cel.compiled(text, kind) if text else None
    except cel.ExpressionError as error:
        findings.append(Finding(path, str(error)))
        return None
