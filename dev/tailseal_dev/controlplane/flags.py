"""The command line of each component, and why it is so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
- level: None
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports of the components."""

    api_server: int
    controller_manager: int
    etcd: int
    etcd_peer: int


@dataclass(frozen=True, slots=True)
class Setting:
    """Where the components run, if not simply on this machine beside a local node.

    Args:
        launcher: what stands before each command line.
        names: further names and addresses of the API server.
        api_server: further flags of the API server; where one is there already, the later wins.
        controllers: the controllers that run.
    """

    launcher: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    api_server: tuple[str, ...] = ()
    # Pods of the local node have loopback addresses, which no Endpoints object may hold.
    controllers: str = "*,-endpoints-controller,-endpointslice-controller,-endpointslice-mirroring-controller"


def etcd(directory: Path, ports: Ports) -> list[str]:
    """No fsync: the data is thrown away anyway."""
    client, peer = f"http://127.0.0.1:{ports.etcd}", f"http://127.0.0.1:{ports.etcd_peer}"
    return [
        "--name=default",
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(directory: Path, ports: Ports) -> list[str]:
    """RBAC as in a real cluster; an audit log of every write, so that tests can count them."""
    pki = directory / "pki"
    return [
        f"--etcd-servers=http://127.0.0.1:{ports.etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={ports.api_server}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--api-audiences=https://kubernetes.default.svc",
        f"--service-account-key-file={pki / 'sa.pub'}",
        f"--service-account-signing-key-file={pki / 'sa.key'}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=Node,RBAC",
        "--endpoint-reconciler-type=none",
        f"--audit-policy-file={directory / 'audit-policy.yaml'}",
        f"--audit-log-path={directory / 'audit.log'}",
        "--audit-log-mode=blocking",
        "--profiling=false",
    ]


def controller_manager(directory: Path, ports: Ports, controllers: str) -> list[str]:
    """Fast for its own client, else default service accounts take 5 s."""
    pki = directory / "pki"
    return [
        f"--kubeconfig={pki / 'controller-manager.kubeconfig'}",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={pki / 'sa.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.controller_manager}",
        f"--controllers={controllers}",
        "--leader-elect=false",
        "--profiling=false",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]
