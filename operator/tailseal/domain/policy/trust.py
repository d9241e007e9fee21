"""Whose tokens a policy means, and whether a verified token is one of them: the same for subjects and for actors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.expressions.cel import Program
from tailseal.domain.policy.matchers import Rule, Verdict
from tailseal.domain.policy.source import KeySource

Claims = Mapping[str, Any]

_MATCH = Verdict.MATCH


class Verified(NamedTuple):
    """A token whose signature and times were verified.

    Args:
        source: whose keys verified it.
        algorithm: the JWS algorithm it was verified with.
        audiences: its `aud`, as a sequence whether it was one or several.
        claims: its payload.
    """

    source: KeySource
    algorithm: str
    audiences: Sequence[str]
    claims: Claims


@dataclass(frozen=True, slots=True, eq=False)
class Trust:
    """Whose tokens `from`, or an entry of `actors`, means.

    Args:
        origin: the place in the manifest, e.g. `spec.from.oidc`.
        source: whose keys the token must have been verified with; inline keys count until `source.expires_at`.
        algorithms: JWS algorithms it may be signed with.
        audiences: it must name at least one of them.
        rules: subject and claim rules, cheapest first; all must hold.
        max_age: seconds since `iat` after which it is too old; None: no limit but `exp`.
        condition: an expression over the claims that must give true, asked after everything else; None: there is none.
        one_time: whether a token counts once only.
    """

    origin: str
    source: KeySource
    algorithms: frozenset[str]
    audiences: frozenset[str]
    rules: tuple[Rule, ...]
    max_age: int | None = None
    condition: Program | None = None
    one_time: bool = False


def denial(trust: Trust, token: Verified, now: float, skew: float) -> Denial | None:
    """Why a token of the trust's key source is not meant, its condition aside; the order is that of `Denial`.

    Args:
        trust: whose tokens are meant.
        token: verified by the keys of `trust.source`.
        now: Unix seconds.
        skew: seconds by which an issuer's clock may differ from ours.
    """
    if trust.audiences.isdisjoint(token.audiences):
        return Denial.AUDIENCE_NOT_TRUSTED
    claims = token.claims
    for rule in trust.rules:  # no call of ours in between: every decision runs through here
        if rule.test(claims) is not _MATCH:
            return Denial.NO_POLICY_MATCHES
    if token.algorithm not in trust.algorithms:
        return Denial.ALGORITHM_NOT_ALLOWED
    if (expires_at := trust.source.expires_at) is not None and now >= expires_at:
        return Denial.KEYS_EXPIRED
    if trust.max_age is not None and is_too_old(claims, trust.max_age, now, skew):
        return Denial.TOKEN_TOO_OLD
    return None


def is_too_old(claims: Claims, max_age: int, now: float, skew: float) -> bool:
    """Whether the token was issued longer ago than that, or does not say when; the arguments are those of `denial`."""
    issued_at = claims.get("iat")
    if isinstance(issued_at, bool) or not isinstance(issued_at, int | float):
        return True
    return now - issued_at > max_age + skew


def is_named(claims: Claims) -> bool:
    """Whether a token has an id (`jti`), by which it is known again where it counts once; else by what was signed."""
    jti = claims.get("jti")
    return type(jti) is str and jti != ""


class Acting(NamedTuple):
    """An actor token, and the entry of `actors` that means it."""

    trust: Trust
    token: Verified
