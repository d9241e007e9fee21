"""CPU time of this process and of others, the core they run on, and how crowded the machine is meanwhile."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path
from statistics import median

SERVER_CORE, CLIENT_CORE = 0, -1
"""Positions in the list of cores that we may use; the same one where there is only one."""


def core(position: int) -> set[int]:
    """The core at a position among those that this process may use."""
    return {sorted(_ALLOWED)[position]}


_ALLOWED = os.sched_getaffinity(0)


@contextlib.contextmanager
def on(cores: set[int]) -> Generator[None]:
    """Run this process on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def spent(work: Callable[[], object], count: int) -> float:
    """Seconds of CPU that one of `count` units of the work took."""
    before = time.thread_time()
    work()
    return (time.thread_time() - before) / count


def of_process(pid: int) -> float:
    """Seconds of CPU that all living threads of a process have had so far, as the scheduler counts them."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return total / 1e9


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def watched(work: Callable[[], object], pid: int) -> None:
    """Run the work; the share of all cores that neither we nor this process took meanwhile is added to `CROWD`."""
    busy, total = _machine()
    ours = time.process_time() + of_process(pid)
    work()
    busy_after, total_after = _machine()
    ours = time.process_time() + of_process(pid) - ours
    CROWD.append(max(0.0, busy_after - busy - ours) / max(total_after - total, 1e-9))


CROWD: list[float] = []


def crowd() -> str:
    """How crowded the machine was, in one line."""
    load = os.getloadavg()[0]
    busy = f", others took {median(CROWD):.0%} of all cores" if CROWD else ""
    return f"load {load:.1f}{busy}"


def _machine() -> tuple[float, float]:
    """Busy (with steal) and total seconds of all cores since boot."""
    fields = [int(text) for text in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    user, nice, system, idle, wait, irq, softirq, steal = fields
    busy = user + nice + system + irq + softirq + steal
    return busy / _TICKS, (busy + idle + wait) / _TICKS


_TICKS = os.sysconf("SC_CLK_TCK")
