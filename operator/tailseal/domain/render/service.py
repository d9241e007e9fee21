"""The Services in front of the workers: serving only; the management port is reached by pod IP alone."""

from __future__ import annotations

from typing import Any

from tailseal.api import meta
from tailseal.domain.render.common import Component, Provider


def service(provider: Provider, component: Component, *, tls: bool) -> dict[str, Any]:
    """The Service of a component: port 443 where the worker ends TLS, else 80."""
    name, port = ("https", 443) if tls else ("http", 80)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": provider.metadata(meta.workload(provider.name, component), component),
        "spec": {
            "type": "ClusterIP",
            "selector": provider.labels(component),
            "ports": [{"name": name, "port": port, "protocol": "TCP", "targetPort": "serving"}],
        },
    }


def url(provider: Provider, component: Component, *, tls: bool) -> str:
    """Where the Service is reached inside the cluster."""
    return f"{'https' if tls else 'http'}://{meta.workload(provider.name, component)}.{provider.namespace}.svc"
