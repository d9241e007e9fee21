"""Access tokens: JWTs by RFC 9068, or opaque ones that stand for the same claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tailseal.domain.clients.compile import CompiledClient
from tailseal.domain.keys.public import base64url
from tailseal.oauth.idtoken import ACR, AMR

RANDOM_BYTES = 12
"""Of a token's id, beside its family's."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What an access token is to say.

    Args:
        issuer: ours.
        subject: `sub`; of a client in its own name, its id.
        scopes: granted.
        resources: services that it is for; empty: ourselves.
        family: id of the family that it ends with; empty: none.
        jkt: key that it is bound to; empty: none.
        auth_time: Unix seconds of the login; 0: there was none.
        about: claims about the person, for services that decide by them (RFC 9068 section 2.2.3).
    """

    issuer: str
    subject: str
    scopes: Sequence[str]
    resources: Sequence[str]
    family: bytes = b""
    jkt: str = ""
    auth_time: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)


def claims(terms: Terms, client: CompiledClient, now: int, ttl: int, random: bytes) -> dict[str, Any]:
    """The claims (RFC 9068 section 2.2).

    Args:
        terms: of the token.
        client: whose it is.
        now: Unix seconds.
        ttl: seconds that it lives.
        random: `RANDOM_BYTES`.
    """
    audiences = list(terms.resources) or [terms.issuer]
    found: dict[str, Any] = {
        **terms.about,
        "iss": terms.issuer,
        "sub": terms.subject,
        "aud": audiences[0] if len(audiences) == 1 else audiences,
        "client_id": client.client_id,
        "iat": now,
        "exp": now + ttl,
        "jti": f"{base64url(terms.family)}.{base64url(random)}",
    }
    if terms.scopes:
        found["scope"] = " ".join(terms.scopes)
    if terms.jkt:
        found["cnf"] = {"jkt": terms.jkt}
    return found | ({"auth_time": terms.auth_time, "acr": ACR, "amr": list(AMR)} if terms.auth_time else {})
