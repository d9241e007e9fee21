"""What an IdentityProvider lets the policies of a namespace do, and what no policy may ever do.

Rules add: each grant, together with what the policy trusts, must be within one rule for its namespace. So a rule
stands for itself, and adding one never makes more possible than what it says. Without any rule the provider's own
namespace may do everything and other namespaces nothing. Independent of rules are reserved audiences and claims, that
nobody trusts the provider's own issuer but by `session`, and that trust in an issuer of many tenants is bound to one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from tailseal.api.durations import format_duration
from tailseal.api.findings import Finding
from tailseal.api.reasons import Reason
from tailseal.domain import scopes
from tailseal.domain.bundle.model import Bound, Settings
from tailseal.domain.policy.compiled import CompiledGrant, CompiledPolicy, GrantKind
from tailseal.domain.policy.source import KeySource, leads_elsewhere, well_known
from tailseal.domain.policy.trust import Trust
from tailseal.domain.tenancy import minting
from tailseal.domain.tenancy.bounding import (
    RESERVED_PREFIX,
    allows,
    as_place,
    exceeds,
    is_reserved,
    is_unbounded,
    rules_for,
)

PINNING_CLAIMS: Final[Mapping[str, frozenset[str]]] = {
    "https://token.actions.githubusercontent.com": frozenset({"repository_id", "repository_owner_id", "enterprise_id"}),
    "https://gitlab.com": frozenset({"project_id", "namespace_id"}),
    "https://agent.buildkite.com": frozenset({"organization_id", "pipeline_id"}),
    "https://app.terraform.io": frozenset(
        {"terraform_organization_id", "terraform_project_id", "terraform_workspace_id"}
    ),
    "https://accounts.google.com": frozenset({"sub"}),
}
"""Issuers whose tokens many tenants get, and the claims that bind one for good: names pass on to others, ids do not.

GitLab's `user_id` is not among them: it says who started a pipeline, and that may be one of somebody else's project.
"""

_PINNING_MEMBERS: Final[Mapping[str, str]] = {
    "github": "ownerID, repositoryID, enterpriseID",
    "gitlab": "projectID, namespaceID",
    "buildkite": "organizationID, pipelineID",
    "terraform": "organizationID, projectID, workspaceID",
}
"""What the same claims are called in the typed blocks."""

_WITHOUT_LOCATION: Final = {"jwks": "inline keys", "session": "our own tokens", "tailnet": "the tailnet's word"}
"""Key sources that are not fetched, as a message calls them."""

UPSTREAM_LIFETIME: Final = 3600
"""Seconds that Tailscale's API tokens live; nobody can shorten that."""

MOST_POLICIES: Final = 1000
"""Policies that a tenant may attach where bounds say nothing: a token of an issuer that he speaks for can be made to be
held against each of them, and everybody waits meanwhile."""

_GITHUB: Final = "https://token.actions.githubusercontent.com"
_GITHUB_IDS: Final = re.compile(r"repo:[^@/:*?]+@[0-9]+/")
"""Start of a subject in the form `repo:OWNER@ID/…`: no login can hold an `@`, so the id binds the owner."""


def violations(policy: CompiledPolicy, settings: Settings) -> tuple[Finding, ...]:
    """What a policy may not do, all of it; nothing if it may grant.

    Args:
        policy: compiled under these or other settings.
        settings: the provider's present settings.
    """
    found = (*_reserved(policy, settings), *_beyond_rules(policy, settings), *_unremembered(policy, settings))
    return tuple(dict.fromkeys(found))


def admitted(namespace: str, settings: Settings) -> bool:
    """Whether policies of the namespace may attach to the provider at all."""
    return bool(rules_for(namespace, settings)) or is_unbounded(namespace, settings)


def default_ttl(namespace: str, settings: Settings) -> int:
    """Lifetime in seconds of a JWT whose grant names none: the provider's, or the longest that bounds allow."""
    if not admitted(namespace, settings) or is_unbounded(namespace, settings):
        return settings.access_token_ttl
    return min(settings.access_token_ttl, max(_longest_ttl(rule, settings) for rule in rules_for(namespace, settings)))


def policy_quota(namespace: str, settings: Settings) -> int | None:
    """How many policies the namespace may attach: the most that any of its rules allows; None: any number.

    A rule that does not say allows the provider's own namespace any number, and others `MOST_POLICIES`.
    """
    usual = None if namespace == settings.namespace else MOST_POLICIES
    limits = [usual if rule.max_policies is None else rule.max_policies for rule in rules_for(namespace, settings)]
    return None if not limits or None in limits else max(limit for limit in limits if limit is not None)


def is_pinned(trust: Trust) -> bool:
    """Whether it is bound to one tenant of its issuer by something that never passes on to another."""
    claims = PINNING_CLAIMS.get(trust.source.issuer)
    if claims is None:
        return True
    return any(
        (rule.keys is not None and len(rule.path) == 1 and rule.path[0] in claims)
        or (trust.source.issuer == _GITHUB and rule.path == ("sub",) and _GITHUB_IDS.match(rule.prefix) is not None)
        for rule in trust.rules
    )


def _unremembered(policy: CompiledPolicy, settings: Settings) -> Iterator[Finding]:
    """What counts once, where nobody would remember that it did: even one replica is two in a rollout."""
    if settings.state is not None:
        return
    fields = [f"{trust.origin}.replay.oneTime" for trust in _parties(policy) if trust.one_time]
    fields += [
        f"spec.grants[{number}].jwt.requireDPoP" for number, grant in enumerate(policy.grants) if grant.require_dpop
    ]
    message = (
        f"needs storage that all replicas share: IdentityProvider {settings.namespace}/{settings.name} has none, and"
        " gets it by spec.storage with type Postgres"
    )
    yield from (Finding(field, message, Reason.NEEDS_SHARED_STATE) for field in fields)


def _longest_ttl(rule: Bound, settings: Settings) -> int:
    return settings.access_token_ttl if rule.max_ttl is None else rule.max_ttl


def _beyond_rules(policy: CompiledPolicy, settings: Settings) -> Iterator[Finding]:
    if is_unbounded(policy.namespace, settings):
        for party in _parties(policy):
            yield from _unpinned(party)
        for position, grant in enumerate(policy.grants):
            yield from minting.excess(grant, f"spec.grants[{position}].{grant.kind}", claims=(), prefixes=("*",))
        return
    rules = rules_for(policy.namespace, settings)
    if not rules:
        yield Finding(
            "spec.identityProviderRef",
            f"the IdentityProvider admits no policies of namespace {policy.namespace}: its bounds must name it",
            Reason.EXCEEDS_BOUNDS,
        )
        return
    trusts = [
        (rule, tuple(found for party in _parties(policy) for found in _trust(party, rule, settings))) for rule in rules
    ]
    for position, grant in enumerate(policy.grants):
        path = f"spec.grants[{position}]"
        yield from min(((*trust, *_grant(grant, path, rule, settings)) for rule, trust in trusts), key=len)


def _trust(trust: Trust, rule: Bound, settings: Settings) -> Iterator[Finding]:
    source = trust.source
    if source.kind != "tailnet" and not allows(source.issuer, rule.issuers):
        yield exceeds(f"{trust.origin}.issuer", f"issuer {source.issuer}", "issuers")
    if not _key_source_allowed(source, rule.key_sources):
        what = _WITHOUT_LOCATION.get(source.kind, f"keys from {source.location}")
        yield exceeds(f"{trust.origin}.keys", what, "keySources")
    for audience in sorted(trust.audiences.difference(settings.subject_audiences)):
        if not allows(audience, rule.subject_audiences):
            yield exceeds(f"{trust.origin}.audiences", f"audience {audience}", "subjectAudiences")
    if not rule.allow_unpinned:
        yield from _unpinned(trust)


def _unpinned(trust: Trust) -> Iterator[Finding]:
    if is_pinned(trust):
        return
    members = _PINNING_MEMBERS.get(trust.origin.rpartition(".")[2])
    if members is None:
        claims = ", ".join(sorted(PINNING_CLAIMS[trust.source.issuer]))
        path, remedy = f"{trust.origin}.claims", f"add an exact, exactInteger or oneOf rule on one of {claims}"
    else:
        path, remedy = trust.origin, f"give one of {members}"
    why = f"{trust.source.issuer} speaks for many tenants, and names pass on from one to another: {remedy}"
    yield Finding(path, why, Reason.TENANT_NOT_PINNED)


def _grant(grant: CompiledGrant, path: str, rule: Bound, settings: Settings) -> Iterator[Finding]:
    member = f"{path}.{grant.kind}"
    limit = _longest_ttl(rule, settings)
    if grant.kind is GrantKind.JWT:
        yield from _each(grant.audiences, rule.audiences, f"{member}.audiences", "audience", "audiences")
        yield from minting.excess(grant, member, rule.jwt_claims, rule.jwt_subject_prefixes)
        if grant.ttl > limit:
            yield exceeds(
                f"{member}.ttl", f"{format_duration(grant.ttl)} is longer than {format_duration(limit)}", "maxTTL"
            )
        return
    if "*" not in rule.upstreams and grant.upstream not in rule.upstreams:
        yield exceeds(f"{member}.upstream", f"upstream {grant.upstream}", "upstreams")
    for position, scope in enumerate(grant.scopes):
        if not scopes.allowed_tailscale(scope, lambda word: allows(word, rule.tailscale_scopes)):
            yield exceeds(f"{member}.scopes[{position}]", f"scope {scope}", "tailscaleScopes")
    yield from _each(grant.tags, rule.tailscale_tags, f"{member}.tags", "tag", "tailscaleTags")
    if grant.kind is GrantKind.TAILSCALE_AUTH_KEY:
        yield from _key_lifetime(grant, member, rule)
        return
    if rule.max_ttl is not None and rule.max_ttl < UPSTREAM_LIFETIME and rule.upstream_lifetime == "Refuse":
        what = f"a Tailscale token lives for {format_duration(UPSTREAM_LIFETIME)}, longer than {format_duration(limit)}"
        yield exceeds(member, what, "upstreamLifetime")


def _key_lifetime(grant: CompiledGrant, member: str, rule: Bound) -> Iterator[Finding]:
    """The time to use a key is ours to set, so it is never excused; that its node stays is up to the upstream."""
    if rule.max_ttl is None:
        return
    limit = format_duration(rule.max_ttl)
    if grant.expiry > rule.max_ttl:
        yield exceeds(f"{member}.expiry", f"{format_duration(grant.expiry)} is longer than {limit}", "maxTTL")
    if not grant.ephemeral and rule.upstream_lifetime == "Refuse":
        what = f"a node that is not ephemeral stays for longer than {limit}"
        yield exceeds(f"{member}.ephemeral", what, "upstreamLifetime")


def _each(values: Iterable[str], allowed: Iterable[str], path: str, what: str, member: str) -> Iterator[Finding]:
    for position, value in enumerate(values):
        if not allows(value, allowed):
            yield exceeds(f"{path}[{position}]", f"{what} {value}", member)


def _reserved(policy: CompiledPolicy, settings: Settings) -> Iterator[Finding]:
    for party in _parties(policy):
        yield from _ourselves(party, settings)
    for position, grant in enumerate(policy.grants):
        path = f"spec.grants[{position}].{grant.kind}"
        for number, audience in enumerate(grant.audiences):
            if is_reserved(audience, settings):
                what = "its clients and its upstreams: name the service instead"
                message = f"{audience} is reserved for this IdentityProvider, {what}"
                yield Finding(f"{path}.audiences[{number}]", message, Reason.RESERVED_AUDIENCE)


def _parties(policy: CompiledPolicy) -> tuple[Trust, ...]:
    """Everybody that the policy trusts: subjects, then actors."""
    return (policy.trust, *policy.actors)


def _ourselves(party: Trust, settings: Settings) -> Iterator[Finding]:
    """Our own tokens are trusted as sessions only: whatever else names our issuer, with whatever keys, is wrong."""
    if party.source.kind != "session" and as_place(party.source.issuer) == as_place(settings.issuer):
        message = (
            f"{settings.issuer} is this IdentityProvider itself, whose tokens could renew themselves for ever: name"
            " who issued the first token, or trust our own tokens by spec.from.session"
        )
        yield Finding(f"{party.origin}.issuer", message, Reason.INVALID_SPEC)
    for audience in sorted(party.audiences) if party.source.kind == "session" else ():
        if audience.lower().startswith(RESERVED_PREFIX):
            message = f"{audience} is what this IdentityProvider says to itself and to upstreams: no session is for it"
            yield Finding(f"{party.origin}.audiences", message, Reason.RESERVED_AUDIENCE)


def _key_source_allowed(source: KeySource, allowed: Iterable[str]) -> bool:
    if source.kind == "jwks":
        return "JWKS" in allowed or "*" in allowed
    if source.kind == "session":
        return "Session" in allowed or "*" in allowed
    if source.kind == "tailnet":
        return "Tailnet" in allowed or "*" in allowed
    if leads_elsewhere(source.location):
        return False
    if source.kind == "discovery" and source.location == well_known(source.issuer):
        return "Discovery" in allowed or allows(source.location, allowed)
    return allows(source.location, allowed)
