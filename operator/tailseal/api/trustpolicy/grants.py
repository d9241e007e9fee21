"""What a trusted token is exchanged for."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import StringConstraints

from tailseal.api.base import ApiModel, Items, Rule, exactly_one
from tailseal.api.durations import Duration, between
from tailseal.api.fields import Audience, DnsLabel, Scope, TailscaleTag

Template = Annotated[str, StringConstraints(min_length=1, max_length=512)]
"""A CEL expression that gives a value."""


class JwtClaim(ApiModel):
    """A claim of the minted JWT; what its expression gives must be of the kind that is said, or nothing is granted."""

    rules: ClassVar = (exactly_one("string", "strings", "integer", "boolean"),)

    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    """Name of the claim."""
    string: Template | None = None
    """A CEL expression over the subject token's `claims` that gives a string."""
    strings: Template | None = None
    """One that gives a list of strings: at most 64, and 4096 characters in all."""
    integer: Template | None = None
    """One that gives a whole number."""
    boolean: Template | None = None
    """One that gives true or false."""


class JwtGrant(ApiModel):
    """A JWT of this provider."""

    rules: ClassVar = (
        between("ttl", 5, 86_400),
        Rule(
            cel="!has(self.subjectPrefix) || has(self.subject)",
            message="subjectPrefix goes with subject only",
            holds=lambda self: self.subject_prefix is None or self.subject is not None,
        ),
    )

    audiences: Annotated[tuple[Audience, ...], Items(8, "set", minimum=1)]
    """Who the token may be for; a request asks for one or more of them."""
    ttl: Duration | None = None
    """Its lifetime; left out, the provider's accessTokenTTL."""
    scopes: Annotated[tuple[Scope, ...], Items(32, "set")] = ()
    """Scopes that it may carry."""
    claims: Annotated[tuple[JwtClaim, ...], Items(8, "map")] = ()
    """Claims that it carries beside the usual ones."""
    subject: Template | None = None
    """A CEL expression over the subject token's `claims` that gives a string: what follows
    `policy:<namespace>/<name>:` in `sub`. Left out, `sub` is `policy:<namespace>/<name>`."""
    subject_prefix: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[!-~]+$")] | None = None
    """What `sub` begins with instead, where the provider's bounds allow it (`jwt.subjectPrefixes`)."""
    require_dpop: bool | None = None
    """Whether the caller must bind it to a key of its own (RFC 9449); no if left out."""


class TailscaleGrant(ApiModel):
    """An access token for Tailscale's API."""

    upstream: DnsLabel
    """Name of the provider's upstream."""
    scopes: Annotated[tuple[Scope, ...], Items(32, "set", minimum=1)]
    """Scopes that it may have, such as `devices:core:read`."""
    tags: Annotated[tuple[TailscaleTag, ...], Items(16, "set")] = ()
    """ACL tags that it may give to devices and keys."""


class TailscaleAuthKeyGrant(ApiModel):
    """A one-time key to join the tailnet."""

    rules: ClassVar = (between("expiry", 60, 86_400),)

    upstream: DnsLabel
    """Name of the provider's upstream."""
    tags: Annotated[tuple[TailscaleTag, ...], Items(16, "set", minimum=1)]
    """ACL tags of the node that joins."""
    ephemeral: bool | None = None
    """Whether the node goes when it is offline; yes if left out."""
    expiry: Duration | None = None
    """How long the key can be used; 5m if left out."""


class Grant(ApiModel):
    """One thing that a trusted token is exchanged for."""

    rules: ClassVar = (exactly_one("jwt", "tailscale", "tailscale_auth_key"),)

    name: DnsLabel
    """Name of this grant; a request may choose by it."""
    jwt: JwtGrant | None = None
    """A JWT of this provider."""
    tailscale: TailscaleGrant | None = None
    """An access token for Tailscale's API."""
    tailscale_auth_key: TailscaleAuthKeyGrant | None = None
    """A one-time key to join the tailnet."""
