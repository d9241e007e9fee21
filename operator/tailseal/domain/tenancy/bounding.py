"""What the bounds of an IdentityProvider mean: which of them are for a namespace, what matches them, what is reserved.

Shared by all kinds that an IdentityProvider admits from other namespaces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from tailseal.api.findings import Finding
from tailseal.api.reasons import Reason
from tailseal.domain.bundle.model import Bound, Settings, Upstream
from tailseal.domain.policy.expressions import patterns

RESERVED_PREFIX: Final = "tailseal:"
"""Audiences of what we say to ourselves and to upstreams."""

CLIENT_PREFIX: Final = "oauthclient."
"""Client ids that are made from names begin so; each is the audience of ID tokens, and of nothing else."""

REGISTERED_PREFIX: Final = "registered."
"""Client ids of clients that register themselves begin so, which nobody here knows one by one."""


def is_unbounded(namespace: str, settings: Settings) -> bool:
    """Whether there are no rules and the namespace is the provider's own, which may then do everything."""
    return not settings.bounds and namespace == settings.namespace


def rules_for(namespace: str, settings: Settings) -> tuple[Bound, ...]:
    """The rules that are for the namespace."""
    return tuple(rule for rule in settings.bounds if namespace in rule.namespaces or "*" in rule.namespaces)


def exceeds(path: str, what: str, member: str) -> Finding:
    """That something is beyond bounds, by the member of these that would have to allow it."""
    message = f"{what}: the IdentityProvider's bounds do not allow it (bounds[].{member})"
    return Finding(path, message, Reason.EXCEEDS_BOUNDS)


def is_reserved(audience: str, settings: Settings) -> bool:
    """Whether it is a client's id; or is, or lies below, an address of ours or of an upstream, whatever its case."""
    plain = audience.lower().rstrip("/")
    upstreams = [place for upstream in settings.upstreams for place in _places_of(upstream)]
    ours = (settings.issuer, settings.token_endpoint, *settings.subject_audiences, *upstreams)
    places = {as_place(url) for url in (*ours, "https://api.tailscale.com")}
    # A token for a client's id would be taken for one of its ID tokens.
    return (
        audience in settings.client_ids
        or plain.startswith((RESERVED_PREFIX, CLIENT_PREFIX, REGISTERED_PREFIX))
        or any(
            plain == place or plain.startswith(f"{place}/")
            for place in (*places, *(p.split("://")[-1] for p in places))
        )
    )


def _places_of(upstream: Upstream) -> Iterator[str]:
    """Its API, and whom our assertions to it are for: a JWT for that audience would be one."""
    if upstream.api_url:
        yield upstream.api_url
    if upstream.fixed is not None:
        yield upstream.fixed.audience


def as_place(url: str) -> str:
    """The URL without what makes no difference: case, a last slash."""
    return url.lower().rstrip("/")


def allows(value: str, patterns_allowed: Iterable[str]) -> bool:
    """Whether one of a bound's patterns is for the value."""
    return any(_matches(value, pattern) for pattern in patterns_allowed)


def _matches(value: str, pattern: str) -> bool:
    try:
        return patterns.allows(pattern)(value)
    except patterns.PatternError:  # a bound that means nothing allows nothing
        return False
