"""TrustPolicy: whose tokens are trusted, and what they are exchanged for."""

from tailseal.api.trustpolicy.grants import Grant, JwtClaim, JwtGrant, TailscaleAuthKeyGrant, TailscaleGrant
from tailseal.api.trustpolicy.oidc import (
    ClaimRule,
    Discovery,
    InlineJwks,
    Jwk,
    Keys,
    Matcher,
    Oidc,
    Replay,
)
from tailseal.api.trustpolicy.providers import (
    Buildkite,
    CallerCapability,
    CircleCI,
    GitHub,
    GitLab,
    KubernetesSource,
    SessionSource,
    TailnetSource,
    Terraform,
)
from tailseal.api.trustpolicy.spec import From, ProviderRef, TrustPolicySpec, TrustPolicyStatus

__all__ = [
    "Buildkite",
    "CallerCapability",
    "CircleCI",
    "ClaimRule",
    "Discovery",
    "From",
    "GitHub",
    "GitLab",
    "Grant",
    "InlineJwks",
    "Jwk",
    "JwtClaim",
    "JwtGrant",
    "Keys",
    "KubernetesSource",
    "Matcher",
    "Oidc",
    "ProviderRef",
    "Replay",
    "SessionSource",
    "TailnetSource",
    "TailscaleAuthKeyGrant",
    "TailscaleGrant",
    "Terraform",
    "TrustPolicySpec",
    "TrustPolicyStatus",
]
