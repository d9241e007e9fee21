"""`python -m tailseal_dev.realnode.hostport PORT PID ADDRESS TARGET`: a loopback port of the machine leads into a node.

The listening socket is opened first, then the process steps into the network namespace of process PID: no interface
and no route is added to the machine.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from tailseal_dev import process
from tailseal_dev.localnode.forward import relay

_CLONE_NEWNET = 0x40000000
_LISTENS_WITHIN = 20.0


def start(pid: int, port: int, target: tuple[str, int], log: Path) -> subprocess.Popen[bytes]:
    """Lead 127.0.0.1:`port` to an address and port as process `pid` reaches them; returns when it is so.

    Raises:
        OSError: it does not come to be so; the text is in the log.
    """
    argv = [sys.executable, "-m", "tailseal_dev.realnode.hostport", str(port), str(pid), target[0], str(target[1])]
    running = process.start(argv, log, os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})
    deadline = time.monotonic() + _LISTENS_WITHIN
    while not _listens(port):
        if running.poll() is not None or time.monotonic() > deadline:
            process.stop(running)
            raise OSError(f"no way from 127.0.0.1:{port} into the node: {process.tail(log, 3)}")
        time.sleep(0.02)
    return running


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _enter(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{pid}/ns/net").open() as namespace:
        if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def main() -> None:
    """Relay until killed."""
    port, pid, address, target = sys.argv[1:]
    with socket.create_server(("127.0.0.1", int(port)), backlog=512) as listening:
        _enter(int(pid))
        asyncio.run(relay(listening, lambda: [(address, int(target))]))


if __name__ == "__main__":
    main()
