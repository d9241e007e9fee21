"""Why no grant was given: stable reasons, each with its OAuth error, in the order in which a policy is evaluated."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

OAuthError = Literal["invalid_request", "invalid_target", "invalid_scope"]


class Denial(StrEnum):
    """Reasons, from the first check of a policy to the last.

    Where several policies refuse, the reason of the one that came furthest is given: it is the nearest miss.
    """

    UNKNOWN_ISSUER = "UnknownIssuer"
    """No policy names the issuer; found before any key is fetched."""

    UNKNOWN_ACTOR_ISSUER = "UnknownActorIssuer"
    """No policy names the actor token's issuer among its `actors`; found before any key is fetched."""

    AUDIENCE_NOT_TRUSTED = "AudienceNotTrusted"
    """The subject token is for somebody else: no policy of its key source accepts any of its audiences."""

    NO_POLICY_MATCHES = "NoPolicyMatches"
    """No policy's subject and claim rules all hold (or the one that was asked for is not there)."""

    ALGORITHM_NOT_ALLOWED = "AlgorithmNotAllowed"
    """The subject token is signed with an algorithm that the policy does not list."""

    KEYS_EXPIRED = "KeysExpired"
    """The JWKS that stands in the policy is past its expiry time."""

    TOKEN_TOO_OLD = "TokenTooOld"  # noqa: S105 - a reason, not a secret
    """The subject token was issued longer ago than the policy's `maxAge`."""

    EXCEEDS_BOUNDS = "ExceedsBounds"
    """The provider's bounds have become narrower than the policy."""

    ACTOR_NOT_ALLOWED = "ActorNotAllowed"
    """There is an actor token, and the policy lets nobody act for the subject."""

    ACTOR_NOT_TRUSTED = "ActorNotTrusted"
    """None of the policy's `actors` is who the actor token speaks of."""

    ACTOR_NOT_NAMED = "ActorNotNamed"
    """The subject token says who may act for its subject (`may_act`), and that is somebody else."""

    TOKEN_TYPE_NOT_GRANTED = "TokenTypeNotGranted"  # noqa: S105
    """The policy grants no token of the requested type."""

    GRANT_NOT_FOUND = "GrantNotFound"
    """The policy has no grant of the requested name (and type)."""

    TARGET_NOT_GRANTED = "TargetNotGranted"
    """The requested audience or resource is in no grant: the wrong audience."""

    TAG_NOT_GRANTED = "TagNotGranted"
    """A requested tag exceeds the grant."""

    SCOPE_NOT_GRANTED = "ScopeNotGranted"
    """A requested scope exceeds the grant: the wider scope."""

    AMBIGUOUS_GRANT = "AmbiguousGrant"
    """Several grants cover the request: it must say which, by audience, resource, policy or grant."""

    CONDITION_BUDGET = "ConditionBudget"
    """The expressions of the policy's namespace take more than a request may cost."""

    CONDITION_ERROR = "ConditionError"
    """The policy's condition gives no answer for this token, as where it looks at a claim that is not there."""

    CONDITION_FALSE = "ConditionFalse"
    """The policy's condition, asked after everything else, does not hold."""

    CLAIM_ERROR = "ClaimError"
    """An expression for the subject or a claim of the token to mint gives no value of its kind for this token."""

    AUDIT_ONLY = "AuditOnly"
    """A policy would grant, but its enforcement is `Audit`."""

    @property
    def error(self) -> OAuthError:
        """The error code of RFC 6749 section 5.2 and RFC 8693 section 2.2.2."""
        return _ERRORS.get(self, "invalid_request")

    @property
    def rank(self) -> int:
        """How far the evaluation came; higher is nearer to a grant."""
        return _RANKS[self]


_ERRORS: dict[Denial, OAuthError] = {
    Denial.GRANT_NOT_FOUND: "invalid_target",
    Denial.TARGET_NOT_GRANTED: "invalid_target",
    Denial.AMBIGUOUS_GRANT: "invalid_target",
    Denial.TAG_NOT_GRANTED: "invalid_scope",
    Denial.SCOPE_NOT_GRANTED: "invalid_scope",
}

_RANKS = {reason: rank for rank, reason in enumerate(Denial)}
