"""ID tokens (OpenID Connect Core section 2): who logged in, when, and that the access token beside it is theirs."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256, sha384, sha512
from typing import Any, Final

from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth.records import Login
from tailseal.tokens.compact import encode

ACR: Final = "urn:tailseal:acr:tailnet"
"""How sure we are: a node of the tailnet, whose key expires, spoke for them."""

AMR: Final = ("swk",)
"""By which means: proof of a key that software keeps (RFC 8176)."""


def claims(
    login: Login, client: CompiledClient, said: Mapping[str, Any], access_token: str, algorithm: str
) -> dict[str, Any]:
    """What an ID token says, but for its times and issuer.

    Args:
        login: that it is about.
        client: whom it is for.
        said: of the person.
        access_token: that goes with it.
        algorithm: that it will be signed with.
    """
    found = {
        **said,
        "sub": login.subject,
        "aud": client.client_id,
        "azp": client.client_id,
        "auth_time": login.auth_time,
        "acr": ACR,
        "amr": list(AMR),
        "at_hash": half_hash(access_token, algorithm),
    }
    return found | ({"sid": login.sid} if login.sid else {})


def half_hash(value: str, algorithm: str) -> str:
    """`at_hash`: the left half of the hash that goes with the algorithm (OpenID Connect Core section 3.1.3.6)."""
    digest = {"ES384": sha384, "EdDSA": sha512}.get(algorithm, sha256)(value.encode("ascii")).digest()
    return encode(digest[: len(digest) // 2]).decode()
