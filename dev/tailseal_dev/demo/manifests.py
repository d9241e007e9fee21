"""The manifests that the demo applies, as a user writes them; times are short so that a rotation can be watched."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tailseal_dev.issuer import SUBJECT

NAMESPACE = "identity"
AUDIENCE = "https://billing.example"
SCOPE = "invoices.read"
OWNER_ID = "65"
TOKEN_SECONDS = 15

SIGNING_KEY = f"""\
apiVersion: tailseal.dev/v1alpha1
kind: SigningKey
metadata: {{name: corp, namespace: {NAMESPACE}}}
spec:
  algorithm: ES256
  # Months and a day by default. A new key waits at least 30 s before it signs, for caches that heed no header.
  rotation: {{interval: 1h, publishLead: 31s, spare: false}}
  jwks: {{maxAge: 10s}}
  clockSkew: 1s
"""


@dataclass(frozen=True, slots=True)
class Names:
    """What differs from one run to the next.

    Args:
        issuer: URL of our IdentityProvider.
        foreign_issuer: URL of the CI system's issuer.
        foreign_ca: PEM certificate that vouches for it.
        foreign_jwks: its key set, where the workers cannot reach it.
    """

    issuer: str
    foreign_issuer: str
    foreign_ca: str
    foreign_jwks: Mapping[str, Any] | None = None


def identity_provider(names: Names) -> str:
    """The issuer with its two workers, TLS ended in them."""
    return f"""\
apiVersion: tailseal.dev/v1alpha1
kind: IdentityProvider
metadata: {{name: corp, namespace: {NAMESPACE}}}
spec:
  issuer: {names.issuer}
  signingKeys: [{{name: corp}}]
  tokens: {{accessTokenTTL: {TOKEN_SECONDS}s, idTokenTTL: {TOKEN_SECONDS}s, clockSkew: 1s}}
  sts: {{replicas: 2}}
  idp: {{replicas: 1}}
  serving: {{tls: {{secretRef: {{name: corp-serving}}}}}}
"""


def trust_policy(names: Names) -> str:
    """Who is trusted, and what for."""
    return f"""\
apiVersion: tailseal.dev/v1alpha1
kind: TrustPolicy
metadata: {{name: deploy, namespace: {NAMESPACE}}}
spec:
  identityProviderRef: {{name: corp}}
  from:
    oidc:
      issuer: {names.foreign_issuer}
      subject: {{exact: "{SUBJECT}"}}
      claims:
      - {{claim: repository_owner_id, exact: "{OWNER_ID}"}}
{_keys(names)}
  grants:
  - name: billing
    jwt: {{audiences: [{AUDIENCE}], ttl: {TOKEN_SECONDS}s, scopes: [{SCOPE}]}}
"""


def _keys(names: Names) -> str:
    if names.foreign_jwks is not None:
        return f"      keys: {{jwks: {json.dumps(names.foreign_jwks)}}}"
    return f"      caBundle: |\n{textwrap.indent(names.foreign_ca.strip(), ' ' * 8)}"
