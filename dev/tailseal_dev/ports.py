"""Free TCP ports on loopback, for servers that must come back on the same port after a restart."""

from __future__ import annotations

import os
import random
import socket

_LOWEST, _HIGHEST = 20_000, 32_000
"""Below the range from which the kernel gives ports to outgoing connections, so a port stays free while we are away."""

_given: set[int] = set()
"""What this process was given: between that and listening, or while its server is down, a port looks free."""


def free_ports(count: int) -> list[int]:
    """Distinct ports that nobody has at 127.0.0.1; no later call or process beside us in a test run gets one."""
    found: list[int] = []
    ours = _ours()
    for port in random.sample(ours, len(ours)):
        if len(found) == count:
            break
        if port not in _given and _is_free(port):
            found.append(port)
    _given.update(found)
    return found


def _ours() -> range:
    """All, or the share of one of the processes of pytest-xdist: what is down for a moment keeps its port."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return range(_LOWEST, _HIGHEST)[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) :: processes]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
