"""The workers' ServiceAccounts: an identity of their own without any right, and without a token."""

from __future__ import annotations

from typing import Any

from tailseal.api import meta
from tailseal.domain.render.common import Component, Provider


def service_account(provider: Provider, component: Component) -> dict[str, Any]:
    """The ServiceAccount of a component."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": provider.metadata(meta.workload(provider.name, component), component),
        "automountServiceAccountToken": False,
    }
