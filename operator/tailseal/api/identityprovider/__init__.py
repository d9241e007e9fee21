"""IdentityProvider: an issuer, the services that speak for it, and what others may do with it."""

from tailseal.api.identityprovider.bounds import Bound, BoundJwt, BoundNamespaces, LabelSelector, SelectorRequirement
from tailseal.api.identityprovider.publish import ObjectStore, Probe, Publish, PublishStatus
from tailseal.api.identityprovider.spec import (
    ClientIDMetadata,
    EndpointStatus,
    IdentityProviderSpec,
    IdentityProviderStatus,
    Idp,
    KeyRef,
    Registration,
    Staleness,
    Sts,
    TailSts,
    Tokens,
)
from tailseal.api.identityprovider.storage import Postgres, Sqlite, Storage, Volume
from tailseal.api.identityprovider.tailnet import Funnel, Tailnet, TailnetAuth
from tailseal.api.identityprovider.upstreams import TailscaleUpstream, Upstream, WorkloadIdentity
from tailseal.api.identityprovider.workload import Endpoint, Resources, Serving, Tls, Toleration, Workload

__all__ = [
    "Bound",
    "BoundJwt",
    "BoundNamespaces",
    "ClientIDMetadata",
    "Endpoint",
    "EndpointStatus",
    "Funnel",
    "IdentityProviderSpec",
    "IdentityProviderStatus",
    "Idp",
    "KeyRef",
    "LabelSelector",
    "ObjectStore",
    "Postgres",
    "Probe",
    "Publish",
    "PublishStatus",
    "Registration",
    "Resources",
    "SelectorRequirement",
    "Serving",
    "Sqlite",
    "Staleness",
    "Storage",
    "Sts",
    "TailSts",
    "Tailnet",
    "TailnetAuth",
    "TailscaleUpstream",
    "Tls",
    "Tokens",
    "Toleration",
    "Upstream",
    "Volume",
    "Workload",
    "WorkloadIdentity",
]
