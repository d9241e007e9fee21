"""Names where a policy's verification keys come from: what a cache, a breaker or a verification may be shared by."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

SourceKind = Literal["discovery", "jwksURI", "jwks", "session", "tailnet"]


@dataclass(frozen=True, slots=True)
class KeySource:
    """A key source is (issuer, kind, URL or JWKS digest, CA digest): two policies share one only if all four agree.

    A token verified under one source is matched only against policies that name this same source: a tenant with a
    JWKS of its own for somebody else's issuer never forges for another tenant.

    Args:
        issuer: byte for byte what `iss` must be.
        kind: `discovery` (location: URL of the discovery document), `jwksURI` (location: URL of the JWKS), `jwks`
            (location: digest of the JWKS that stands in the policy), `session` (location: our own issuer; the keys
            are those that we publish, and are never fetched) or `tailnet` (see `TAILNET`).
        location: see `kind`.
        ca_digest: digest of `ca_bundle`, empty where there is none.
        jwks: the inline JWKS as canonical JSON; empty for the other kinds.
        ca_bundle: PEM certificates to trust for the location instead of the system's.
        expires_at: Unix seconds after which the inline keys must not be used; None: no limit. Policies that name the
            same keys with other limits are told apart at the decision; the index keeps the latest here.
    """

    issuer: str
    kind: SourceKind
    location: str
    ca_digest: str = ""
    jwks: str = field(default="", compare=False, repr=False)
    ca_bundle: str = field(default="", compare=False, repr=False)
    expires_at: float | None = field(default=None, compare=False)
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.issuer, self.kind, self.location, self.ca_digest)))

    def __hash__(self) -> int:  # of what is compared: every decision looks a source up, and they never change
        return self._hash


TAILNET: Final = KeySource("", "tailnet", "")
"""Of callers whom the tailnet vouches for: there is no token, and no token can have an empty issuer."""


def well_known(issuer: str) -> str:
    """Where an issuer's metadata is if nobody says otherwise (OpenID Connect Discovery section 4)."""
    return issuer.rstrip("/") + "/.well-known/openid-configuration"


_DOTS: Final = re.compile(r"(?:/|\\|%2f|%5c)(?:\.|%2e){1,2}(?=[/\\;]|%2f|%5c|\Z)", re.IGNORECASE)


def leads_elsewhere(url: str) -> bool:
    """Whether the path has a segment `.` or `..`, however it is written: clients and servers resolve them to another.

    Such a URL may match a pattern of bounds and not lead where the pattern says (RFC 3986 section 5.2.4).
    """
    return _DOTS.search(url.partition("?")[0]) is not None
