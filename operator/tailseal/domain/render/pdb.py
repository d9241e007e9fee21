"""The workers' PodDisruptionBudget: one at a time, and none at all where it would only make a drain hang."""

from __future__ import annotations

from typing import Any

from tailseal.api import meta
from tailseal.domain.render.common import Component, Provider


def pod_disruption_budget(provider: Provider, component: Component, replicas: int | None) -> dict[str, Any] | None:
    """The PodDisruptionBudget of a component, or None where there is at most one replica.

    Where the number is not ours (None) there may be several.
    """
    if replicas is not None and replicas < 2:  # noqa: PLR2004 - two is the least that can spare one
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": provider.metadata(meta.workload(provider.name, component), component),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": provider.labels(component)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
