"""What the platform team of the story commits, and the Application that Argo CD gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import yaml

from tailseal_dev.argocd.server import NAMESPACE as ARGOCD
from tailseal_dev.issuer import SUBJECT

APPLICATION: Final = "tailseal"
SYSTEM: Final = "tailseal-system"
IDENTITY: Final = "identity"
AUDIENCE: Final = "https://billing.example"
FOREIGN: Final = "https://ci.example"
SERVING_SECRET: Final = "corp-serving"  # noqa: S105 - its name
REPLICAS: Final = 2
"""Of the token service."""
MARK: Final = "corp.example/team"
"""A label and an annotation of the team's own, which nothing that the operator makes may carry."""


def provider(issuer: str) -> str:
    """A key and an issuer: the wave after the operator."""
    key = _object("SigningKey", "corp", 1, {"rotation": {"interval": "720h"}})
    spec = {
        "issuer": issuer,
        "signingKeys": [{"name": "corp"}],
        "sts": {"replicas": REPLICAS},
        "idp": {"replicas": 1},
        "serving": {"tls": {"secretRef": {"name": SERVING_SECRET}}},
    }
    return yaml.safe_dump_all([key, _object("IdentityProvider", "corp", 1, spec)], sort_keys=False)


def policy(name: str, jwks: Mapping[str, Any], audience: str = AUDIENCE, ttl: str = "10m") -> str:
    """Trust in a CI job: the wave after the issuer."""
    spec = {
        "identityProviderRef": {"name": "corp"},
        "from": {"oidc": {"issuer": FOREIGN, "subject": {"exact": SUBJECT}, "keys": {"jwks": jwks}}},
        "grants": [{"name": "billing", "jwt": {"audiences": [audience], "ttl": ttl}}],
    }
    # As JSON, because YAML 1.1 reads the bare names n and y of a JWK as false and true.
    return json.dumps(_object("TrustPolicy", name, 2, spec), indent=2)


def application(repository: str, image: str) -> str:
    """The chart and the team's own objects as one application, synced by itself.

    Args:
        repository: its URL.
        image: of operator and workers, as NAME:TAG.
    """
    name, _, tag = image.rpartition(":")
    values = {"providerNamespaces": [IDENTITY], "image": {"repository": name, "tag": tag}}
    source = {"repoURL": repository, "targetRevision": "main"}
    spec = {
        "project": "default",
        "destination": {"server": "https://kubernetes.default.svc", "namespace": SYSTEM},
        "sources": [
            {**source, "path": "charts/tailseal", "helm": {"valuesObject": values}},
            {**source, "path": "identity"},
        ],
        "syncPolicy": {
            "automated": {"prune": True, "selfHeal": True},
            "syncOptions": ["CreateNamespace=true"],
        },
    }
    metadata = {"name": APPLICATION, "namespace": ARGOCD, "finalizers": ["resources-finalizer.argocd.argoproj.io"]}
    document = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": metadata, "spec": spec}
    return yaml.safe_dump(document, sort_keys=False)


def _object(kind: str, name: str, wave: int, spec: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": IDENTITY,
        "labels": {MARK: "platform"},
        "annotations": {MARK: "platform", "argocd.argoproj.io/sync-wave": str(wave)},
    }
    return {"apiVersion": "tailseal.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": dict(spec)}
