"""Clients that introduce themselves by a URL (Client ID Metadata Documents): whose documents count, and how long."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from tailseal.domain.clients import redirects
from tailseal.domain.clients.compile import CompiledClient
from tailseal.domain.policy.source import leads_elsewhere
from tailseal.oauth import introduction
from tailseal.oauth.errors import OAuthError

SHORTEST: Final = 60
LONGEST: Final = 86_400
USUAL: Final = 3600
"""Seconds for which a document counts: at least, at most, and where its server does not say."""

_MAX_URL: Final = 512
_URL: Final = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/[!$-;=?-_a-z~]*")
_SECRETS: Final = frozenset({"client_secret_basic", "client_secret_post", "client_secret_jwt"})
_AGE: Final = re.compile(r"(?:^|,)\s*(?:s-maxage|max-age)\s*=\s*\"?([0-9]{1,9})\"?", re.IGNORECASE)


def is_one(client_id: str, domains: Collection[str]) -> bool:
    """Whether it is a URL whose document may be fetched.

    Args:
        client_id: as a request has it.
        domains: hosts that are allowed, in lower case.
    """
    if len(client_id) > _MAX_URL or not _URL.fullmatch(client_id) or leads_elsewhere(client_id):
        return False
    return (urlsplit(client_id).hostname or "") in domains


def read(client_id: str, content: bytes) -> CompiledClient:
    """The client that a document describes.

    Args:
        client_id: URL that it was fetched from.
        content: the document.

    Raises:
        OAuthError: `invalid_client_metadata` or `invalid_redirect_uri`.
    """
    document = introduction.document(content)
    if document.get("client_id") != client_id:
        raise OAuthError("invalid_client_metadata", "the document's `client_id` is not the URL that it is at")
    if document.get("token_endpoint_auth_method", "none") in _SECRETS or "client_secret" in document:
        raise OAuthError("invalid_client_metadata", "a document that all can read goes with no secret")
    metadata = introduction.read({"token_endpoint_auth_method": "none", **document})
    return introduction.compiled(metadata, client_id, f"metadata:{client_id}", introduced="metadata")


def seconds(headers: Mapping[str, str]) -> int:
    """For how long a document counts (RFC 9111), within limits.

    Args:
        headers: of the answer, names in lower case.
    """
    told = headers.get("cache-control", "").lower()
    if "no-store" in told or "no-cache" in told:
        return SHORTEST
    found = _AGE.search(told)
    return min(max(int(found[1]), SHORTEST), LONGEST) if found else USUAL


def is_local(client: CompiledClient) -> bool:
    """Whether it leads to the browser's own machine alone, where any program can listen: its name proves nothing."""
    return all(redirects.host_of(uri) == redirects.LOCALHOST for uri in client.redirect_uris)
