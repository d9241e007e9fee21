"""The metadata of an issuer that exchanges tokens: what verifiers of ours need, and only what is implemented and on."""

from __future__ import annotations

from typing import Any, Final

from tailseal.tokens.algorithms import VERIFYING
from tailseal.tokens.request import GRANT_TYPE
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.http.wellknown import jwks_uri

PROVING: Final = ("client_secret_basic", "client_secret_post", "private_key_jwt")
"""How a client may prove that an exchange is its own; nobody has to be one."""


def oauth(snapshot: Snapshot) -> dict[str, Any]:
    """RFC 8414 metadata. There is no authorization endpoint; lists that would be empty are left out (section 3.2)."""
    settings = snapshot.settings
    clients = any(GRANT_TYPE in client.grant_types for client in snapshot.clients.values())
    return {
        "issuer": settings.issuer,
        "token_endpoint": settings.token_endpoint,
        "jwks_uri": jwks_uri(settings.issuer),
        "grant_types_supported": [GRANT_TYPE],
        "token_endpoint_auth_methods_supported": ["none", *(PROVING if clients else ())],
        **({"token_endpoint_auth_signing_alg_values_supported": list(VERIFYING)} if clients else {}),
        "dpop_signing_alg_values_supported": list(VERIFYING),
    }


def openid(snapshot: Snapshot) -> dict[str, Any]:
    """OpenID Connect Discovery metadata, for verifiers of workload tokens.

    `response_types_supported` is required there, and verifiers refuse a document without it; `id_token` is what
    issuers without an authorization endpoint say by convention (Kubernetes' service account issuer does).
    """
    published = {key["alg"] for key in snapshot.signing.model.jwks["keys"] if "alg" in key}
    return {
        **oauth(snapshot),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": sorted(published),
    }
