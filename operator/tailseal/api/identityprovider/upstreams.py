"""Other services whose tokens an IdentityProvider can grant."""

from __future__ import annotations

from typing import Annotated, ClassVar, NamedTuple

from tailseal.api.base import ApiModel, Items, exactly_one
from tailseal.api.fields import Audience, DnsLabel, HttpsURL, Scope, SecretRef, TailscaleTag, Visible


class Credential(NamedTuple):
    """A Secret that an upstream names.

    Args:
        path: where it names it.
        secret: name of the Secret.
        files: what the Secret must hold.
    """

    path: str
    secret: str
    files: tuple[str, ...]


class WorkloadIdentity(ApiModel):
    """A federated identity at Tailscale that trusts our own issuer: our SigningKey is the credential."""

    client_id: Visible
    """Id of the federated identity."""
    audience: Audience | None = None
    """Audience that it expects; left out, `api.tailscale.com/<clientID>`."""
    scopes: Annotated[tuple[Scope, ...], Items(64, "set")] = ()
    """Scopes that it was given. A request cannot narrow them, so a grant for less is refused."""
    tags: Annotated[tuple[TailscaleTag, ...], Items(32, "set")] = ()
    """ACL tags that it was given."""


class TailscaleUpstream(ApiModel):
    """Tailscale's API, or one that speaks it."""

    rules: ClassVar = (exactly_one("oauth_client_secret_ref", "workload_identity"),)

    api_url: HttpsURL = "https://api.tailscale.com"
    """Base URL of the API; also a name for this upstream in a request's `resource`."""
    tailnet: Visible = "-"
    """The tailnet; `-` is the credential's own."""
    oauth_client_secret_ref: SecretRef | None = None
    """Secret with an OAuth client under `client_id` and `client_secret`."""
    workload_identity: WorkloadIdentity | None = None
    """A federated identity that trusts our own issuer: no stored secret."""


class HeadscaleUpstream(ApiModel):
    """headscale's own API, for keys to join only: its API keys may do everything and give no lesser tokens."""

    api_url: HttpsURL
    """Base URL of the API; also a name for this upstream in a request's `resource`."""
    api_key_secret_ref: SecretRef
    """Secret with an API key under `api_key`."""


class Upstream(ApiModel):
    """A service whose tokens can be granted."""

    rules: ClassVar = (exactly_one("tailscale", "headscale"),)

    name: DnsLabel
    """Name that grants use."""
    tailscale: TailscaleUpstream | None = None
    """Tailscale's API, or one that speaks it."""
    headscale: HeadscaleUpstream | None = None
    """headscale's own API, of versions that do not speak Tailscale's yet (up to 0.29)."""

    @property
    def credential(self) -> Credential | None:
        """The Secret that it needs, if it needs one."""
        if self.headscale is not None:
            return Credential("headscale.apiKeySecretRef", self.headscale.api_key_secret_ref.name, ("api_key",))
        reference = self.tailscale.oauth_client_secret_ref if self.tailscale is not None else None
        if reference is None:
            return None
        return Credential("tailscale.oauthClientSecretRef", reference.name, ("client_id", "client_secret"))
