"""Clients that register themselves (RFC 7591, RFC 7592): what is kept of them, and what they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from tailseal.domain.clients import secrets
from tailseal.domain.clients.compile import CompiledClient
from tailseal.domain.tenancy.bounding import REGISTERED_PREFIX
from tailseal.oauth import introduction
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.introduction import Metadata

SECONDS: Final = 90 * 86_400
"""How long a registration lasts; a change of it lasts as long again."""

MOST: Final = 50
"""Registrations that one caller may have at a time."""

PREFIX: Final = REGISTERED_PREFIX
"""Client ids of these begin so: never an issuer's, a person's or a node's name."""

_SERVERS_OWN: Final = frozenset(
    {"registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"}
)


@dataclass(frozen=True, slots=True)
class Registered:
    """A registration as it is kept; of secret and token it holds hashes only.

    Args:
        client_id: made by us.
        metadata: as accepted.
        secret: hash of its secret; empty: it has none.
        token: digest of the token that it is managed with, in hexadecimal.
        issued_at: Unix seconds.
        expires_at: Unix seconds.
        owner: subject of whoever registered it.
    """

    client_id: str
    metadata: Metadata
    secret: str = field(repr=False)
    token: str = field(repr=False)
    issued_at: float
    expires_at: float
    owner: str

    def to_bytes(self) -> bytes:
        """As it is kept."""
        return orjson.dumps(self)

    @classmethod
    def from_bytes(cls, content: bytes) -> Registered:
        """As it was kept."""
        found = orjson.loads(content)
        members: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in found["metadata"].items()
        }
        return cls(**found | {"metadata": Metadata(**members)})


def client_of(found: Registered) -> CompiledClient:
    """The client of a registration."""
    uid = f"registered:{found.client_id}"
    return introduction.compiled(found.metadata, found.client_id, uid, secret=found.secret, introduced="registered")


def information(found: Registered, issuer: str, *, secret: str = "", token: str = "") -> dict[str, Any]:
    """What the client is told: all that is registered (RFC 7591 section 3.2.1).

    Args:
        found: the registration.
        issuer: of the provider.
        secret: where one was just made; it is told once.
        token: to manage the registration with, where it was just made or presented.
    """
    said: dict[str, Any] = {
        "client_id": found.client_id,
        "client_id_issued_at": int(found.issued_at),
        **({"client_secret": secret} if secret else {}),
        **({"client_secret_expires_at": int(found.expires_at)} if found.secret else {}),
        "registration_client_uri": f"{issuer.rstrip('/')}/register/{found.client_id}",
        **({"registration_access_token": token} if token else {}),
    }
    return said | introduction.told(found.metadata)


def changed(found: Registered, document: Mapping[str, Any], now: float) -> Registered:
    """The registration as the client wants it from now on (RFC 7592 section 2.2): what it leaves out is gone.

    Raises:
        OAuthError: `invalid_request`, or as `read` does.
    """
    if document.get("client_id") != found.client_id or not _SERVERS_OWN.isdisjoint(document):
        text = f"`client_id` must be the client's own, and {', '.join(sorted(_SERVERS_OWN))} must be left out"
        raise OAuthError("invalid_request", text)
    secret = document.get("client_secret")
    if secret is not None and (type(secret) is not str or secrets.digest(found.client_id, secret) != found.secret):
        raise OAuthError("invalid_request", "`client_secret` must be the client's own, or left out")
    metadata = introduction.read(document)
    if metadata.has_secret != bool(found.secret):
        raise introduction.wrong(
            "token_endpoint_auth_method", "cannot change between those with a secret and those without"
        )
    return replace(found, metadata=metadata, expires_at=now + SECONDS)
