"""Chooses the grant of a policy that covers a whole request: a request may narrow a grant and never widens it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from tailseal.domain import scopes
from tailseal.domain.policy.compiled import CompiledGrant, GrantKind
from tailseal.domain.policy.denial import Denial

ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a URN of RFC 8693 section 3
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
AUTH_KEY: Final = "urn:tailseal:token-type:tailscale-auth-key"

_KINDS: Final = {
    None: frozenset({GrantKind.JWT, GrantKind.TAILSCALE}),
    ACCESS_TOKEN: frozenset({GrantKind.JWT, GrantKind.TAILSCALE}),
    JWT: frozenset({GrantKind.JWT}),
    AUTH_KEY: frozenset({GrantKind.TAILSCALE_AUTH_KEY}),
}
_NONE: Final[frozenset[GrantKind]] = frozenset()


class GrantRequest(NamedTuple):
    """What a caller asks for; everything that is left out is left to the grant.

    Args:
        audiences: values of `audience`.
        resources: values of `resource`.
        scopes: words of `scope`.
        requested_token_type: a token type URN, or None.
        policy: extension parameter `policy`: `<namespace>/<name>`.
        grant: extension parameter `grant`: a grant's name.
        tags: words of the extension parameter `tags`.
        upstream: the only upstream to give something, where the endpoint is for one; no request says it.
    """

    audiences: Sequence[str] = ()
    resources: Sequence[str] = ()
    scopes: Sequence[str] = ()
    requested_token_type: str | None = None
    policy: str | None = None
    grant: str | None = None
    tags: Sequence[str] = ()
    upstream: str | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """All audiences and resources: one grant must cover every one of them."""
        return (*self.audiences, *self.resources)


def refusal(grant: CompiledGrant, request: GrantRequest) -> Denial | None:
    """The first reason why the grant does not cover the request, or None if it does; the order is that of `Denial`."""
    if grant.kind not in _KINDS.get(request.requested_token_type, _NONE):
        return Denial.TOKEN_TYPE_NOT_GRANTED
    if request.grant is not None and request.grant != grant.name:
        return Denial.GRANT_NOT_FOUND
    leads_there = grant.targets.issuperset(request.audiences) and grant.targets.issuperset(request.resources)
    if not leads_there or (request.upstream is not None and request.upstream != (grant.upstream or None)):
        return Denial.TARGET_NOT_GRANTED
    if request.tags and not scopes.covers(grant.tags, request.tags):
        return Denial.TAG_NOT_GRANTED
    if (request.scopes and not _covers(grant, request)) or (grant.fixed and not _takes_all(grant, request)):
        return Denial.SCOPE_NOT_GRANTED
    return None


def _covers(grant: CompiledGrant, request: GrantRequest) -> bool:
    covers = scopes.covers_tailscale if grant.kind is GrantKind.TAILSCALE else scopes.covers
    return covers(grant.scopes, request.scopes)


def _takes_all(grant: CompiledGrant, request: GrantRequest) -> bool:
    """Whether the request leaves scopes and tags to a grant that cannot be narrowed, or names them all."""
    return set(request.scopes) in (set(), set(grant.scopes)) and set(request.tags) in (set(), set(grant.tags))


def choose(grants: Sequence[CompiledGrant], request: GrantRequest) -> CompiledGrant | Denial:
    """The one grant that covers the request; else why there is none (of the nearest miss), or not just one."""
    chosen: CompiledGrant | None = None
    nearest = Denial.TOKEN_TYPE_NOT_GRANTED
    for grant in grants:
        reason = refusal(grant, request)
        if reason is not None:
            nearest = max(nearest, reason, key=lambda found: found.rank)
        elif chosen is None:
            chosen = grant
        else:
            return Denial.AMBIGUOUS_GRANT
    return chosen or nearest
