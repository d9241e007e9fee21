"""What objects of other namespaces may ask of an IdentityProvider."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from tailseal.api.base import ApiModel, Items, Rule
from tailseal.api.durations import Duration, between
from tailseal.api.fields import DnsLabel, LabelKey, LabelValue, ObjectName

Pattern = Annotated[str, StringConstraints(min_length=1, max_length=160, pattern=r"^[!-~]+$")]
"""A value, or a glob: `*` stays within a part between `/ : @`, `**` does not; a lone `*` is everything."""
Patterns = Annotated[tuple[Pattern, ...], Items(16, "set")]


class SelectorRequirement(ApiModel):
    """One requirement on labels, as in any label selector."""

    rules: ClassVar = (
        Rule(
            cel="(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
            message="values go with the operators In and NotIn, and are needed there",
            holds=lambda self: (self.operator in {"In", "NotIn"}) == bool(self.values),
        ),
    )

    key: LabelKey
    """Label key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How `values` are compared."""
    values: Annotated[tuple[LabelValue, ...], Items(16, "set")] = ()
    """Label values, for In and NotIn."""


class LabelSelector(ApiModel):
    """Objects by their labels; all parts must hold."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=8, default_factory=dict)]
    """Labels with exactly these values."""
    match_expressions: Annotated[tuple[SelectorRequirement, ...], Items(8)] = ()
    """Requirements on labels."""


class BoundNamespaces(ApiModel):
    """Which namespaces a bound is for."""

    rules: ClassVar = (
        Rule(
            cel="(self.from == 'Selector') == has(self.selector) && "
            "(self.from == 'Names') == (has(self.names) && self.names.size() > 0)",
            message="selector goes with from: Selector, names with from: Names, and nothing with the others",
            holds=lambda self: (
                (self.from_ == "Selector") == (self.selector is not None)
                and (self.from_ == "Names") == bool(self.names)
            ),
            union=("selector", "names"),
        ),
    )

    from_: Literal["Same", "Selector", "Names", "All"]
    """Same: the provider's own. Selector: by labels. Names: those listed. All: every one."""
    selector: LabelSelector | None = None
    """With from: Selector."""
    names: Annotated[tuple[DnsLabel, ...], Items(64, "set")] = ()
    """With from: Names."""


class BoundJwt(ApiModel):
    """What may be said in a minted JWT."""

    subject_prefixes: Patterns = ()
    """Prefixes that a subject may have beside the policy's own."""
    claims: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=128)], ...], Items(16, "set")
    ] = ()
    """Claims that may be set although they are registered or speak of identity, such as groups."""


class Bound(ApiModel):
    """One rule of what is allowed to some namespaces. A list that is left out allows nothing of its sort."""

    rules: ClassVar = (between("max_ttl", 5, 86_400),)

    name: DnsLabel
    """Name of this rule."""
    namespaces: BoundNamespaces
    """Which namespaces it is for."""
    upstreams: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=63, pattern=r"^(\*|[a-z0-9-]+)$")], ...], Items(16, "set")
    ] = ()
    """Names of upstreams that may be used; `*` is every one."""
    tailscale_scopes: Patterns = ()
    """Tailscale scopes that may be granted."""
    tailscale_tags: Patterns = ()
    """ACL tags that may be granted."""
    issuers: Patterns = ()
    """Issuers whose tokens may be trusted."""
    key_sources: Patterns = ()
    """Where verification keys may come from: `Discovery` (the issuer's own metadata), `JWKS` (inline), `Session`
    (tokens of this provider itself), `Tailnet` (callers without a token, whom the tailnet vouches for), or a pattern
    that a jwksURI or discoveryURL must match."""
    subject_audiences: Patterns = ()
    """Audiences of subject tokens that may be accepted beside our own issuer and token service."""
    audiences: Patterns = ()
    """Audiences that minted JWTs may have."""
    redirect_hosts: Annotated[tuple[ObjectName, ...], Items(16, "set")] = ()
    """Hosts that OAuth clients may redirect to."""
    grant_types: Annotated[
        tuple[
            Literal[
                "authorization_code",
                "refresh_token",
                "client_credentials",
                "urn:ietf:params:oauth:grant-type:device_code",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ],
            ...,
        ],
        Items(5, "set"),
    ] = ()
    """Grant types that OAuth clients may use."""
    jwt: BoundJwt = BoundJwt()
    """What may be said in a minted JWT."""
    max_ttl: Duration | None = None
    """Longest lifetime of a token; left out, the provider's accessTokenTTL."""
    upstream_lifetime: Literal["Refuse", "Accept"] = "Refuse"
    """Whether upstream tokens that live longer than `maxTTL` (Tailscale's: one hour) may be granted all the same."""
    allow_unpinned: bool = False
    """Whether policies may trust a shared issuer without a claim that binds the tenant for good."""
    max_policies: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """How many TrustPolicies each namespace may attach; left out, 1000, and any number in the provider's own."""
