"""Starts a local node as a child process, for the demo and for tests."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tailseal_dev import process

_ENDS_WITHIN = 10.0


@contextlib.contextmanager
def running(
    kubeconfig: Path,
    directory: Path,
    *,
    name: str = "local",
    services: Mapping[str, int] | None = None,
    sync_period: float = 60.0,
    sidecar: Sequence[str] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """A local node while the context lasts; its log is `node.log` in `directory`.

    Args:
        kubeconfig: an administrator's.
        directory: pods' files and logs go below it.
        name: the node's name.
        services: loopback port by `namespace/name` of Services to be reached from outside.
        sync_period: seconds between refreshes of volumes nobody asked for.
        sidecar: command that stands in for native sidecars; empty: pods with such are refused.
    """
    exposed = [f"--expose={service}={port}" for service, port in (services or {}).items()]
    argv = [sys.executable, "-m", "tailseal_dev.localnode", f"--kubeconfig={kubeconfig}", f"--directory={directory}"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    node = process.start(
        [*argv, f"--name={name}", f"--sync-period={sync_period}", f"--sidecar={shlex.join(sidecar)}", *exposed],
        directory / "node.log",
        environment,
    )
    try:
        yield node
    finally:
        process.stop(node, grace=_ENDS_WITHIN)
