"""A real one-node cluster in namespaces of its own: kubelet, kube-proxy and containerd, so that pods are truly pods."""

from __future__ import annotations

from tailseal_dev.realnode.node import NodeError, RealNode
from tailseal_dev.realnode.packages import why_not

__all__ = ["NodeError", "RealNode", "why_not"]
