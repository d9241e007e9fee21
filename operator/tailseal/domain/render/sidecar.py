"""The node of the tailnet that stands beside the identity provider in its pod, and what the two of them share.

They meet in two folders in memory: one holds the node's own API, which says who is calling, the other the socket that
`tailscale serve` hands requests to. The node keeps its identity in a volume, and then has no token for the API server,
or in a Secret, and then has one that is good for that Secret alone. The worker sees neither.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

_HEARD_SECONDS: Final = 5
"""A peer that greeted it before it knew that peer greets it again after so long (WireGuard, 6.1: Rekey-Timeout)."""

_LOOK_SECONDS: Final = 2

_STATE: Final = "/var/lib/tailscale"
_TOKEN: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a folder
"""Where tailscaled looks for it."""

_IDENTITY: Final = "/etc/tailscale/identity"
_IDENTITY_FILE: Final = "token"
_TOKEN_SECONDS: Final = 3600
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
        by: what the node joins by: an auth key, an OAuth client's secret or a ServiceAccount's token.
        login_server: empty: Tailscale's.
        tags: of the nodes.
        port: with `Direct`: the loopback port that the worker listens on.
        funnel: with `Serve`: whether the internet may come in.
        claimed: whether a claim keeps the node's identity; else a Secret does.
        client_id: of the federated identity, where it joins by a token.
        audience: of that token.
        service: with `Serve`: the Tailscale Service that nodes answer for together; empty: each for its own name.
        host: with `service`: its name in the tailnet's DNS.
        resources: of the node's container, as a pod's spec says them; empty: ours.
    """

    image: str
    mode: Literal["Serve", "Direct"]
    hostname: str
    by: Literal["authkey", "client-secret", "id-token"]
    login_server: str = ""
    tags: Sequence[str] = ()
    port: int = 0
    funnel: bool = False
    claimed: bool = False
    client_id: str = ""
    audience: str = ""
    service: str = ""
    host: str = ""
    resources: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_account(self) -> bool:
        """Whether each node is somebody at the API server or elsewhere, by an account of its own."""
        return not self.claimed or self.by == "id-token"

    @property
    def listens_at(self) -> str:
        """Where the worker takes what comes over the tailnet."""
        return f"unix:{SERVE_SOCKET}" if self.mode == "Serve" else f"127.0.0.1:{self.port}"


def serve_config(provider: Provider, sidecar: Sidecar) -> dict[str, Any]:
    """ConfigMap with the configuration of `tailscale serve`: https of one name, all of it to the worker.

    containerboot advertises the Services that it finds here.
    """
    host = f"{sidecar.host}:443" if sidecar.service else "${TS_CERT_DOMAIN}:443"
    served = {"TCP": {"443": {"HTTPS": True}}, "Web": {host: {"Handlers": {"/": {"Proxy": f"unix:{SERVE_SOCKET}"}}}}}
    content: dict[str, Any] = {"Services": {sidecar.service: served}} if sidecar.service else served
    if sidecar.funnel:
        content["AllowFunnel"] = {host: True}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": provider.metadata(meta.serve_config_map(provider.name), "idp"),
        "data": {_SERVE_FILE: json.dumps(content, indent=1)},
    }


def container(provider: str, sidecar: Sidecar, number: int, *, alone: bool) -> dict[str, Any]:
    """The node as a native sidecar: it is there before the worker, and goes after it.

    For `Serve` it runs as user 0 with every capability dropped: containerboot refuses a unix socket behind serve to
    anybody else. One that may have others is ready when peers reach it: until then none of them may be replaced.

    Args:
        provider: name of the IdentityProvider.
        sidecar: what it is to be.
        number: of the replica.
        alone: whether there can be no other one.
    """
    serving = sidecar.mode == "Serve"
    user = {"runAsNonRoot": False, "runAsUser": 0} if serving else {"runAsUser": USER}
    return {
        "name": NAME,
        "image": sidecar.image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "env": _env(provider, sidecar, number),
        "readinessProbe": {
            "httpGet": {"path": "/healthz", "port": HEALTH_PORT, "scheme": "HTTP"},
            "periodSeconds": _LOOK_SECONDS,
            "timeoutSeconds": 2,
            "failureThreshold": 2,
            **({} if alone else {"successThreshold": 1 + math.ceil(_HEARD_SECONDS / _LOOK_SECONDS)}),
        },
        "resources": dict(sidecar.resources) or _RESOURCES,
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
            *_credentials(sidecar),
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


def _credentials(sidecar: Sidecar) -> list[dict[str, Any]]:
    joins = ("tailscale-identity", _IDENTITY) if sidecar.by == "id-token" else ("tailscale-auth", _AUTH)
    places = [joins, *([] if sidecar.claimed else [("tailscale-token", _TOKEN)])]
    return [{"name": name, "mountPath": path, "readOnly": True} for name, path in places]


def mounts(sidecar: Sidecar) -> list[dict[str, Any]]:
    """What the worker shares with the node."""
    return [
        {"name": "tailscale", "mountPath": "/run/tailscale", "readOnly": True},
        *([{"name": "tailnet", "mountPath": "/run/tailnet"}] if sidecar.mode == "Serve" else []),
    ]


def volumes(provider: str, sidecar: Sidecar, number: int) -> list[dict[str, Any]]:
    """The volumes of both."""
    kept = {"persistentVolumeClaim": {"claimName": meta.tailnet_state(provider, number)}}
    serve = {"configMap": {"name": meta.serve_config_map(provider), "optional": True}}
    memory = {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
    return [
        {"name": "tailscale", **memory},
        {"name": "tailscale-state", **(kept if sidecar.claimed else {"emptyDir": {"sizeLimit": "64Mi"}})},
        {"name": "tailscale-tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        _joins(provider, sidecar),
        *([] if sidecar.claimed else [_TOKEN_VOLUME]),
        *(
            (
                {"name": "tailnet", **memory},
                {"name": "tailscale-serve", "projected": {"defaultMode": 0o444, "sources": [serve]}},
            )
            if sidecar.mode == "Serve"
            else ()
        ),
    ]


_TOKEN_VOLUME: Final = {
    "name": "tailscale-token",
    "projected": {
        "defaultMode": 0o440,
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": _TOKEN_SECONDS}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ],
    },
}
"""As every pod would be given, in every container, if its account said so."""


def _joins(provider: str, sidecar: Sidecar) -> dict[str, Any]:
    if sidecar.by == "id-token":
        token = {"path": _IDENTITY_FILE, "audience": sidecar.audience, "expirationSeconds": _TOKEN_SECONDS}
        return _projected("tailscale-identity", {"serviceAccountToken": token})
    return _projected("tailscale-auth", {"secret": {"name": meta.tailnet_secret(provider), "optional": True}})


def _projected(name: str, source: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "projected": {"defaultMode": 0o440, "sources": [source]}}


def _joining_env(sidecar: Sidecar) -> dict[str, str]:
    match sidecar.by:
        case "authkey":
            return {"TS_AUTHKEY": f"file:{_AUTH}/{AUTH_FILE}"}
        case "client-secret":
            return {"TS_CLIENT_SECRET": f"file:{_AUTH}/{AUTH_FILE}"}
        case "id-token":
            # Keys made so are by default for nodes that are forgotten once they are offline.
            client = f"{sidecar.client_id}?ephemeral=false&preauthorized=true"
            return {"TS_CLIENT_ID": client, "TS_ID_TOKEN": f"file:{_IDENTITY}/{_IDENTITY_FILE}"}


def _state_env(provider: str, sidecar: Sidecar, number: int) -> dict[str, str]:
    if not sidecar.claimed:
        return {"TS_KUBE_SECRET": meta.tailnet_state(provider, number)}
    # Without the former it takes itself for one of those that keep their state in a Secret, and wants a token.
    return {"KUBERNETES_SERVICE_HOST": "", "TS_KUBE_SECRET": ""}


def _env(provider: str, sidecar: Sidecar, number: int) -> list[dict[str, Any]]:
    extra = [
        *([f"--login-server={sidecar.login_server}"] if sidecar.login_server else []),
        *([f"--advertise-tags={','.join(sidecar.tags)}"] if sidecar.tags else []),
    ]
    values = {
        **_state_env(provider, sidecar, number),
        # tailscaled insists on a folder of its own user, which a volume itself is not; that user differs by mode.
        "TS_STATE_DIR": f"{_STATE}/{sidecar.mode.lower()}",
        "TS_SOCKET": API_SOCKET,
        "TS_USERSPACE": "true",
        "TS_ACCEPT_DNS": "false",
        "TS_AUTH_ONCE": "true",
        **_joining_env(sidecar),
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
