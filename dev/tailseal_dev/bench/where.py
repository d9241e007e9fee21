"""What the time of an exchange and of a worker's start goes to, as shares and ratios of one run.

Of an exchange by `cProfile`, which makes Python look dearer than it is, and C cheaper; of a start by importing more and
more, each time in a fresh interpreter.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tailseal_dev.bench import clock, report, server
from tailseal_dev.bench.core import Core
from tailseal_dev.bench.report import Row
from tailseal_dev.bench.workload import Workload

EXCHANGES = 4000
FIRST = 10
"""Functions that are listed."""

_IMPORTS = (
    ("Python with asyncio", "asyncio"),
    ("cryptography, PyJWT", "cryptography.x509, cryptography.hazmat.primitives.asymmetric.ec, jwt"),
    ("pydantic", "pydantic.main"),
    ("structlog, prometheus_client, starlette, uvicorn, uvloop",) * 2,
    ("click", "click"),
    (
        "our own modules",
        "tailseal.cli.main, tailseal.cli.sts, tailseal.workers.common.worker, tailseal.workers.sts.app",
    ),
)
"""Each on top of those before it; pydantic imports nothing before one of its names is used."""

_TELL = "import time; print(time.process_time(), open('/proc/self/statm').read().split()[1])"

Cost = tuple[float, float]
"""Seconds of CPU and bytes resident."""


def text(rounds: int, tailseal: Path) -> str:
    """Both tables, for the page."""
    shares = (
        f"The first {FIRST} of `cProfile`, {EXCHANGES:,} exchanges without HTTP, and the share that their own time is:"
    )
    parts = "What each part adds to the start of a token service, in starts of Python with asyncio:"
    return f"{shares}\n\n{report.table(exchange())}\n\n{parts}\n\n{report.table(start(rounds, tailseal))}\n"


def exchange() -> list[Row]:
    """The functions that took most of the CPU of exchanges without HTTP, all switched on."""
    core = Core(Workload(EXCHANGES))
    core.run(EXCHANGES // 2)
    profiler = cProfile.Profile()
    profiler.runcall(core.run, EXCHANGES)
    counted = pstats.Stats(profiler).stats  # type: ignore[attr-defined]  # typeshed does not know it
    own = [(_called(*function), calls, seconds) for function, (_, calls, seconds, _, _) in counted.items()]
    whole = sum(seconds for *_, seconds in own)
    most = sorted(own, key=lambda found: found[-1], reverse=True)[:FIRST]
    return [Row(name, f"{calls / EXCHANGES:.0f} an exchange", seconds / whole) for name, calls, seconds in most]


def _called(file: str, _line: int, name: str) -> str:
    where = "" if file == "~" else f" ({file.rpartition('/')[2]})"
    return f"`{name.removeprefix('<').removesuffix('>')}`{where}"


def start(rounds: int, tailseal: Path) -> list[Row]:
    """What each part adds to the start of a token service, in starts of Python with asyncio."""
    costs = [_imported(tailseal, _IMPORTS[: number + 1], rounds) for number in range(len(_IMPORTS))]
    with tempfile.TemporaryDirectory(prefix="tailseal-bench-") as folder:
        costs.append(_ready(Workload(1).write(Path(folder) / "bundle"), rounds, tailseal))
    names = [*(name for name, _ in _IMPORTS), "1,000 policies read, validated and compiled; listening"]
    before = [(0.0, 0.0), *costs]
    return [
        Row(name, f"{(cpu - less) * 1e3:.0f} ms CPU, {(held - fewer) / 1e6:.0f} MB", (cpu - less) / costs[0][0])
        for name, (cpu, held), (less, fewer) in zip(names, costs, before, strict=False)
    ]


def _imported(tailseal: Path, parts: Sequence[tuple[str, str]], rounds: int) -> Cost:
    code = f"import {', '.join(modules for _, modules in parts)}\n{_TELL}"
    python = tailseal.with_name("python")
    told = [subprocess.run([python, "-c", code], capture_output=True, check=True).stdout for _ in range(rounds)]
    return _median([(float(cpu), float(pages) * os.sysconf("SC_PAGE_SIZE")) for cpu, pages in map(bytes.split, told)])


def _ready(bundle: Path, rounds: int, tailseal: Path) -> Cost:
    found = []
    for _ in range(rounds):
        with server.running(bundle, tailseal) as worker:
            found.append((worker.cpu_to_ready, float(clock.resident(worker.pid))))
    return _median(found)


def _median(found: Sequence[Cost]) -> Cost:
    return median(cpu for cpu, _ in found), median(held for _, held in found)
