"""A real Kubernetes control plane on loopback: etcd, kube-apiserver and kube-controller-manager as child processes."""

from __future__ import annotations

from tailseal_dev.controlplane.plane import ControlPlane, ControlPlaneError

__all__ = ["ControlPlane", "ControlPlaneError"]
