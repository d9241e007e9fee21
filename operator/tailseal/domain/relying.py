"""What a Kubernetes API server has to be told to accept our tokens: its AuthenticationConfiguration (KEP-3331).

An API server does not start on a file with a wrong expression, so this is made here and tried on a real one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from tailseal.domain.tenancy.minting import OUR_CLAIMS, RESERVED_CLAIMS

API_VERSION: Final = "apiserver.config.k8s.io/v1"

VERIFIED: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"})
"""Algorithms that an API server verifies: EdDSA is not among them."""

GUARDED: Final = RESERVED_CLAIMS - OUR_CLAIMS
"""Claims that a policy may set only where bounds list them: any other would let every policy name any group."""

_EXTRA: Final = {
    "tailseal.dev/policy": "claims.?policy.orValue(claims.?client_id.orValue(claims.?azp.orValue('')))",
    "tailseal.dev/jti": "claims.?jti.orValue('')",
    "tailseal.dev/scope": "claims.?scope.orValue('')",
    "tailseal.dev/actor": "claims.?act.?sub.orValue('')",
}
"""What audit events of the API server say of a token beside its name: enough to find our own audit line."""


class RelyingError(ValueError):
    """There is no safe configuration of that kind; says which part, and what would be right."""


class Relying(NamedTuple):
    """What an API server is to accept.

    Args:
        issuer: of the IdentityProvider.
        audiences: a token must be for one of them.
        prefix: what names of users and groups begin with, so that nobody is taken for somebody else.
        groups: name of the claim that says them, as a text or a list.
        longest: seconds; tokens that live longer are refused.
        authority: PEM certificates that vouch for the issuer's https; empty: the API server's system has them.
    """

    issuer: str
    audiences: Sequence[str]
    prefix: str = "tailseal:"
    groups: str = "groups"
    longest: int = 3600
    authority: str = ""


def configuration(asked: Relying) -> dict[str, Any]:
    """The AuthenticationConfiguration.

    Raises:
        RelyingError: it would not be accepted, or would trust what no bounds guard.
    """
    _check(asked)
    return {
        "apiVersion": API_VERSION,
        "kind": "AuthenticationConfiguration",
        "jwt": [
            {
                "issuer": _issuer(asked),
                "claimValidationRules": _rules(asked),
                "claimMappings": {
                    "username": {"expression": f"'{asked.prefix}' + claims.sub"},
                    "groups": {"expression": _groups(asked)},
                    "extra": [{"key": key, "valueExpression": expression} for key, expression in _EXTRA.items()],
                },
                "userValidationRules": [
                    {
                        "expression": "!user.username.startsWith('system:')",
                        "message": "names that begin with system: are Kubernetes' own",
                    },
                    {
                        "expression": "user.groups.all(group, !group.startsWith('system:'))",
                        "message": "groups that begin with system: are Kubernetes' own",
                    },
                ],
            }
        ],
    }


def _check(asked: Relying) -> None:
    if not asked.issuer.startswith("https://"):
        raise RelyingError(f"issuer {asked.issuer}: an API server trusts issuers by https only")
    if not asked.audiences or not all(asked.audiences):
        raise RelyingError("an audience is needed: a name of the cluster that no other service has")
    if asked.issuer in asked.audiences:
        raise RelyingError(f"audience {asked.issuer} is the issuer itself: name the cluster instead")
    if not asked.prefix or "'" in asked.prefix or "\\" in asked.prefix or not asked.prefix.isprintable():
        raise RelyingError("the prefix must be there, and without quotes and backslashes")
    if asked.groups not in GUARDED:
        text = f"claim {asked.groups}: every policy may set it; groups come from a claim that bounds guard, e.g. groups"
        raise RelyingError(text)


def _issuer(asked: Relying) -> dict[str, Any]:
    found: dict[str, Any] = {
        "url": asked.issuer,
        "audiences": list(asked.audiences),
        "audienceMatchPolicy": "MatchAny",
    }
    return found | ({"certificateAuthority": asked.authority} if asked.authority else {})


def _rules(asked: Relying) -> list[dict[str, str]]:
    claim = f"claims.{asked.groups}"
    return [
        {
            "expression": f"claims.exp - claims.iat <= {asked.longest}",
            "message": f"the token lives longer than {asked.longest} seconds",
        },
        {
            "expression": "!has(claims.cnf)",
            "message": "the token is bound to a key of its bearer, which an API server does not ask for",
        },
        {
            "expression": f"!has({claim}) || type(dyn({claim})) == string || type(dyn({claim})) == list",
            "message": f"claim {asked.groups} is no text and no list",
        },
    ]


def _groups(asked: Relying) -> str:
    """One group as a text, as policies' templates give it, or a list of them, as people's tokens have it.

    Without `dyn` the expression does not compile, and the API server does not start.
    """
    claim = f"dyn(claims.{asked.groups})"
    several = f"(type({claim}) == string ? dyn([{claim}]) : {claim})"
    return f"has(claims.{asked.groups}) ? {several}.map(group, '{asked.prefix}' + group) : []"
