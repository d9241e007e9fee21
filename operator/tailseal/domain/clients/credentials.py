"""What an application is told of its client: the keys of its Secret, by which any OpenID library can be configured."""

from __future__ import annotations

from collections.abc import Sequence

from tailseal.domain.policy.source import well_known


def credentials(issuer: str, client_id: str, secret: str, redirect_uris: Sequence[str]) -> dict[str, str]:
    """The Secret's data.

    Args:
        issuer: of the IdentityProvider.
        client_id: of the client.
        secret: of the client; empty where it proves itself by a key of its own: then there is no such entry.
        redirect_uris: as registered; separated by blanks, which none of them holds.
    """
    base = issuer.rstrip("/")
    return {
        "client_id": client_id,
        **({"client_secret": secret} if secret else {}),
        "issuer": issuer,
        "discovery_endpoint": well_known(issuer),
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "userinfo_endpoint": f"{base}/userinfo",
        "jwks_uri": f"{base}/.well-known/jwks.json",
        "redirect_uris": " ".join(redirect_uris),
    }


FILES = frozenset(credentials("", "x", "x", ()))
"""Every key that such a Secret may have."""
