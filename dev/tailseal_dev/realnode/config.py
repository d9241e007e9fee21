"""The configuration of containerd, CNI, kubelet and kube-proxy, and why it is so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tailseal_dev.realnode.machine import NAME as CGROUP
from tailseal_dev.realnode.packages import CNI_PLUGINS

NODE = "node1"
ADDRESS = "172.30.0.11"
POD_RANGE = "10.244.1.0/24"
SOCKET = "/run/containerd/containerd.sock"
PAUSE_IMAGE = "localhost/tailseal-pause:1"
DNS_IMAGE = "localhost/tailseal-coredns:1"
DNS_ADDRESS = "10.96.0.10"
DOMAIN = "cluster.local"


def containerd(directory: Path) -> str:
    """Version 2 of the format, which 1.6 and 2.x read.

    Without `restrict_oom_score_adj` no pod starts where nobody may lower that score.
    """
    return f"""\
version = 2
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{directory / "cni"}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
"""


def cni() -> str:
    """A bridge for all pods of the node."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": POD_RANGE}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, portmap]})


def kubelet(directory: Path) -> dict[str, Any]:
    """A kubelet as it comes, but for the machine's limits: how fast a volume follows its Secret is the default."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(directory / "pki" / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": DOMAIN,
        "resolvConf": str(directory / "resolv.conf"),
        # Images cannot be pulled back, so none is ever thrown away for want of space.
        "evictionHard": dict.fromkeys(("nodefs.available", "imagefs.available", "nodefs.inodesFree"), "1%")
        | {"memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "maxOpenFiles": 20_000,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
    }


def kube_proxy(kubeconfig: Path) -> dict[str, Any]:
    """The limits of connection tracking cannot be set in a network namespace."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": "10.244.0.0/16",
        "hostnameOverride": NODE,
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "conntrack": {"maxPerCore": 0, "min": 0},
    }
