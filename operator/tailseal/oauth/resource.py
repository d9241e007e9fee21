"""What a service says of itself so that its clients find us (RFC 9728), as servers of the Model Context Protocol do.

For services in Python: the document to serve, where to serve it, and the header of a 401 that leads there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"


def location(resource: str) -> str:
    """URL of the document: the well-known part stands before the path (section 3.1).

    Args:
        resource: URL of the service: what tokens for it have in `aud`, without fragment.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(resource)
    if parts.scheme not in {"https", "http"} or not parts.netloc or parts.fragment or "#" in resource:
        raise ValueError("a resource is an http URL without fragment")
    path = "" if parts.path == "/" else parts.path
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{path}{query}"


def document(resource: str, issuer: str, scopes: Sequence[str] = (), *, proof: bool = False) -> Mapping[str, Any]:
    """The document (section 2).

    Args:
        resource: URL of the service, exactly as clients ask for it.
        issuer: of the IdentityProvider.
        scopes: that mean something there.
        proof: whether tokens must be bound to a key (RFC 9449).
    """
    location(resource)
    return {
        "resource": resource,
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
        **({"scopes_supported": list(scopes)} if scopes else {}),
        **({"dpop_bound_access_tokens_required": True} if proof else {}),
    }


def challenge(resource: str, *, error: str = "", scopes: Sequence[str] = (), proof: bool = False) -> str:
    """Header `WWW-Authenticate` of an answer 401, or 403 where a scope is missing (section 5.1, RFC 6750 section 3).

    Args:
        resource: URL of the service.
        error: `invalid_token` or `insufficient_scope`; empty: the request had no token.
        scopes: that would do.
        proof: whether tokens must be bound to a key.
    """
    said = {"error": error, "scope": " ".join(scopes), "resource_metadata": location(resource)}
    parts = [f'{name}="{value}"' for name, value in said.items() if value]
    return f"{'DPoP' if proof else 'Bearer'} {', '.join(parts)}"
