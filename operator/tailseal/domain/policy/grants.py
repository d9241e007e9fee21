"""Chooses the grant of a policy that covers a whole request: a request may narrow a grant and never widens it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """

    audiences: Sequence[str] = ()
    resources: Sequence[str] = ()
    scopes: Sequence[str] = ()
    requested_token_type: str | None = None
    policy: str | None = None
    grant: str | None = None
    tags: Sequence[str] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """All audiences and resources: one grant must cover every one of them."""
        return (*self.audiences, *self.resources)


_CHECKS: Final[tuple[tuple[Denial, Callable[[CompiledGrant, GrantRequest], bool]], ...]] = (
    (
        Denial.TOKEN_TYPE_NOT_GRANTED,
        lambda grant, request: grant.kind in _KINDS.get(request.requested_token_type, frozenset()),
    ),
    (Denial.GRANT_NOT_FOUND, lambda grant, request: request.grant in {None, grant.name}),
    (Denial.TARGET_NOT_GRANTED, lambda grant, request: grant.targets.issuperset(request.targets)),
    (Denial.TAG_NOT_GRANTED, lambda grant, request: scopes.covers(grant.tags, request.tags)),
    (Denial.SCOPE_NOT_GRANTED, lambda grant, request: scopes.covers(grant.scopes, request.scopes)),
)


def refusal(grant: CompiledGrant, request: GrantRequest) -> Denial | None:
    """The first reason why the grant does not cover the request, or None if it does."""
    return next((reason for reason, holds in _CHECKS if not holds(grant, request)), None)


def choose(grants: Sequence[CompiledGrant], request: GrantRequest) -> CompiledGrant | Denial:
    """The one grant that covers the request; else why there is none (of the nearest miss), or not just one."""
    refusals = [refusal(grant, request) for grant in grants]
    left = [grant for grant, reason in zip(grants, refusals, strict=True) if reason is None]
    if len(left) == 1:
        return left[0]
    if left:
        return Denial.AMBIGUOUS_GRANT
    return max((reason for reason in refusals if reason), key=lambda reason: reason.rank)
