"""A real one-node cluster in namespaces of its own: kubelet, kube-proxy and containerd, so that pods are truly pods.

Nothing is imported here: `packages` has to run before anything is installed.
"""
