"""What a node leaves on the machine outside its namespaces, and how it is put back: kernel settings and cgroups."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tailseal_dev.realnode.packages import CGROUPS

NAME = "tailseal-node"
"""Of the cgroups and of the lock: one real node a machine, as kubelets share fixed paths and kernel settings."""
STATE = Path("/run") / NAME
_SETTINGS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")
"""The kubelet sets these for the whole machine, whatever its namespaces."""
_GONE_WITHIN = 10.0


class BusyError(Exception):
    """There is a real node on this machine already; says whose."""


@contextlib.contextmanager
def claimed(state: Path = STATE) -> Iterator[None]:
    """This machine's one place for a real node, cleaned of what a killed one left; put back in order afterwards.

    Raises:
        BusyError: another process has it.
    """
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise BusyError(f"a real node is running on this machine already, started by process {owner}") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        remove_cgroups()
        _remember(state / "settings.json")
        try:
            make_cgroups()
            yield
        finally:
            remove_cgroups()
            _restore(state / "settings.json")
            lock.truncate(0)


def settings() -> dict[str, str]:
    """The present values of the kernel settings that a kubelet changes."""
    return {name: Path("/proc/sys", name).read_text().strip() for name in _SETTINGS}


def _remember(file: Path) -> None:
    if not file.exists():  # a killed predecessor's memory is older than what we see now
        file.write_text(json.dumps(settings()))


def _restore(file: Path) -> None:
    remembered: Mapping[str, str] = json.loads(file.read_text())
    for name, value in remembered.items():
        Path("/proc/sys", name).write_text(value)
    file.unlink()


def cgroups(root: Path = CGROUPS) -> list[Path]:
    """Our cgroup in every hierarchy that there is."""
    if (root / "cgroup.controllers").exists():
        return [root / NAME]
    return [hierarchy / NAME for hierarchy in sorted(root.iterdir()) if hierarchy.is_dir()]


def make_cgroups() -> None:
    """The kubelet's root must exist before it."""
    for group in cgroups():
        group.mkdir(exist_ok=True)


def remove_cgroups() -> None:
    """All of ours, deepest first; their processes may take a moment to be gone."""
    deadline = time.monotonic() + _GONE_WITHIN
    while any(group.exists() for group in cgroups()) and time.monotonic() < deadline:
        for group in cgroups():
            for directory, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    Path(directory).rmdir()
        if any(group.exists() for group in cgroups()):
            time.sleep(0.05)
