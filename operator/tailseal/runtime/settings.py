"""How the operator process runs: what its command line decides, in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field

from tailseal.runtime.resync import Timing


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything but what reconcilers see (that is `reconcile.context.OperatorSettings`).

    Args:
        namespaces: which are looked after; none means all.
        provider_namespaces: where SigningKeys and IdentityProviders are looked after, and what these own; none means
            in `namespaces`.
        client_namespaces: where OAuthClients may have Secrets besides.
        reads_namespaces: whether labels of namespaces can be watched, which only who looks after all of them may.
        kubeconfig: path; empty means in-cluster credentials, else the default file.
        context: context of the kubeconfig; empty means its current one.
        pod_proxy: reach worker pods through the API server instead of on their addresses.
        health_host: where health and metrics are served.
        health_port: 0 lets the system choose.
        leader_elect: wait for a Lease before acting: for more than one replica.
        lease_namespace: namespace of that Lease, of which our own is the natural one.
        identity: unlike that of any other replica: the pod's name.
        in_pod: whether a kubelet starts us anew when we end, ever more seldom: then we wait for the API server.
        workers: reconciles at once.
        timing: of resyncs.
    """

    namespaces: tuple[str, ...] = ()
    provider_namespaces: tuple[str, ...] = ()
    client_namespaces: tuple[str, ...] = ()
    reads_namespaces: bool = False
    kubeconfig: str = ""
    context: str = ""
    pod_proxy: bool = False
    health_host: str = "127.0.0.1"
    health_port: int = 8081
    leader_elect: bool = False
    lease_namespace: str = "default"
    identity: str = "tailseal-operator"
    in_pod: bool = False
    workers: int = 8
    timing: Timing = field(default_factory=Timing)
