"""Which TrustPolicies and OAuthClients name a provider: the eldest first, as what was there first counts."""

from __future__ import annotations

from tailseal.cluster.port import Kind, Object
from tailseal.reconcile.context import Objects

Version = tuple[str, int]
"""uid and generation."""


def attached(objects: Objects, kind: Kind, namespace: str, name: str) -> list[Object]:
    """Every object of the kind that names the provider, whether it may be served or not, eldest first."""
    found = [
        obj
        for obj in objects.select(kind)
        if provider_of(obj) == (namespace, name) and "deletionTimestamp" not in obj["metadata"]
    ]
    return sorted(found, key=lambda obj: (obj["metadata"].get("creationTimestamp", ""), id_of(obj)))


def attached_versions(objects: Objects, kind: Kind, namespace: str, name: str) -> dict[str, Version]:
    """The present version of each of them, by id."""
    return {id_of(obj): version_of(obj) for obj in attached(objects, kind, namespace, name)}


def provider_of(obj: Object) -> tuple[str, str]:
    """Namespace and name of the IdentityProvider that a TrustPolicy or OAuthClient names."""
    reference = obj.get("spec", {}).get("identityProviderRef", {})
    return reference.get("namespace") or obj["metadata"]["namespace"], reference.get("name", "")


def id_of(obj: Object) -> str:
    """Namespace and name."""
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"


def version_of(obj: Object) -> Version:
    """What changes when its spec, or the object itself, is another."""
    return obj["metadata"]["uid"], obj["metadata"].get("generation", 1)
