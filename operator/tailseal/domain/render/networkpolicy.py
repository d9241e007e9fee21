"""The workers' NetworkPolicy: two ports in; DNS and whatever is not link-local out.

Who may ask on the management port is decided by the poll key, as the operator may stand anywhere; where the workers
may fetch from is decided by their guarded client. Addresses of a cloud's metadata are shut here as well. Pods are named
beside all addresses, because some implementations (Cilium's) match no pod by its address.
"""

from __future__ import annotations

from typing import Any

from tailseal.api import meta
from tailseal.domain.render.common import MANAGEMENT_PORT, SERVING_PORT, Component, Provider


def network_policy(provider: Provider, component: Component) -> dict[str, Any]:
    """The NetworkPolicy of a component's pods."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": provider.metadata(meta.workload(provider.name, component), component),
        "spec": {
            "podSelector": {"matchLabels": provider.labels(component)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [_port("TCP", SERVING_PORT), _port("TCP", MANAGEMENT_PORT)]}],
            "egress": [
                {"ports": [_port("UDP", 53), _port("TCP", 53)]},
                {
                    "to": [
                        {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}},
                        {"ipBlock": {"cidr": "::/0", "except": ["fe80::/10", "fd00:ec2::/32"]}},
                        {"namespaceSelector": {}},
                    ]
                },
            ],
        },
    }


def _port(protocol: str, port: int) -> dict[str, Any]:
    return {"protocol": protocol, "port": port}
