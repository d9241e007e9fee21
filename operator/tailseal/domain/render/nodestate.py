"""Where a node of the tailnet keeps its identity when no volume does: a Secret, and an account for just that Secret.

The content is the node's: we make the Secret by its name, and never say a word of what is in it.
"""

from __future__ import annotations

from typing import Any, Final

from tailseal.api import meta
from tailseal.domain.render.common import Provider

_RBAC: Final = "rbac.authorization.k8s.io"


def state(provider: Provider, number: int) -> dict[str, Any]:
    """The Secret that a node writes to, without content; it has no owner, so that a node outlives its provider."""
    name = meta.tailnet_state(provider.name, number)
    metadata = {"name": name, "namespace": provider.namespace, "labels": provider.labels("idp")}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"}


def account(provider: Provider, number: int) -> dict[str, Any]:
    """The ServiceAccount of one numbered replica, whose token is for its node alone."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(provider, number),
        "automountServiceAccountToken": False,
    }


def role(provider: Provider, number: int) -> dict[str, Any]:
    """The Role: read and write the one Secret.

    tailscaled will not start without `update`, although it writes by `patch`.
    """
    rule = {
        "apiGroups": [""],
        "resources": ["secrets"],
        "resourceNames": [meta.tailnet_state(provider.name, number)],
        "verbs": ["get", "update", "patch"],
    }
    return {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": _metadata(provider, number), "rules": [rule]}


def role_binding(provider: Provider, number: int) -> dict[str, Any]:
    """The RoleBinding: only the account of that number may."""
    metadata = _metadata(provider, number)
    name, namespace = metadata["name"], metadata["namespace"]
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }


def _metadata(provider: Provider, number: int) -> dict[str, Any]:
    return provider.metadata(meta.ordinal(provider.name, number), "idp")
