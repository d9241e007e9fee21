"""The tailnet that people and nodes come from."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from tailseal.api.base import ApiModel, Items, Rule, exactly_one
from tailseal.api.fields import Audience, Capability, DnsLabel, HttpsURL, SecretRef, TailscaleTag
from tailseal.api.identityprovider.storage import Volume
from tailseal.api.identityprovider.workload import Resources


class NodeIdentity(ApiModel):
    """A federated identity at Tailscale that trusts the cluster: the node's ServiceAccount is the credential."""

    client_id: Annotated[str, StringConstraints(max_length=256, pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$")]
    """Id of the federated identity."""
    audience: Audience | None = None
    """Audience that it expects; left out, `api.tailscale.com/<clientID>`."""


class TailnetAuth(ApiModel):
    """How the provider's node joins the tailnet."""

    rules: ClassVar = (exactly_one("auth_key_secret_ref", "oauth_client_secret_ref", "workload_identity"),)

    auth_key_secret_ref: SecretRef | None = None
    """Secret with an auth key under `authkey`."""
    oauth_client_secret_ref: SecretRef | None = None
    """Secret with an OAuth client under `client_id` and `client_secret`; needs `tags`."""
    workload_identity: NodeIdentity | None = None
    """A federated identity that trusts the cluster's own tokens: no stored secret; needs `tags`."""


class Funnel(ApiModel):
    """Reaching the provider from the public internet."""

    enabled: bool = False
    """Whether discovery, JWKS, token, userinfo, introspection and revocation are open to the internet."""


class Tailnet(ApiModel):
    """The tailnet that people come from."""

    rules: ClassVar = (
        Rule(
            cel="!has(self.auth.authKeySecretRef) || !has(self.tags) || self.tags.size() == 0",
            message="tags do not go with auth.authKeySecretRef: an auth key brings its own",
            holds=lambda self: self.auth.auth_key_secret_ref is None or not self.tags,
        ),
        Rule(
            cel="self.mode == 'Direct' ? has(self.port) : !has(self.port)",
            message="port goes with mode Direct, and is needed there",
            holds=lambda self: (self.mode == "Direct") == (self.port is not None),
        ),
        Rule(
            cel="!has(self.auth.oauthClientSecretRef) || (has(self.tags) && self.tags.size() > 0)",
            message="auth.oauthClientSecretRef needs tags: what an OAuth client brings in belongs to nobody",
            holds=lambda self: self.auth.oauth_client_secret_ref is None or bool(self.tags),
        ),
        Rule(
            cel="!has(self.auth.workloadIdentity) || (has(self.tags) && self.tags.size() > 0)",
            message="auth.workloadIdentity needs tags: what a federated identity brings in belongs to nobody",
            holds=lambda self: self.auth.workload_identity is None or bool(self.tags),
        ),
        Rule(
            cel="!has(self.service) || self.mode == 'Serve'",
            message="service goes with mode Serve only: what a Service forwards does not say whose it is",
            holds=lambda self: self.service is None or self.mode == "Serve",
        ),
        Rule(
            cel="!has(self.sharedBy) || self.mode == 'Direct'",
            message="sharedBy goes with mode Direct only: `tailscale serve` answers by the node's own name",
            holds=lambda self: self.shared_by is None or self.mode == "Direct",
        ),
        Rule(
            cel="!has(self.service) || !has(self.funnel) || !self.funnel.enabled",
            message="funnel does not go with service: it leads to one node's own name",
            holds=lambda self: self.service is None or not self.funnel.enabled,
        ),
        Rule(
            cel="self.mode == 'Serve' || !has(self.funnel) || !self.funnel.enabled",
            message="funnel goes with mode Serve only",
            holds=lambda self: self.mode == "Serve" or not self.funnel.enabled,
        ),
    )

    mode: Literal["Serve", "Direct"]
    """Serve: behind `tailscale serve`, the issuer is the node's https name. Direct: the worker ends TLS itself."""
    hostname: DnsLabel | None = None
    """Name of the node; left out, the provider's name."""
    login_server: HttpsURL | None = None
    """Control server; left out, Tailscale's."""
    auth: TailnetAuth
    """How the node joins: exactly one member."""
    tags: Annotated[tuple[TailscaleTag, ...], Items(16, "set")] = ()
    """ACL tags of the node; not with an auth key."""
    service: Annotated[str, StringConstraints(max_length=68, pattern=r"^svc:[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] | None = (
        None
    )
    """Tailscale Service that several nodes answer for, such as `svc:idp`; the issuer's host begins with its name."""
    shared_by: Literal["DNS"] | None = None
    """With mode Direct and several replicas, DNS: the issuer's name leads to the addresses of all nodes. You say so, as
    the tailnet's DNS is seen from the tailnet; nobody looks."""
    volume: Volume | None = None
    """Keep each node's identity in a volume; left out, in a Secret that it alone may read and write."""
    resources: Resources = Resources()
    """What the node's container asks for and may use; left out, 20m of cpu, 64Mi of memory, and at most 256Mi of it."""
    funnel: Funnel = Funnel()
    """Reaching the provider from the public internet."""
    capability: Capability = "tailseal.dev/cap/idp"
    """App capability that says what a caller may do."""
    port: Annotated[int, Field(ge=1024, le=65535)] | None = None
    """With mode Direct: the loopback port that the worker listens on."""
