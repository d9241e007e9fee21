"""What a case of a rule is: an object that keeps it and one that breaks it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

Spec = dict[str, Any]

TOO_LONG = "metadata.name must have at most 45 characters: names of other objects are made from it"

MINIMAL: dict[str, Spec] = {
    "SigningKey": {},
    "IdentityProvider": {"issuer": "https://idp.corp.example", "signingKeys": [{"name": "corp"}]},
    "TrustPolicy": {
        "identityProviderRef": {"name": "corp"},
        "from": {"oidc": {"issuer": "https://ci.example"}},
        "grants": [{"name": "billing", "jwt": {"audiences": ["https://billing.corp.example"]}}],
    },
    "OAuthClient": {
        "identityProviderRef": {"name": "corp"},
        "redirectURIs": ["https://grafana.corp.example/login/generic_oauth"],
    },
}
"""The smallest spec of each kind that is accepted."""


@dataclass(frozen=True)
class Case:
    """Changes to the minimal spec; `was` is what the object said before, for rules about changes."""

    kind: str
    message: str
    keeps: Spec
    breaks: Spec
    was: Spec | None = None
    names: tuple[str, str] = field(default=("case", "case"))

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


def obj(kind: str, change: Spec, name: str = "case") -> dict[str, Any]:
    """An object of the kind: the minimal spec, with the top-level members of `change` in place of its own."""
    return {
        "apiVersion": "tailseal.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": deepcopy(MINIMAL[kind]) | deepcopy(change),
    }
