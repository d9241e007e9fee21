"""ID tokens (OpenID Connect Core section 2): who logged in, when, and that the access token beside it is theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth import jws
from tailseal.oauth.records import Login

ACR: Final = "urn:tailseal:acr:tailnet"
"""How sure we are: a node of the tailnet, whose key expires, spoke for them."""

AMR: Final = ("swk",)
"""By which means: proof of a key that software keeps (RFC 8176)."""

RS256: Final = "RS256"


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
        "at_hash": jws.half_hash(access_token, algorithm),
    }
    return found | ({"sid": login.sid} if login.sid else {})
