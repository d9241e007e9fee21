"""What all rendered objects share: the fixed labels, the owner, and nothing copied from the owner's own metadata.

Labels or annotations copied from a custom resource make GitOps tools take our objects for theirs and prune them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from tailseal.api.meta import API_VERSION, COMPONENT_LABEL, MANAGED_BY, MANAGER, PROVIDER_LABEL

Component = Literal["sts", "idp"]
COMPONENTS: Final[tuple[Component, ...]] = ("sts", "idp")

SERVING_PORT: Final = 8443
MANAGEMENT_PORT: Final = 9090


@dataclass(frozen=True, slots=True)
class Provider:
    """The IdentityProvider that objects are rendered for."""

    namespace: str
    name: str
    uid: str

    def labels(self, component: Component | None = None) -> dict[str, str]:
        """The labels of everything of this provider, or of one of its workloads; the latter also select its pods."""
        return {
            MANAGED_BY: MANAGER,
            PROVIDER_LABEL: self.name,
            **({COMPONENT_LABEL: component} if component else {}),
        }

    def metadata(self, name: str, component: Component | None = None) -> dict[str, Any]:
        """Metadata of an owned object: deleted with the provider, but for what outlives it."""
        return {
            "name": name,
            "namespace": self.namespace,
            "labels": self.labels(component),
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "IdentityProvider",
                    "name": self.name,
                    "uid": self.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        }


def encoded(files: Mapping[str, bytes]) -> dict[str, str]:
    """Files as a Secret's `data` or a ConfigMap's `binaryData` holds them."""
    return {name: base64.b64encode(content).decode() for name, content in files.items()}


def decoded(data: Mapping[str, str] | None) -> dict[str, bytes]:
    """The files in a Secret's `data` or a ConfigMap's `binaryData`.

    Raises:
        ValueError: an entry is not base64, which no API server lets through.
    """
    return {name: base64.b64decode(content, validate=True) for name, content in (data or {}).items()}
