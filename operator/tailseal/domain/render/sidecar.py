"""The node of the tailnet that stands beside the identity provider in its pod, and what the two of them share.

They meet in two folders in memory: one holds the node's own API, which says who is calling, the other the socket that
`tailscale serve` hands requests to. The node has no token for the API server: its identity is a file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from tailseal.api import meta
from tailseal.domain.render.common import Provider

NAME: Final = "tailscale"
HEALTH_PORT: Final = 9002

USER: Final = 65533
"""Another than the worker's: to its own user tailscaled would give the whole of its API, not only answers."""

API_SOCKET: Final = "/run/tailscale/tailscaled.sock"
SERVE_SOCKET: Final = "/run/tailnet/idp.sock"
AUTH_FILE: Final = "auth"
"""In the Secret: what the node joins by."""

_STATE: Final = "/var/lib/tailscale"
_AUTH: Final = "/etc/tailscale/auth"
_SERVE: Final = "/etc/tailscale/serve"
_SERVE_FILE: Final = "serve.json"
_RESOURCES: Final = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a provider's spec and the installation say about its nodes.

    Args:
        image: whose program is containerboot.
        mode: `Serve`: it ends TLS and hands requests on; `Direct`: it forwards connections to a loopback port.
        hostname: of the first node; others get their number behind it.
        by: what the node joins by: an auth key or an OAuth client's secret.
        login_server: empty: Tailscale's.
        tags: of the nodes.
        port: with `Direct`: the loopback port that the worker listens on.
        funnel: with `Serve`: whether the internet may come in.
        kept: whether a claim keeps the node's identity; else it lives and dies with the pod.
    """

    image: str
    mode: Literal["Serve", "Direct"]
    hostname: str
    by: Literal["authkey", "client-secret"]
    login_server: str = ""
    tags: Sequence[str] = ()
    port: int = 0
    funnel: bool = False
    kept: bool = False

    @property
    def listens_at(self) -> str:
        """Where the worker takes what comes over the tailnet."""
        return f"unix:{SERVE_SOCKET}" if self.mode == "Serve" else f"127.0.0.1:{self.port}"


def serve_config(provider: Provider, sidecar: Sidecar) -> dict[str, Any]:
    """ConfigMap with the configuration of `tailscale serve`: https of the node's own name, all of it to the worker."""
    host = "${TS_CERT_DOMAIN}:443"
    content = {
        "TCP": {"443": {"HTTPS": True}},
        "Web": {host: {"Handlers": {"/": {"Proxy": f"unix:{SERVE_SOCKET}"}}}},
        **({"AllowFunnel": {host: True}} if sidecar.funnel else {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": provider.metadata(meta.serve_config_map(provider.name), "idp"),
        "data": {_SERVE_FILE: json.dumps(content, indent=1)},
    }


def container(sidecar: Sidecar, number: int) -> dict[str, Any]:
    """The node as a native sidecar: it is there before the worker, and goes after it.

    For `Serve` it runs as user 0 with every capability dropped: containerboot refuses a unix socket behind serve to
    anybody else.
    """
    serving = sidecar.mode == "Serve"
    user = {"runAsNonRoot": False, "runAsUser": 0} if serving else {"runAsUser": USER}
    return {
        "name": NAME,
        "image": sidecar.image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "env": _env(sidecar, number),
        "readinessProbe": {
            "httpGet": {"path": "/healthz", "port": HEALTH_PORT, "scheme": "HTTP"},
            "periodSeconds": 2,
            "timeoutSeconds": 2,
            "failureThreshold": 2,
        },
        "resources": _RESOURCES,
        "securityContext": {
            **user,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "tailscale", "mountPath": "/run/tailscale"},
            {"name": "tailscale-state", "mountPath": _STATE},
            {"name": "tailscale-tmp", "mountPath": "/tmp"},  # noqa: S108 - the container's own
            {"name": "tailscale-auth", "mountPath": _AUTH, "readOnly": True},
            *(
                (
                    {"name": "tailnet", "mountPath": "/run/tailnet"},
                    {"name": "tailscale-serve", "mountPath": _SERVE, "readOnly": True},
                )
                if serving
                else ()
            ),
        ],
    }


def mounts(sidecar: Sidecar) -> list[dict[str, Any]]:
    """What the worker shares with the node."""
    return [
        {"name": "tailscale", "mountPath": "/run/tailscale", "readOnly": True},
        *([{"name": "tailnet", "mountPath": "/run/tailnet"}] if sidecar.mode == "Serve" else []),
    ]


def volumes(provider: str, sidecar: Sidecar, number: int) -> list[dict[str, Any]]:
    """The volumes of both."""
    kept = {"persistentVolumeClaim": {"claimName": meta.tailnet_claim(provider, number)}}
    auth = {"secret": {"name": meta.tailnet_secret(provider), "optional": True}}
    serve = {"configMap": {"name": meta.serve_config_map(provider), "optional": True}}
    memory = {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
    return [
        {"name": "tailscale", **memory},
        {"name": "tailscale-state", **(kept if sidecar.kept else {"emptyDir": {"sizeLimit": "64Mi"}})},
        {"name": "tailscale-tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        {"name": "tailscale-auth", "projected": {"defaultMode": 0o440, "sources": [auth]}},
        *(
            (
                {"name": "tailnet", **memory},
                {"name": "tailscale-serve", "projected": {"defaultMode": 0o444, "sources": [serve]}},
            )
            if sidecar.mode == "Serve"
            else ()
        ),
    ]


def _env(sidecar: Sidecar, number: int) -> list[dict[str, Any]]:
    joins = "TS_AUTHKEY" if sidecar.by == "authkey" else "TS_CLIENT_SECRET"
    extra = [
        *([f"--login-server={sidecar.login_server}"] if sidecar.login_server else []),
        *([f"--advertise-tags={','.join(sidecar.tags)}"] if sidecar.tags else []),
    ]
    values = {
        # Without this it takes itself for one of those that keep their state in a Secret, and wants a token.
        "KUBERNETES_SERVICE_HOST": "",
        "TS_KUBE_SECRET": "",
        # tailscaled insists on a folder of its own user, which a volume itself is not; that user differs by mode.
        "TS_STATE_DIR": f"{_STATE}/{sidecar.mode.lower()}",
        "TS_SOCKET": API_SOCKET,
        "TS_USERSPACE": "true",
        "TS_ACCEPT_DNS": "false",
        "TS_AUTH_ONCE": "true",
        joins: f"file:{_AUTH}/{AUTH_FILE}",
        "TS_HOSTNAME": sidecar.hostname if number == 0 else f"{sidecar.hostname}-{number}",
        # Peers reach whatever listens on loopback in this pod.
        "TS_LOCAL_ADDR_PORT": f"$(POD_IP):{HEALTH_PORT}",
        "TS_ENABLE_HEALTH_CHECK": "true",
        "TS_ENABLE_METRICS": "true",
        **({"TS_EXTRA_ARGS": " ".join(extra)} if extra else {}),
        **({"TS_SERVE_CONFIG": f"{_SERVE}/{_SERVE_FILE}"} if sidecar.mode == "Serve" else {}),
    }
    # By the second, containerboot knows an IPv6 address and puts it in brackets.
    downward = {"POD_IP": "status.podIP", "POD_IPS": "status.podIPs"}
    return [
        *(
            {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
            for name, path in downward.items()
        ),
        *({"name": name, "value": value} for name, value in values.items()),
    ]
