"""The workers' Deployments: hardened, without rights at the API server, fed by the bundle's volumes only.

The template names a fixed set of volume sources, each optional: one that is missing must not freeze the whole
volume, and a new key, reference or shard must not roll the pods.

Replicas that can stand in for each other are one Deployment. One with a file of its own (SQLite) or with an identity
of its own (a node of the tailnet) is a Deployment by itself, numbered, and never two pods at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tailseal.api import meta
from tailseal.domain.render import sidecar as node
from tailseal.domain.render.common import MANAGEMENT_PORT, SERVING_PORT, Component, Provider
from tailseal.domain.render.sidecar import Sidecar

BUNDLE_PATH: Final = "/etc/tailseal/bundle"
TLS_PATH: Final = "/etc/tailseal/tls"
RUN_PATH: Final = "/run/tailseal"
"""The one place where a worker may write: the socket that explains its decisions to whom `kubectl exec` is allowed."""

STATE_PATH: Final = "/var/lib/tailseal"
"""Where a replica keeps its logins, if it keeps them itself."""

USER: Final = 65532
DRAIN_SECONDS: Final = 3
"""A pod serves on for so long after it was told to end: endpoints elsewhere still lead to it (measured: 9 of 132
requests lost without, none with)."""

WIND_DOWN_SECONDS: Final = 2
"""After that it closes each kept connection with its next answer; one cut off while its caller sends is a failure."""

_FILE_MODE: Final = 0o440
_RESOURCES: Final = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


@dataclass(frozen=True, slots=True)
class Own:
    """What a numbered replica has to itself.

    Args:
        number: from 0.
        file: whether it keeps logins in a file.
        claimed: whether a claim keeps that file; else it lives and dies with the pod.
        sidecar: its node of the tailnet.
    """

    number: int
    file: bool = False
    claimed: bool = False
    sidecar: Sidecar | None = None

    @property
    def may_have_others(self) -> bool:
        """Whether others can know its callers: a file is one replica's.

        How many there are no pod is told: it would end whenever their number changes.
        """
        return not self.file

    @property
    def hands_over(self) -> bool:
        """Whether callers who find its port of the tailnet closed may go to another."""
        return self.may_have_others and self.sidecar is not None and self.sidecar.mode == "Direct"


@dataclass(frozen=True, slots=True)
class Workload:
    """What a provider's spec and the installation say about the pods of one component.

    Args:
        component: `sts` or `idp`.
        image: the workers' image.
        replicas: None leaves the number to whoever scales it.
        tls: whether serving ends TLS in the worker.
        labels: further labels of the pods; ours win.
        node_selector: as in a pod.
        tolerations: as in a pod.
        resources: as in a container; empty means ours.
        log_level: empty means the worker's default.
        pull_secrets: names of Secrets for the image's registry, in the provider's namespace.
        priority_class: name of the pods' PriorityClass; empty means the cluster's default.
        own: what it has to itself; None: its replicas can stand in for each other.
    """

    component: Component
    image: str
    replicas: int | None = None
    tls: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    resources: Mapping[str, Any] = field(default_factory=dict)
    log_level: str = ""
    pull_secrets: Sequence[str] = ()
    priority_class: str = ""
    own: Own | None = None


def deployment(provider: Provider, workload: Workload) -> dict[str, Any]:
    """The Deployment of a component, or of one numbered replica of it."""
    own, component = workload.own, workload.component
    metadata = provider.metadata(meta.workload(provider.name, component), component)
    labels = provider.labels(component)
    strategy: dict[str, Any] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    if own is not None:
        labels |= {meta.ORDINAL_LABEL: str(own.number)}
        metadata |= {"name": meta.ordinal(provider.name, own.number), "labels": labels}
        strategy = {"type": "Recreate"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            **({} if workload.replicas is None else {"replicas": workload.replicas}),
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": labels},
            "strategy": strategy,
            "template": {
                "metadata": {"labels": {**workload.labels, **labels}},
                "spec": _pod(provider, workload),
            },
        },
    }


def _pod(provider: Provider, workload: Workload) -> dict[str, Any]:
    return {
        "serviceAccountName": _account(provider, workload),
        "automountServiceAccountToken": False,
        **({"imagePullSecrets": [{"name": name} for name in workload.pull_secrets]} if workload.pull_secrets else {}),
        **({"priorityClassName": workload.priority_class} if workload.priority_class else {}),
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"nodeSelector": dict(workload.node_selector)} if workload.node_selector else {}),
        **({"tolerations": [dict(toleration) for toleration in workload.tolerations]} if workload.tolerations else {}),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": provider.labels(workload.component)},
                # Numbered replicas are a Deployment each: then the hash would keep every one apart from itself.
                **({} if workload.own is not None else {"matchLabelKeys": ["pod-template-hash"]}),
            }
        ],
        **_nodes(provider, workload.own),
        "containers": [_container(workload)],
        "volumes": [*_volumes(provider.name), *_own_volumes(provider.name, workload.own)],
    }


def _account(provider: Provider, workload: Workload) -> str:
    own = workload.own
    if own is not None and own.sidecar is not None and own.sidecar.has_account:
        return meta.ordinal(provider.name, own.number)
    return meta.workload(provider.name, workload.component)


def _nodes(provider: Provider, own: Own | None) -> dict[str, Any]:
    if own is None or own.sidecar is None:
        return {}
    return {"initContainers": [node.container(provider.name, own.sidecar, own.number, alone=not own.may_have_others)]}


def _container(workload: Workload) -> dict[str, Any]:
    return {
        "name": workload.component,
        "image": workload.image,
        "imagePullPolicy": "IfNotPresent",
        "args": _args(workload),
        "env": _env(workload),
        "ports": [
            {"name": "serving", "containerPort": SERVING_PORT, "protocol": "TCP"},
            {"name": "management", "containerPort": MANAGEMENT_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": _probe("/readyz", period=2, failures=2),
        "livenessProbe": _probe("/healthz", period=10, failures=3),
        **_pre_stop(workload.own),
        "resources": dict(workload.resources) or _RESOURCES,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            *({"name": name, "mountPath": f"{BUNDLE_PATH}/{name}", "readOnly": True} for name in _BUNDLE),
            {"name": "tls", "mountPath": TLS_PATH, "readOnly": True},
            {"name": "run", "mountPath": RUN_PATH},
            *_own_mounts(workload.own),
        ],
    }


def _pre_stop(own: Own | None) -> dict[str, Any]:
    """Who hands over is told to end at once: its successor takes the node over, with whatever is in progress."""
    if own is not None and own.hands_over:
        return {}
    return {"lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}}}


def _drain(own: Own | None) -> int:
    return WIND_DOWN_SECONDS + (DRAIN_SECONDS if own is not None and own.hands_over else 0)


def _args(workload: Workload) -> list[str]:
    return [
        workload.component,
        "--bundle",
        BUNDLE_PATH,
        "--listen",
        f"$(POD_IP):{SERVING_PORT}",
        "--management",
        f"$(POD_IP):{MANAGEMENT_PORT}",
        "--drain",
        str(_drain(workload.own)),
        *(["--tls", TLS_PATH] if workload.tls else []),
        *_own_args(workload.own),
    ]


def _own_args(own: Own | None) -> list[str]:
    if own is None:
        return []
    return [
        *(["--state", STATE_PATH] if own.file else []),
        *(["--tailnet", own.sidecar.listens_at, "--localapi", node.API_SOCKET] if own.sidecar is not None else []),
        *(["--service", own.sidecar.service] if own.sidecar is not None and own.sidecar.service else []),
        *(["--hand-over"] if own.hands_over else []),
    ]


def _own_mounts(own: Own | None) -> list[dict[str, Any]]:
    if own is None:
        return []
    return [
        *([{"name": "state", "mountPath": STATE_PATH}] if own.file else []),
        *(node.mounts(own.sidecar) if own.sidecar is not None else []),
    ]


def _own_volumes(provider: str, own: Own | None) -> list[dict[str, Any]]:
    if own is None:
        return []
    claimed = {"persistentVolumeClaim": {"claimName": meta.state_claim(provider, own.number)}}
    return [
        *([{"name": "state", **(claimed if own.claimed else {"emptyDir": {"sizeLimit": "1Gi"}})}] if own.file else []),
        *(node.volumes(provider, own.sidecar, own.number) if own.sidecar is not None else []),
    ]


def _env(workload: Workload) -> list[dict[str, Any]]:
    downward = {"POD_UID": "metadata.uid", "POD_NAME": "metadata.name", "POD_IP": "status.podIP"}
    return [
        *(
            {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
            for name, path in downward.items()
        ),
        *([{"name": "TAILSEAL_LOG_LEVEL", "value": workload.log_level}] if workload.log_level else []),
    ]


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "management", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


_BUNDLE: Final = ("signing", "policies", "credentials")


def _volumes(provider: str) -> list[dict[str, Any]]:
    shards = [meta.shard_config_map(provider, number) for number in range(meta.SHARDS)]
    policies = (meta.policies_config_map(provider), meta.clients_config_map(provider), *shards)
    sources = {
        "signing": [_source("secret", meta.signing_secret(provider))],
        "policies": [_source("configMap", name) for name in policies],
        "credentials": [_source("secret", meta.credentials_secret(provider))],
        "tls": [_source("secret", meta.tls_secret(provider))],
    }
    return [
        *({"name": name, "projected": {"defaultMode": _FILE_MODE, "sources": each}} for name, each in sources.items()),
        {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]


def _source(kind: str, name: str) -> dict[str, Any]:
    return {kind: {"name": name, "optional": True}}
