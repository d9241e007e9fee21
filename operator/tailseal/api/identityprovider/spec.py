"""Spec and status of an IdentityProvider, put together from their concerns."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from tailseal.api.base import ApiModel, Items, Rule, immutable
from tailseal.api.conditions import Conditions
from tailseal.api.durations import Duration, between
from tailseal.api.fields import DnsLabel, ObjectName, OwnIssuer
from tailseal.api.identityprovider.bounds import Bound
from tailseal.api.identityprovider.publish import Publish, PublishStatus
from tailseal.api.identityprovider.storage import Storage
from tailseal.api.identityprovider.tailnet import Tailnet
from tailseal.api.identityprovider.upstreams import Upstream
from tailseal.api.identityprovider.workload import Serving, Workload

_DAY = 86_400

MAX_NODES: Final = 8
"""Numbered replicas of the identity provider: each is a node of the tailnet."""

Replicas = Annotated[int, Field(ge=0, le=100)]


class KeyRef(ApiModel):
    """A SigningKey in the same namespace."""

    name: ObjectName
    """Name of the SigningKey."""


class Tokens(ApiModel):
    """How long tokens live that nothing more special is said about."""

    rules: ClassVar = (
        between("id_token_ttl", 5, _DAY),
        between("access_token_ttl", 5, _DAY),
        between("refresh_token_ttl", 60, 366 * _DAY),
        between("clock_skew", 0, 600),
    )

    id_token_ttl: Duration = 600
    """Lifetime of ID tokens."""
    access_token_ttl: Duration = 600
    """Lifetime of access tokens and exchanged JWTs; a grant's own `ttl` goes before it."""
    refresh_token_ttl: Duration = 720 * 3600
    """How long a login can be refreshed."""
    clock_skew: Duration = 60
    """How far the clock of another issuer may be off when its tokens are checked."""


class TailSts(ApiModel):
    """The dialect of TailSTS on `POST /`."""

    upstream: DnsLabel
    """Name of the upstream whose tokens it answers with."""


class Sts(ApiModel):
    """The token service."""

    enabled: bool = True
    """Whether it runs."""
    replicas: Replicas | None = None
    """How many pods. Left out, the number is not ours: an autoscaler's, or one."""
    tailsts: TailSts | None = None
    """Answer the dialect of TailSTS too; off unless an upstream is named."""


class Idp(ApiModel):
    """The OpenID provider for people."""

    enabled: bool = True
    """Whether it runs."""
    replicas: Replicas | None = None
    """How many pods. Left out, the number is not ours: an autoscaler's, or one."""


class ClientIDMetadata(ApiModel):
    """Clients that introduce themselves by a URL (OAuth Client ID Metadata Documents)."""

    allowed_domains: Annotated[tuple[ObjectName, ...], Items(32, "set")] = ()
    """Host names whose client metadata is fetched; none if empty."""


class Registration(ApiModel):
    """How clients may come to be known beside OAuthClient objects."""

    dynamic: Literal["Disabled", "Enabled"] = "Disabled"
    """Dynamic client registration (RFC 7591)."""
    client_id_metadata: ClientIDMetadata = ClientIDMetadata()
    """Clients that introduce themselves by a URL."""


class Staleness(ApiModel):
    """When a worker that may have missed a change stops to grant; keys and metadata are always served."""

    rules: ClassVar = (
        between("behind", 5, _DAY),
        between("unheard", 60, 30 * _DAY),
        Rule(
            cel="duration(self.behind) <= duration(self.unheard)",
            message="behind must not be longer than unheard",
            holds=lambda self: self.behind <= self.unheard,
        ),
    )

    behind: Duration = 120
    """After how long of knowing that a newer configuration is wanted."""
    unheard: Duration = _DAY
    """After how long of hearing nothing from the operator."""


class IdentityProviderSpec(ApiModel):
    """An issuer, the services that speak for it, and what others may do with it."""

    rules: ClassVar = (
        immutable("issuer"),
        Rule(
            cel="self.sts.enabled || self.idp.enabled",
            message="at least one of sts.enabled and idp.enabled must be true",
            holds=lambda self: self.sts.enabled or self.idp.enabled,
        ),
        Rule(
            cel="!has(self.idp.replicas) || self.idp.replicas < 2 || "
            "(has(self.storage) ? self.storage.type == 'Postgres' : !has(self.tailnet))",
            message="idp.replicas above 1 needs storage.type Postgres: replicas must agree on who is logged in",
            holds=lambda self: (
                (self.idp.replicas or 1) < 2  # noqa: PLR2004 - one has nobody to agree with
                or (self.tailnet is None if self.storage is None else self.storage.type == "Postgres")
            ),
        ),
        Rule(
            cel="!has(self.tailnet) || !has(self.idp.replicas) || self.idp.replicas <= 8",
            message="with tailnet, idp.replicas is at most 8: each is a node of its own",
            holds=lambda self: self.tailnet is None or (self.idp.replicas or 1) <= MAX_NODES,
        ),
        Rule(
            cel="!has(self.tailnet) || !has(self.tailnet.service) || "
            "self.issuer.startsWith('https://' + self.tailnet.service.substring(4) + '.')",
            message="with tailnet.service, the issuer's host begins with its name: https://idp.<tailnet> for svc:idp",
            holds=lambda self: (
                self.tailnet is None
                or self.tailnet.service is None
                or self.issuer.startswith(f"https://{self.tailnet.service.removeprefix('svc:')}.")
            ),
        ),
        Rule(
            cel="!has(self.sts.tailsts) || (has(self.upstreams) && "
            "self.upstreams.exists(u, u.name == self.sts.tailsts.upstream && has(u.tailscale)))",
            message="sts.tailsts.upstream must be the name of one of upstreams that is tailscale",
            holds=lambda self: (
                self.sts.tailsts is None
                or self.sts.tailsts.upstream in {item.name for item in self.upstreams if item.tailscale is not None}
            ),
        ),
    )

    issuer: OwnIssuer
    """The `iss` of every token: an https URL with a lower-case host and no trailing slash. Immutable."""
    signing_keys: Annotated[tuple[KeyRef, ...], Items(8, "map", minimum=1)]
    """SigningKeys to sign with; the first is the default. ID tokens default to RS256 where an RSA key is listed."""
    tokens: Tokens = Tokens()
    """How long tokens live that nothing more special is said about."""
    sts: Sts = Sts()
    """The token service."""
    idp: Idp = Idp()
    """The OpenID provider for people."""
    storage: Storage | None = None
    """Where logins, codes and one-time marks are kept; left out, a SQLite file per replica."""
    workload: Workload = Workload()
    """How the pods of both services are run."""
    serving: Serving = Serving()
    """How both services are reached."""
    tailnet: Tailnet | None = None
    """The tailnet that people come from; left out, only the cluster's network is served."""
    upstreams: Annotated[tuple[Upstream, ...], Items(16, "map")] = ()
    """Other services whose tokens can be granted."""
    publish: Annotated[tuple[Publish, ...], Items(4, "map")] = ()
    """Places where key set and metadata are copied to."""
    bounds: Annotated[tuple[Bound, ...], Items(16, "map")] = ()
    """What objects of other namespaces may ask of this provider. Rules add up; without any, only the provider's own
    namespace may use it, and may do anything."""
    registration: Registration = Registration()
    """How clients may come to be known beside OAuthClient objects."""
    staleness: Staleness = Staleness()
    """When a worker that may have missed a change stops to grant."""


class EndpointStatus(ApiModel):
    """Where a service is reached."""

    name: Annotated[str, StringConstraints(max_length=63)]
    """`sts`, `idp`, `jwks`, or the name of an endpoint of the spec."""
    url: Annotated[str, StringConstraints(max_length=512)]
    """Its URL."""


class IdentityProviderStatus(ApiModel):
    """What was seen of the provider."""

    observed_generation: int | None = None
    """Generation of the spec that this status is about."""
    endpoints: Annotated[tuple[EndpointStatus, ...], Items(32, "map")] = ()
    """Where the services are reached."""
    bundle_digest: Annotated[str, StringConstraints(max_length=128)] | None = None
    """Digest of the configuration that every replica should serve."""
    replicas: int | None = None
    """How many pods were counted."""
    serving_replicas: int | None = None
    """How many of them were seen to serve exactly that configuration."""
    attached_policies: int | None = None
    """How many accepted TrustPolicies name this provider."""
    publish: Annotated[tuple[PublishStatus, ...], Items(12, "map")] = ()
    """What readers get from each place of `spec.publish`, and from former ones that still hold keys of ours."""
    conditions: Conditions = ()
    """Accepted, ResolvedRefs, Programmed, Ready; Reconciling and Stalled while under way or stuck."""
