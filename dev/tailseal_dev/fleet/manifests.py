"""What the fleet's cluster is told: two keys, an issuer on two replicas of each worker, one policy; times are short."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tailseal_dev.demo.manifests import AUDIENCE, NAMESPACE, TOKEN_SECONDS, Names

KEYS = {"corp": "ES256", "corp-rs": "RS256"}
"""Algorithm by SigningKey."""


def signing_keys() -> str:
    """Both keys; `maxAge` lets a kube-apiserver be poked at any time, and a spare is there for an emergency."""
    return "---\n".join(
        f"""\
apiVersion: tailseal.dev/v1alpha1
kind: SigningKey
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  algorithm: {algorithm}
  rotation: {{interval: 1h, publishLead: 31s}}
  jwks: {{maxAge: 10s}}
  clockSkew: 1s
"""
        for name, algorithm in KEYS.items()
    )


def identity_provider(names: Names, order: Sequence[str], sts_replicas: int) -> str:
    """The issuer.

    Args:
        names: of this run.
        order: its SigningKeys; the first one is the default.
        sts_replicas: of the token service.
    """
    keys = ", ".join(f"{{name: {name}}}" for name in order)
    return f"""\
apiVersion: tailseal.dev/v1alpha1
kind: IdentityProvider
metadata: {{name: corp, namespace: {NAMESPACE}}}
spec:
  issuer: {names.issuer}
  signingKeys: [{keys}]
  tokens: {{accessTokenTTL: {TOKEN_SECONDS}s, idTokenTTL: {TOKEN_SECONDS}s, clockSkew: 1s}}
  sts: {{replicas: {sts_replicas}}}
  idp: {{replicas: 2}}
  serving: {{tls: {{secretRef: {{name: corp-serving}}}}}}
"""


def authentication(issuer: str, authority: bytes) -> str:
    """The kube-apiserver's structured authentication configuration: it trusts our issuer.

    Args:
        issuer: its URL.
        authority: PEM certificate that vouches for it.
    """
    return f"""\
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: {issuer}
    audiences: ["{AUDIENCE}"]
    certificateAuthority: |
{textwrap.indent(authority.decode().strip(), " " * 6)}
  claimMappings:
    username: {{expression: "'tailseal:' + claims.sub"}}
"""
