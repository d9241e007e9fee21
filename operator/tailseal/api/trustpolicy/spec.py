"""Spec and status of a TrustPolicy."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from tailseal.api.base import ApiModel, Items, exactly_one, immutable
from tailseal.api.conditions import Conditions
from tailseal.api.fields import DnsLabel, ObjectName
from tailseal.api.trustpolicy.grants import Grant
from tailseal.api.trustpolicy.oidc import Oidc
from tailseal.api.trustpolicy.providers import (
    Buildkite,
    CircleCI,
    GitHub,
    GitLab,
    KubernetesSource,
    SessionSource,
    TailnetSource,
    Terraform,
)


class ProviderRef(ApiModel):
    """An IdentityProvider."""

    name: ObjectName
    """Name of the IdentityProvider."""
    namespace: DnsLabel | None = None
    """Its namespace; left out, that of the object that names it."""


class From(ApiModel):
    """Whose tokens are trusted."""

    rules: ClassVar = (
        exactly_one(
            "oidc",
            "github",
            "gitlab",
            "buildkite",
            "circleci",
            "terraform",
            "kubernetes",
            "tailnet",
            "session",
        ),
    )

    oidc: Oidc | None = None
    """Tokens of any OpenID Connect issuer."""
    github: GitHub | None = None
    """Jobs of GitHub Actions."""
    gitlab: GitLab | None = None
    """Jobs of GitLab CI."""
    buildkite: Buildkite | None = None
    """Jobs of Buildkite."""
    circleci: CircleCI | None = None
    """Jobs of CircleCI."""
    terraform: Terraform | None = None
    """Runs of HCP Terraform."""
    kubernetes: KubernetesSource | None = None
    """Service accounts of a Kubernetes cluster."""
    tailnet: TailnetSource | None = None
    """People and nodes of the provider's tailnet."""
    session: SessionSource | None = None
    """Tokens that this very provider issued."""


class TrustPolicySpec(ApiModel):
    """Whose tokens are trusted, and what they are exchanged for."""

    rules: ClassVar = (immutable("identity_provider_ref"),)

    identity_provider_ref: ProviderRef
    """The IdentityProvider that grants. Immutable. From another namespace only within its `bounds`."""
    enforcement: Literal["Enforce", "Audit"] = "Enforce"
    """Enforce: grants. Audit: is evaluated and counted, never grants."""
    from_: From
    """Whose tokens are trusted: exactly one member."""
    actors: Annotated[tuple[From, ...], Items(4)] = ()
    """Who may act for the subject (`actor_token`); left out, nobody."""
    grants: Annotated[tuple[Grant, ...], Items(16, "map", minimum=1)]
    """What a trusted token is exchanged for. A request may ask for less, never for more."""


class TrustPolicyStatus(ApiModel):
    """What was seen of the policy."""

    observed_generation: int | None = None
    """Generation of the spec that this status is about."""
    conditions: Conditions = ()
    """Accepted, ResolvedRefs, Programmed, Ready; Reconciling and Stalled while under way or stuck."""
