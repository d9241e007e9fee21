"""The files of a bundle as frozen models: what the operator writes and the workers read.

```
signing/      signing.json; per held key a PEM (PKCS#8), or a handle on a token    one Secret
policies/     manifest.json, settings.json, clients.json.gz (if there are any),
              NN.json.gz (only non-empty shards)                                 ConfigMaps
credentials/  one file per credential, named by `settings.upstreams[].credential` one Secret
```

Instants are Unix seconds, durations are seconds. Members that a reader does not know are refused, so a new one of
`settings.json` raises `VERSION` and stands in `versions.ADDED`. Workers report the version that they read, and none
above the lowest of these is written. `minReader` is for a change that no former reader may survive.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

VERSION: Final = 2
"""The latest version of `settings.json`: what this program writes at most, and reads along with all before it."""

SIGNING_FILE = "signing.json"
SALT_FILE = "salt"
"""Beside it, for pairwise subjects: 32 bytes that outlive the provider."""
MANIFEST_FILE = "manifest.json"
SETTINGS_FILE = "settings.json"
CLIENTS_FILE = "clients.json.gz"
"""In `policies/`: the OAuth clients; absent where there are none."""
STATE_URL_FILE = "state.url"
"""In `credentials/`: URL of the shared PostgreSQL."""
STATE_CA_FILE = "state.ca.crt"
"""In `credentials/`: PEM certificates that its own is checked with; absent: the system's."""
CAPABILITY = "tailseal.dev/cap/idp"
"""The app capability that says what a caller may do, unless the provider names another."""
VOLUMES = ("signing", "policies", "credentials")


def shard_file(shard: int) -> str:
    """Name of a shard's file, e.g. `07.json.gz`."""
    return f"{shard:02d}.json.gz"


class BundleModel(BaseModel):
    """Base of all bundle files: camelCase on disk, immutable, no unknown members."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        ser_json_inf_nan="constants",
        defer_build=True,  # most are built within Settings or Signing, and not by themselves
    )

    def document(self) -> dict[str, Any]:
        """The JSON value to write, absent members left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class HeldKey(BundleModel):
    """A private key that workers hold: file name of its PEM or handle, and the instant after which they must not sign.

    A handle (`domain.keys.handle`) begins with a brace: the key itself stays in its token.
    """

    kid: str
    alg: str
    file: str
    sign_until: float


class Signing(BundleModel):
    """`signing.json`: what to sign with and what to publish.

    `active` names the signer by algorithm; every active kid is held and published. `next_change` is the earliest
    instant at which the published set may change, for Cache-Control. `max_token_ttl` is the longest lifetime
    that the promised overlaps can honour: a worker never mints a longer one.
    """

    version: Literal[1] = 1
    issuer: str
    held: tuple[HeldKey, ...] = ()
    active: dict[str, str] = {}
    default_algorithm: str = ""
    jwks: dict[str, Any]
    max_age: int
    next_change: float | None = None
    max_token_ttl: int
    status_key: str
    """Base64url, 32 bytes: the poll key."""
    revision: int = 0
    """Of the issuer's ledger that it follows from: tells which of two is older, after one came from a backup."""


class Manifest(BundleModel):
    """`manifest.json`: which shards and settings belong together, by digest of the file's bytes."""

    version: Literal[1] = 1
    min_reader: int = 1
    settings: str
    shards: dict[str, str] = {}
    """Digest by two-digit shard number."""
    clients: str | None = None
    """Digest of the clients' file; absent: there are no clients."""


class Record(BundleModel):
    """An object of a tenant: its spec exactly as the API server stores it.

    The worker compiles it again, with the same code with which the operator accepted it.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    spec: dict[str, Any]

    @property
    def id(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"


class PolicyRecord(Record):
    """One TrustPolicy in a shard."""


class Shard(BundleModel):
    """A shard's content; records are plain so that one undecodable record does not take the others along."""

    version: Literal[1] = 1
    policies: tuple[dict[str, Any], ...] = ()


class ClientSecret(BundleModel):
    """A secret that a client may prove itself with, by its hash (`domain.clients.secrets`)."""

    digest: str
    expires_at: float | None = None
    """Unix seconds from which it counts no more; absent: it does as long as it is here."""


class ClientRecord(Record):
    """One OAuthClient, and hashes of its secrets; `uid` is of the object and, in the file, of its present admission.

    See `domain.clients.admission`.
    """

    secrets: tuple[ClientSecret, ...] = ()


class Clients(BundleModel):
    """The clients' file; records are plain so that one undecodable record does not take the others along."""

    version: Literal[1] = 1
    clients: tuple[dict[str, Any], ...] = ()


class WorkloadIdentity(BundleModel):
    """A federated identity: what our own assertion is exchanged for, all of it each time."""

    client_id: str
    audience: str
    scopes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


class TailscaleUpstream(BundleModel):
    """Where and with which credential Tailscale API tokens are asked for."""

    api_url: str
    tailnet: str = "-"
    credential: str = ""
    """File name prefix in `credentials/`: `<credential>.client_id` and `<credential>.client_secret`."""
    workload_identity: WorkloadIdentity | None = None
    """In place of a credential."""


class HeadscaleUpstream(BundleModel):
    """Where and with which API key headscale's own API is asked for keys to join."""

    api_url: str
    credential: str
    """File name prefix in `credentials/`: `<credential>.api_key`."""


class Upstream(BundleModel):
    """A named upstream: exactly one member beside the name."""

    name: str
    tailscale: TailscaleUpstream | None = None
    headscale: HeadscaleUpstream | None = None

    @property
    def api_url(self) -> str:
        """Base URL of its API; empty if a later version wrote a member that this one does not have."""
        kind = self.tailscale or self.headscale
        return kind.api_url if kind is not None else ""

    @property
    def fixed(self) -> WorkloadIdentity | None:
        """What its tokens always have, where no request can narrow them."""
        return self.tailscale.workload_identity if self.tailscale is not None else None


class Bound(BundleModel):
    """One entry of `spec.bounds` with namespaces resolved to names (`*` = all); absent lists allow nothing."""

    name: str
    namespaces: tuple[str, ...]
    upstreams: tuple[str, ...] = ()
    tailscale_scopes: tuple[str, ...] = ()
    tailscale_tags: tuple[str, ...] = ()
    issuers: tuple[str, ...] = ()
    key_sources: tuple[str, ...] = ()
    subject_audiences: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    redirect_hosts: tuple[str, ...] = ()
    grant_types: tuple[str, ...] = ()
    jwt_subject_prefixes: tuple[str, ...] = ()
    jwt_claims: tuple[str, ...] = ()
    max_ttl: int | None = None
    upstream_lifetime: Literal["Refuse", "Accept"] = "Refuse"
    allow_unpinned: bool = False
    max_policies: int | None = None


class Staleness(BundleModel):
    """After how many seconds of knowing to be behind, or of hearing no poll, a worker stops granting."""

    behind: int = 120
    unheard: int = 86_400


class Introductions(BundleModel):
    """How clients may come to be known beside OAuthClient objects; absent: not at all."""

    dynamic: bool = False
    """Whether they may register themselves (RFC 7591)."""
    metadata_hosts: tuple[str, ...] = ()
    """Hosts whose client ID metadata documents are fetched, in lower case."""


class Settings(BundleModel):
    """`settings.json`: everything of an IdentityProvider that workers act on, besides keys and policies."""

    version: Annotated[int, Field(ge=1, le=VERSION)] = VERSION
    issuer: str
    namespace: str
    name: str
    uid: str = ""
    token_endpoint: str
    """Public URL of the token endpoint, e.g. `https://sts.corp.example/token`."""
    subject_audiences: tuple[str, ...]
    """Audiences that a subject token may name by default: our issuer and the STS URL."""
    access_token_ttl: Annotated[int, Field(gt=0)] = 600
    id_token_ttl: Annotated[int, Field(gt=0)] = 600
    refresh_token_ttl: Annotated[int, Field(gt=0)] = 2_592_000
    """Since the login, however often it is refreshed."""
    clock_skew: Annotated[int, Field(ge=0)] = 60
    trusted_proxies: tuple[str, ...] = ()
    upstreams: tuple[Upstream, ...] = ()
    tailsts_upstream: str | None = None
    """Upstream of the TailSTS dialect on `POST /`; absent: there is none."""
    capability: str = CAPABILITY
    """App capability of the tailnet that says what a caller may do here."""
    bounds: tuple[Bound, ...] = ()
    staleness: Staleness = Staleness()
    state: Literal["Postgres", "SQLite"] | None = None
    """Where marks of what counts once are kept; None: nowhere. SQLite is for a single process alone."""
    introductions: Introductions = Introductions()
    open_hosts: tuple[str, ...] = ()
    """Hosts (name or CIDR) beyond the public internet that egress may reach: opened by the platform at install."""
    extra_ca: str = ""
    """PEM certificates that egress trusts besides the system's."""
    client_ids: Annotated[frozenset[str], Field(exclude=True)] = frozenset()
    """Client ids that owners chose: no grant may have one as its audience. Known from the clients' file, so the file of
    settings never says them."""
