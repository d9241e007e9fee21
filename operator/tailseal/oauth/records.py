"""What is kept of logins, as bytes that a store does not read: each kind a frozen dataclass with its own JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from typing import Any, Self

import orjson

from tailseal.domain import canonical
from tailseal.domain.caller import Known
from tailseal.domain.clients import redirects
from tailseal.domain.clients.compile import CompiledClient


@dataclass(frozen=True, slots=True)
class _Kept:
    def to_bytes(self) -> bytes:
        """As it is kept."""
        return canonical.dumps({each.name: _plain(getattr(self, each.name)) for each in fields(self)})

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """As it was kept."""
        found = {name: _tuples(value) for name, value in orjson.loads(content).items()}
        if "known" in found:
            stable_id, user_id, address = found["known"]
            found["known"] = Known(stable_id, user_id, ip_address(address))
        return cls(**found)


@dataclass(frozen=True, slots=True)
class Login(_Kept):
    """What a person gave a client: the content of a family.

    Args:
        subject: `sub` as the client sees it.
        owner: `sub` as we see it: the same, unless subjects are pairwise.
        client_id: of the client.
        known: whom to look up again.
        scopes: granted.
        resources: services that access tokens may be for; empty: ourselves.
        auth_time: Unix seconds at which they confirmed who they are.
        sid: of the browser's session; empty: there is none.
        claims: parameter `claims` as it came, canonical; empty: there was none.
        expires_at: Unix seconds after which nothing is refreshed.
    """

    subject: str
    owner: str
    client_id: str
    known: Known
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    auth_time: int
    sid: str
    claims: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Code(_Kept):
    """An authorization code.

    Args:
        redirect_uri: where it went.
        code_challenge: of PKCE (S256); empty: there was none.
        nonce: for the ID token.
        jkt: key that must be proven with it (RFC 9449 section 10); empty: any.
    """

    redirect_uri: str
    code_challenge: str
    nonce: str
    jkt: str


@dataclass(frozen=True, slots=True)
class Refreshing(_Kept):
    """A refresh token.

    Args:
        jkt: key that must be proven with it (RFC 9449 section 5): of public clients; empty: any.
    """

    jkt: str = ""


@dataclass(frozen=True, slots=True)
class Browser(_Kept):
    """A browser's session.

    Args:
        known: whose it is.
        owner: their `sub` as we see it.
        auth_time: Unix seconds at which they confirmed who they are.
        sid: what clients know it by.
    """

    known: Known
    owner: str
    auth_time: int
    sid: str


@dataclass(frozen=True, slots=True)
class Access(_Kept):
    """An opaque access token: the claims that a JWT in its place would have."""

    claims: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Consent(_Kept):
    """What a person let a client have.

    Args:
        client: object uid of the client.
        scopes: all that was agreed to.
    """

    client: str
    scopes: tuple[str, ...]


def consent_handle(owner: str, client: CompiledClient, redirect_uri: str, resources: Iterable[str]) -> str:
    """What a consent is kept under: it counts for the place and the services that the person was shown.

    Args:
        owner: who agreed.
        client: to what.
        redirect_uri: where the answer goes: of it, the host.
        resources: services that tokens are to be for.
    """
    return " ".join((owner, client.uid, client.client_id, redirects.host_of(redirect_uri), *sorted(resources)))


def _plain(value: object) -> object:
    return [value.stable_id, value.user_id, str(value.address)] if isinstance(value, Known) else value


def _tuples(value: object) -> Any:  # noqa: ANN401 - any JSON value
    return tuple(value) if isinstance(value, list) else value
