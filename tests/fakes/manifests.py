"""Manifests as people write them, and the claims of a token that they are about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fakes.trust import BILLING, GITHUB, OURS

NOW = 1_800_000_000
AT = "2027-01-15T08:00:00Z"

PROVIDER = f"""
apiVersion: tailseal.dev/v1alpha1
kind: IdentityProvider
metadata: {{name: corp, namespace: identity}}
spec:
  issuer: {OURS}
  signingKeys: [{{name: corp}}]
  upstreams: [{{name: prod, tailscale: {{oauthClientSecretRef: {{name: ts}}}}}}]
  bounds:
    - name: teams
      namespaces: {{from: All}}
      issuers: ["*"]
      keySources: [Discovery, JWKS]
      audiences: ["https://**.corp.example"]
      upstreams: [prod]
      tailscaleScopes: ["*"]
      tailscaleTags: ["tag:*"]
      maxTTL: 1h
"""
SIGNING_KEY = """
apiVersion: tailseal.dev/v1alpha1
kind: SigningKey
metadata: {name: corp, namespace: identity}
"""


def policy(
    oidc: Mapping[str, Any], name: str = "deploy", grants: list[dict[str, Any]] | None = None, **members: object
) -> str:
    """A TrustPolicy of team-a for the provider identity/corp; YAML takes JSON."""
    granted = grants or [{"name": "billing", "jwt": {"audiences": [BILLING], "scopes": ["invoices.read"]}}]
    spec = {
        "identityProviderRef": {"name": "corp", "namespace": "identity"},
        "from": {"oidc": {"issuer": GITHUB, "algorithms": ["EdDSA"]} | dict(oidc)},
        "grants": granted,
    } | members
    metadata = {"name": name, "namespace": "team-a"}
    obj = {"apiVersion": "tailseal.dev/v1alpha1", "kind": "TrustPolicy", "metadata": metadata, "spec": spec}
    return json.dumps(obj, indent=1)


CLAIMS: dict[str, Any] = {
    "iss": GITHUB,
    "sub": "repo:octo-org/shop:ref:refs/heads/main",
    "aud": OURS,
    "iat": NOW - 10,
    "exp": NOW + 300,
    "repository_owner_id": "65",
    "repository": "octo-org/shop",
    "ref": "refs/heads/main",
}
PINNED = {"claim": "repository_owner_id", "exact": "65"}
