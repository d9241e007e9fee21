"""The cluster's DNS as every cluster has it: CoreDNS in a pod, at the address that the kubelet tells all pods."""

from __future__ import annotations

import json
from typing import Any, Final

from tailseal_dev.realnode.config import DNS_ADDRESS, DNS_IMAGE, DOMAIN

_NAME: Final = "coredns"
_LABELS: Final = {"k8s-app": "kube-dns"}
_PORT: Final = 5353
"""Above those for which it would need a capability."""

_PATIENCE: Final = {"timeoutSeconds": 10, "failureThreshold": 6}
"""A busy machine must not take names away from all pods."""

_ZONES: Final = f"{DOMAIN} in-addr.arpa ip6.arpa"
# The second block says at once that there is no name of the world outside. In one block with the first it would say so
# of all names: a template goes before the cluster.
_COREFILE: Final = f"""\
{_ZONES} {{
  errors
  health :8080
  ready :8181
  kubernetes {_ZONES} {{
    ttl 5
  }}
}}
. {{
  errors
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""


def manifest() -> str:
    """All of it, in namespace kube-system, as one document for kubectl."""
    return json.dumps(
        {"apiVersion": "v1", "kind": "List", "items": [*_rights(), _settings(), _deployment(), _service()]}
    )


def _metadata() -> dict[str, Any]:
    return {"name": _NAME, "namespace": "kube-system", "labels": _LABELS}


def _rights() -> list[dict[str, Any]]:
    """It reads what names and addresses are made of."""
    group = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    account = {"kind": "ServiceAccount", "name": _NAME, "namespace": "kube-system"}
    role = {"apiGroup": group, "kind": "ClusterRole", "name": "system:coredns"}
    everywhere = {"apiVersion": f"{group}/v1", "metadata": {"name": "system:coredns"}}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata()},
        everywhere | {"kind": "ClusterRole", "rules": rules},
        everywhere | {"kind": "ClusterRoleBinding", "roleRef": role, "subjects": [account]},
    ]


def _settings() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(), "data": {"Corefile": _COREFILE}}


def _deployment() -> dict[str, Any]:
    container = {
        "name": _NAME,
        "image": DNS_IMAGE,
        "args": ["-conf=/etc/coredns/Corefile", f"-dns.port={_PORT}"],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1, **_PATIENCE},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, **_PATIENCE},
        "resources": {"requests": {"cpu": "100m", "memory": "70Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "settings", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    spec = {
        "serviceAccountName": _NAME,
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "settings", "configMap": {"name": _NAME}}],
    }
    template = {"metadata": {"labels": _LABELS}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(),
        "spec": {"selector": {"matchLabels": _LABELS}, "template": template},
    }


def _service() -> dict[str, Any]:
    ports = [
        {"name": f"dns-{protocol.lower()}", "port": 53, "targetPort": _PORT, "protocol": protocol}
        for protocol in ("UDP", "TCP")
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata() | {"name": "kube-dns"},
        "spec": {"clusterIP": DNS_ADDRESS, "selector": _LABELS, "ports": ports},
    }
