"""Compiles grants of what an upstream gives, held against what that upstream can give at all."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from tailseal.api.findings import Finding
from tailseal.api.reasons import Reason
from tailseal.api.trustpolicy.grants import Grant, TailscaleAuthKeyGrant, TailscaleGrant
from tailseal.domain.bundle.model import Settings, Upstream, WorkloadIdentity
from tailseal.domain.policy.compiled import CompiledGrant, GrantKind

DEFAULT_EXPIRY: Final = 300
"""Seconds in which a key to join can be used if its grant does not say."""

_MAKES_KEYS: Final = frozenset({"auth_keys", "all"})


def upstream_grant(grant: Grant, path: str, settings: Settings, findings: list[Finding]) -> CompiledGrant:
    """The grant; what is wrong with it is added to the findings.

    Args:
        grant: one of a Tailscale token or key.
        path: where it stands.
        settings: the provider's.
        findings: of the policy.
    """
    if grant.tailscale_auth_key is not None:
        return _key(grant.name, grant.tailscale_auth_key, f"{path}.tailscaleAuthKey", settings, findings)
    if grant.tailscale is not None:
        return _token(grant.name, grant.tailscale, f"{path}.tailscale", settings, findings)
    raise AssertionError("exactly one member, says the model's rule")  # pragma: no cover


def _token(name: str, grant: TailscaleGrant, path: str, settings: Settings, findings: list[Finding]) -> CompiledGrant:
    upstream = _upstream(grant.upstream, path, settings, findings)
    if upstream is not None and upstream.tailscale is None:
        text = "is headscale's own API, which gives keys to join (tailscaleAuthKey) and no tokens"
        findings.append(Finding(f"{path}.upstream", text))
    fixed = upstream.fixed if upstream is not None else None
    if fixed is not None:
        _same(grant.scopes, fixed.scopes, f"{path}.scopes", findings)
        _same(grant.tags, fixed.tags, f"{path}.tags", findings)
    return CompiledGrant(
        name=name,
        kind=GrantKind.TAILSCALE,
        targets=_target(upstream),
        scopes=grant.scopes,
        tags=grant.tags,
        upstream=grant.upstream,
        fixed=fixed is not None,
    )


def _key(
    name: str, grant: TailscaleAuthKeyGrant, path: str, settings: Settings, findings: list[Finding]
) -> CompiledGrant:
    upstream = _upstream(grant.upstream, path, settings, findings)
    if upstream is not None and upstream.fixed is not None:
        _can_make(grant, upstream.fixed, path, findings)
    return CompiledGrant(
        name=name,
        kind=GrantKind.TAILSCALE_AUTH_KEY,
        targets=_target(upstream),
        tags=grant.tags,
        upstream=grant.upstream,
        ephemeral=grant.ephemeral is not False,
        expiry=grant.expiry or DEFAULT_EXPIRY,
    )


def _upstream(name: str, path: str, settings: Settings, findings: list[Finding]) -> Upstream | None:
    for upstream in settings.upstreams:
        if upstream.name == name and upstream.api_url:
            return upstream
    findings.append(Finding(f"{path}.upstream", "names no upstream of the IdentityProvider", Reason.REF_NOT_FOUND))
    return None


def _target(upstream: Upstream | None) -> frozenset[str]:
    return frozenset({upstream.api_url if upstream is not None else ""})


def _same(granted: Collection[str], fixed: Collection[str], path: str, findings: list[Finding]) -> None:
    if set(granted) != set(fixed):
        right = f"be {', '.join(fixed)}" if fixed else "be left out"
        text = f"must {right}: the upstream is a workload identity, whose tokens always have what it was given"
        findings.append(Finding(path, text))


def _can_make(grant: TailscaleAuthKeyGrant, fixed: WorkloadIdentity, path: str, findings: list[Finding]) -> None:
    if _MAKES_KEYS.isdisjoint(fixed.scopes):
        text = "is a workload identity without the scope auth_keys, so it can make no keys"
        findings.append(Finding(f"{path}.upstream", text))
    for position, tag in enumerate(grant.tags):
        if tag not in fixed.tags:
            text = f"{tag} is none of the tags that the upstream's workload identity was given"
            findings.append(Finding(f"{path}.tags[{position}]", text))
