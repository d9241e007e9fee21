"""A node without containers: binds pending pods and runs them as real processes, as a kubelet would treat them.

For development only. What it does as a kubelet does: volumes with the atomic symlink layout, refreshed slowly or at
once on a pod annotation; env, args, ports, probes, restarts with back-off, termination; pod and node status, lease.
What it does not: images (every container runs this project's own program), isolation, init containers, resources.
"""
