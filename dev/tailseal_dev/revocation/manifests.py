"""What is trusted and then not any more: one provider, one policy, and one bound that lets it be."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tailseal_dev.issuer import SUBJECT

NAMESPACE = "identity"
AUDIENCE, OTHER = "https://billing.example", "https://payroll.example"
SCOPES = ("invoices.read", "invoices.write")
ASKED = {"audience": AUDIENCE, "scope": SCOPES[1]}


@dataclass(frozen=True, slots=True)
class Trust:
    """What differs from one place to the next.

    Args:
        issuer: URL of our IdentityProvider.
        foreign_issuer: URL of the CI system's issuer.
        foreign_ca: PEM certificate that vouches for it; empty: it needs none.
        provider: further members of the IdentityProvider's spec.
    """

    issuer: str
    foreign_issuer: str
    foreign_ca: str = ""
    provider: str = ""

    def key(self) -> str:
        """The SigningKey."""
        return _object("SigningKey", "corp", "algorithm: ES256\n")

    def identity_provider(self, audiences: Sequence[str] = (AUDIENCE, OTHER)) -> str:
        """The IdentityProvider, whose one bound lists these audiences."""
        bound = {"name": "ci", **bounds(self.foreign_issuer, audiences)}
        spec = f"issuer: {self.issuer}\nsigningKeys: [{{name: corp}}]\nbounds: [{json.dumps(bound)}]\n{self.provider}"
        return _object("IdentityProvider", "corp", spec)

    def policy(self, scopes: Sequence[str] = SCOPES) -> str:
        """The TrustPolicy, which grants these scopes."""
        oidc = {"issuer": self.foreign_issuer, "subject": {"exact": SUBJECT}}
        oidc |= {"caBundle": self.foreign_ca} if self.foreign_ca else {}
        spec = {
            "identityProviderRef": {"name": "corp"},
            "from": {"oidc": oidc},
            "grants": [{"name": "billing", "jwt": {"audiences": [AUDIENCE], "ttl": "60s", "scopes": list(scopes)}}],
        }
        return _object("TrustPolicy", "deploy", json.dumps(spec))


def bounds(issuer: str, audiences: Sequence[str]) -> Mapping[str, Any]:
    """What policies of the provider's namespace may do."""
    names = {"from": "Same"}
    return {"namespaces": names, "issuers": [issuer], "keySources": ["Discovery"], "audiences": list(audiences)}


def _object(kind: str, name: str, spec: str) -> str:
    head = (
        f"apiVersion: tailseal.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n"
    )
    return head + textwrap.indent(spec, "  ")
