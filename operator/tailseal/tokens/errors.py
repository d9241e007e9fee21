"""Why a token or a key set is not accepted: stable words for callers, metrics and audit lines, never their content."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """A stable reason word; its meaning never changes once released."""

    MALFORMED = "TokenMalformed"
    """Not three segments of strict base64url with JSON objects in the first two (RFC 7515 section 7.1)."""
    TOO_LARGE = "TokenTooLarge"
    TOO_DEEP = "TokenTooDeep"
    DUPLICATE_MEMBER = "DuplicateMember"
    """A JSON object names a member twice (RFC 7515 section 4, RFC 8725 section 2.4)."""
    UNSUPPORTED_HEADER = "UnsupportedHeader"
    """`crit` or `b64` (RFC 7515 section 4.1.11, RFC 7797)."""
    EMBEDDED_KEY = "EmbeddedKey"
    """`jwk`, `jku`, `x5u` or `x5c`: the token names its own key (RFC 8725 section 3.10)."""
    ALGORITHM_NOT_ALLOWED = "AlgorithmNotAllowed"
    """`alg` is not one that we verify, or not the one bound to the key (RFC 8725 sections 3.1, 3.2)."""
    WRONG_TYPE = "WrongTokenType"
    """`typ` says that the token was made for something else (RFC 8725 section 3.11)."""
    UNKNOWN_KEY = "UnknownKey"
    BAD_SIGNATURE = "BadSignature"
    CLAIM_MISSING = "ClaimMissing"
    """One of `iss`, `exp`, `iat`, `aud`, `sub` is not there."""
    CLAIM_MALFORMED = "ClaimMalformed"
    ACT_MALFORMED = "ActMalformed"
    """The claim `act` names no chain of parties, or too long a one (RFC 8693 section 4.1)."""
    SESSION_ELSEWHERE = "SessionElsewhere"
    """It is of a login, and only the identity provider itself knows whether that has ended."""
    EXPIRED = "TokenExpired"
    NOT_YET_VALID = "TokenNotYetValid"


class TokenError(Exception):
    """The token is refused.

    Args:
        reason: the stable word.
        message: what is wrong and where, without any of the token's content.
    """

    def __init__(self, reason: Fault, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class KeySetError(Exception):
    """The document is not a JWK Set that holds a usable key; the message never repeats its content."""
