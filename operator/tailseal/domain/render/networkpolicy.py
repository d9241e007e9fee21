"""The workers' NetworkPolicy: two ports in; DNS and whatever is neither link-local nor metadata out.

Who may ask on the management port is decided by the poll key, as the operator may stand anywhere; where the workers
may fetch from is decided by their guarded client. Addresses of a cloud's metadata are shut here as well. Pods are named
beside all addresses, because some implementations (Cilium's) match no pod by its address.
"""

from __future__ import annotations

from typing import Any, Final

from tailseal.api import meta
from tailseal.domain.render.common import MANAGEMENT_PORT, SERVING_PORT, Component, Provider

_METADATA_V4: Final = ("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32")
_METADATA_V6: Final = ("fe80::/10", "fd00:ec2::/32", "fd20:ce::254/128")
"""As the workers' guarded client and the chart have them, which this module may not know."""


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
                        {"ipBlock": {"cidr": "0.0.0.0/0", "except": [*_METADATA_V4]}},
                        {"ipBlock": {"cidr": "::/0", "except": [*_METADATA_V6]}},
                        {"namespaceSelector": {}},
                    ]
                },
            ],
        },
    }


def _port(protocol: str, port: int) -> dict[str, Any]:
    return {"protocol": protocol, "port": port}
