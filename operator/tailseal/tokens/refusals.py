"""Every refusal of the exchange that is not about the request's shape: its status, error code and sentence."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from tailseal.domain.policy.denial import Denial
from tailseal.tokens.answers import Refusal
from tailseal.tokens.errors import TokenError


class Outage(StrEnum):
    """Stable reasons for which nothing can be granted now, whoever asks; answered 503."""

    NO_ACTIVE_KEY = "NoActiveKey"
    """There is no signing key within its lease."""
    KEYS_UNREACHABLE = "KeysUnreachable"
    """The issuer's keys cannot be had, and none that are young enough are left."""
    SIGNER_UNREACHABLE = "SignerUnreachable"
    """The signing key is in a token that gives no signature now."""
    OVERLOADED = "Overloaded"
    """More requests are in progress than this replica takes on."""
    NO_BUNDLE = "BundleMissing"
    """This replica has not got keys and settings yet."""
    TIMED_OUT = "ExchangeTimedOut"
    """What the decision waited for did not come in time."""
    AUDIT_UNAVAILABLE = "AuditUnavailable"
    """The decision could not be written down, so it does not count."""


class Limit(StrEnum):
    """Stable reasons for which a caller has to slow down; answered 429 (RFC 6585 section 4)."""

    SOURCE = "SourceLimited"
    """Too many requests from the caller's address came to nothing."""
    POLICY = "PolicyLimited"
    """The policy grants as often as it may."""
    ISSUER = "IssuerLimited"
    """Tokens of the subject token's issuer are exchanged as often as they may be."""
    MARKS = "MarksLimited"
    """Policies of the namespace have as much kept of what counts once as they may, for as long as it is kept."""


_LIMITS: Final[Mapping[Limit, str]] = {
    Limit.SOURCE: "too many requests from this address were refused",
    Limit.POLICY: "the policy that trusts the subject token grants as often as it may",
    Limit.ISSUER: "tokens of the subject token's issuer are exchanged as often as they may be",
    Limit.MARKS: "the policy's namespace has as many used tokens remembered as it may: short-lived ones take less room",
}

_DESCRIPTIONS: Final[Mapping[Denial, str]] = {
    Denial.UNKNOWN_ISSUER: "no policy trusts the issuer of the subject token",
    Denial.AUDIENCE_NOT_TRUSTED: "the subject token is meant for another audience",
    Denial.NO_POLICY_MATCHES: "no policy trusts the subject token",
    Denial.ALGORITHM_NOT_ALLOWED: "the subject token is signed with an algorithm that the policy does not list",
    Denial.KEYS_EXPIRED: "the keys that stand in the policy have expired",
    Denial.TOKEN_TOO_OLD: "the subject token was issued too long ago",
    Denial.EXCEEDS_BOUNDS: "the policy is beyond what its provider allows now",
    Denial.UNKNOWN_ACTOR_ISSUER: "no policy lets anybody of the actor token's issuer act for others",
    Denial.ACTOR_NOT_ALLOWED: "the policy lets nobody act for the subject",
    Denial.ACTOR_NOT_TRUSTED: "the policy does not let this actor act for the subject",
    Denial.ACTOR_NOT_NAMED: "the subject token names somebody else who may act for its subject",
    Denial.TOKEN_TYPE_NOT_GRANTED: "the policy grants no token of the requested type",
    Denial.GRANT_NOT_FOUND: "the policy has no such grant",
    Denial.TARGET_NOT_GRANTED: "the requested audience or resource is not granted",
    Denial.TAG_NOT_GRANTED: "a requested tag is not granted",
    Denial.SCOPE_NOT_GRANTED: "a requested scope is not granted",
    Denial.AMBIGUOUS_GRANT: "several grants fit: name one by audience, resource, policy or grant",
    Denial.CONDITION_BUDGET: "the policy's expressions take too long",
    Denial.CONDITION_ERROR: "the policy's condition gives no answer for the subject token",
    Denial.CONDITION_FALSE: "the policy's condition does not hold for the subject token",
    Denial.CLAIM_ERROR: "the policy's claims cannot be made from the subject token",
    Denial.AUDIT_ONLY: "a policy would grant, but it is only being tried out",
}


def denied(reason: Denial) -> Refusal:
    """The request is understood, and no policy grants it."""
    return Refusal(400, reason.error, reason, _DESCRIPTIONS.get(reason, "the subject token is not trusted"))


def denied_to_caller(reason: Denial) -> Refusal:
    """The same for a caller who is known without a token."""
    refusal = denied(reason)
    text = refusal.description.replace("the subject token", "the caller")
    if refusal.error != "invalid_request":
        return refusal._replace(description=text)
    return refusal._replace(status=403, error="access_denied", description=text)


def of_actor(error: TokenError) -> Refusal:
    """The actor token is not accepted; its reasons are those of subject tokens, told apart by their first word."""
    return Refusal(400, "invalid_request", f"Actor{error.reason}", f"actor_token: {error}")


def unavailable(reason: str) -> Refusal:
    """Nothing can be granted now, whatever the request says.

    Args:
        reason: stable word, e.g. an `Outage`.
    """
    return Refusal(503, "temporarily_unavailable", reason, "nothing can be granted now, try again later")


def limited(reason: Limit, seconds: int) -> Refusal:
    """The caller comes too often.

    Args:
        reason: which limit.
        seconds: after which it makes sense to try again.
    """
    return Refusal(429, "temporarily_unavailable", reason, _LIMITS[reason], seconds)
