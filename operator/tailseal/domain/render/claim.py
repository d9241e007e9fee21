"""The volumes that a numbered replica keeps: they outlive the provider, as logins and a node's identity should."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailseal.domain.render.common import Provider


def claim(
    provider: Provider, name: str, *, size: str, storage_class: str | None, annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A PersistentVolumeClaim for one pod at a time.

    It has no owner: whoever deletes the provider and applies it again finds everything as it was. Whoever wants it
    gone deletes it.

    Args:
        provider: whose.
        name: of the claim.
        size: quantity, such as `1Gi`; it may grow, and never shrink.
        storage_class: None: the cluster's default.
        annotations: what is to be known of it.
    """
    metadata = {"name": name, "namespace": provider.namespace, "labels": provider.labels("idp")}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {**metadata, **({"annotations": dict(annotations)} if annotations else {})},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
            **({} if storage_class is None else {"storageClassName": storage_class}),
        },
    }
