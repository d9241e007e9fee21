"""Signature and claims of a foreign token, against keys in hand and the time given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tailseal.domain.tenancy.bounding import RESERVED_PREFIX
from tailseal.tokens.compact import Compact
from tailseal.tokens.errors import Fault, TokenError
from tailseal.tokens.keyset import KeySet

ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - token type identifiers of RFC 8693 section 3
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"

MAX_AUDIENCES: Final = 64
MAX_TEXT: Final = 2048

_MAX_TIME: Final = 253_402_300_800
"""The year 10000: beyond it is no date that anybody meant."""

_LOGIN: Final = "."
"""In the id of a token that stands and falls with a login or its client; ids of decisions have none."""

_PLAIN: Final = frozenset({None, "jwt", "application/jwt"})
_ACCESS: Final = frozenset({"at+jwt", "application/at+jwt"})
_TYPES: Final[Mapping[str, frozenset[str | None]]] = {
    JWT: _PLAIN | _ACCESS,
    ACCESS_TOKEN: _PLAIN | _ACCESS,
    ID_TOKEN: _PLAIN,
}
SUBJECT_TOKEN_TYPES: Final = frozenset(_TYPES)
"""What a `subject_token_type` may say."""


def check_type(token: Compact, token_type: str) -> None:
    """Refuse a token whose `typ` says that it was made for another use (RFC 8725 section 3.11).

    Raises:
        TokenError: `WrongTokenType`.
    """
    typ = token.header.get("typ")
    if (typ if typ is None else typ.lower()) not in _TYPES[token_type]:
        raise TokenError(Fault.WRONG_TYPE, "the token's `typ` does not fit the subject token type")


def check_session(token: Compact, token_type: str, *, now: float, logins: bool = False) -> None:
    """Refuse a token of our own that is not one that we gave to a client: an ID token, an assertion to an upstream.

    Sources: RFC 9068 sections 2.1, 2.2 and 4 (`typ`, `client_id`), RFC 8725 section 3.12.

    Args:
        token: whose signature is ours.
        token_type: one of `SUBJECT_TOKEN_TYPES`.
        now: Unix seconds; the token's times are by our own clocks, so nothing prolongs it.
        logins: whether it was seen that its login goes on, if it is of one; only an identity provider can.

    Raises:
        TokenError: `WrongTokenType`, `SessionElsewhere` or `TokenExpired`.
    """
    typ = token.header.get("typ")
    fits = typ == "at+jwt" or (typ == "JWT" and token_type == JWT)
    subject = token.payload.get("sub")
    ours_alone = isinstance(subject, str) and subject.startswith(RESERVED_PREFIX)
    if not fits or token_type == ID_TOKEN or not isinstance(token.payload.get("client_id"), str) or ours_alone:
        raise TokenError(Fault.WRONG_TYPE, "the token is of this provider, but no access token or JWT for a client")
    if not logins and _LOGIN in str(token.payload.get("jti", "")):
        text = "the token is of a login: exchange it at the identity provider, which knows whether that has ended"
        raise TokenError(Fault.SESSION_ELSEWHERE, text)
    if _time(token.payload, "exp") <= now:
        raise TokenError(Fault.EXPIRED, "the token has expired")


def check_signature(token: Compact, keys: KeySet) -> None:
    """Verify with the key of the token's `kid`, and only if the key is bound to the token's `alg`.

    Raises:
        TokenError: `UnknownKey`, `AlgorithmNotAllowed` or `BadSignature`.
    """
    if not keys.find(token.kid, token.alg).verify(token.signing_input, token.signature):
        raise TokenError(Fault.BAD_SIGNATURE, "the signature is not the key's over this token")


def issuer(claims: Mapping[str, Any]) -> str:
    """The `iss` claim: to look up, not yet to be believed.

    Raises:
        TokenError: `ClaimMissing` or `ClaimMalformed`.
    """
    return _text(claims, "iss")


def was_exchanged(claims: Mapping[str, Any]) -> bool:
    """Whether a Tailseal gave the token in exchange for another one, or a caller's word: it says by which policy."""
    client, policy = claims.get("client_id"), claims.get("policy")
    named = type(policy) is str and "/" in policy  # beside the client, if one proved that the exchange was its own
    return named or (type(client) is str and client.startswith("policy:"))


def audiences(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """The `aud` claim, a text or a list of texts (RFC 7519 section 4.1.3).

    Raises:
        TokenError: `ClaimMissing` or `ClaimMalformed`.
    """
    value = claims.get("aud")
    if isinstance(value, list) and 0 < len(value) <= MAX_AUDIENCES and all(type(entry) is str for entry in value):
        return tuple(value)
    return (_text(claims, "aud"),)


def check_claims(claims: Mapping[str, Any], *, now: float, skew: float) -> None:
    """Require `sub`, `exp` and `iat`, honour `nbf`; `issuer` and `audiences` read `iss` and `aud`.

    Args:
        claims: of a token whose signature verified.
        now: Unix seconds.
        skew: seconds by which the issuer's clock may differ from ours.

    Raises:
        TokenError: `ClaimMissing`, `ClaimMalformed`, `TokenExpired` or `TokenNotYetValid`.
    """
    _text(claims, "sub")
    if _time(claims, "exp") <= now - skew:
        raise TokenError(Fault.EXPIRED, "the token has expired")
    if _time(claims, "iat") > now + skew:
        raise TokenError(Fault.NOT_YET_VALID, "the token was issued in the future")
    if "nbf" in claims and _time(claims, "nbf") > now + skew:
        raise TokenError(Fault.NOT_YET_VALID, "the token is not valid yet")
    if "jti" in claims:
        _text(claims, "jti")


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if type(value) is str and 0 < len(value) <= MAX_TEXT:
        return value
    raise _wrong(claims, name, "is not a text of reasonable length")


def _time(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    # Not isinstance: a boolean is an int to Python, and not to JSON.
    if type(value) is int and 0 <= value < _MAX_TIME:
        return value
    raise _wrong(claims, name, "is not a time in whole seconds")


def _wrong(claims: Mapping[str, Any], name: str, how: str) -> TokenError:
    if claims.get(name) is None:
        return TokenError(Fault.CLAIM_MISSING, f"claim `{name}` is missing")
    return TokenError(Fault.CLAIM_MALFORMED, f"claim `{name}` {how}")
