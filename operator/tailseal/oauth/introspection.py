"""What a token is, for those it concerns (RFC 7662): its client and the services that it is for, and nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from tailseal.domain.bundle.model import Settings
from tailseal.domain.clients.compile import CompiledClient
from tailseal.tokens import compact, verify
from tailseal.tokens.compact import Compact
from tailseal.tokens.errors import TokenError
from tailseal.tokens.keyset import KeySet

MEDIA_TYPE: Final = "application/token-introspection+jwt"
TYPE: Final = "token-introspection+jwt"
"""Of the signed answer (RFC 9701 section 5)."""

INACTIVE: Final[Mapping[str, Any]] = {"active": False}
"""Everything that is said of what is unknown, over, or somebody else's (section 2.2)."""

_ACCESS: Final = frozenset({"at+jwt", "application/at+jwt"})
_SAID: Final = ("scope", "client_id", "exp", "iat", "nbf", "sub", "aud", "iss", "jti", "cnf", "act")
_FAMILY_BYTES: Final = 16


def own(token: str, keys: KeySet, settings: Settings) -> Compact | None:
    """A JWT access token that we signed, whether it has expired or not; None for everything else.

    Args:
        token: as presented.
        keys: that we publish.
        settings: of the provider.
    """
    try:
        found = compact.split(token)
        if str(found.header.get("typ")).lower() not in _ACCESS:
            return None
        verify.check_signature(found, keys)
        verify.audiences(found.payload)
        mine = verify.issuer(found.payload) == settings.issuer
    except TokenError:
        return None
    shaped = type(found.payload.get("exp")) is int and type(found.payload.get("jti")) is str
    return found if mine and shaped else None


def family_of(claims: Mapping[str, Any]) -> bytes:
    """The family that an access token of ours belongs to; empty: none."""
    first, dot, _ = str(claims.get("jti", "")).partition(".")
    if not dot or not first:
        return b""
    try:
        found = compact.decode(first.encode("ascii"))
    except (TokenError, UnicodeEncodeError):
        return b""
    return found if len(found) == _FAMILY_BYTES else b""


def mark_of(claims: Mapping[str, Any]) -> bytes:
    """The digest under which an access token is kept that was taken back."""
    return sha256(str(claims["jti"]).encode()).digest()


def concerns(client: CompiledClient, claims: Mapping[str, Any]) -> bool:
    """Whether the client may know what the token is: it is its own, or for it (RFC 7662 section 4)."""
    if claims.get("client_id") == client.client_id:
        return True
    aud = claims.get("aud", ())
    meant = {aud} if isinstance(aud, str) else set(aud)
    return not meant.isdisjoint(client.resources | {client.client_id})


def described(claims: Mapping[str, Any]) -> dict[str, Any]:
    """The answer about a token that counts.

    Args:
        claims: as a JWT access token has them.
    """
    said = {name: claims[name] for name in _SAID if name in claims}
    bound = "cnf" in claims
    return {"active": True, "token_type": "DPoP" if bound else "Bearer", **said}


def wants_jwt(accept: str) -> bool:
    """Whether the signed answer is asked for by name (RFC 9701 section 4)."""
    kinds = (entry.partition(";") for entry in accept.lower().split(","))
    return any(kind.strip() == MEDIA_TYPE and rest.strip() != "q=0" for kind, _, rest in kinds)


def claims(answer: Mapping[str, Any], client: CompiledClient, settings: Settings, now: float) -> dict[str, Any]:
    """The signed answer's claims: no `sub` or `exp`, so that nobody takes it for the token (RFC 9701 section 5).

    Args:
        answer: as JSON would have it.
        client: who asks.
        settings: of the provider.
        now: Unix seconds.
    """
    return {
        "iss": settings.issuer,
        "aud": client.client_id,
        "iat": int(now),
        "token_introspection": dict(answer),
    }
