"""A worker as it runs in a pod: its own process, its bundle from a directory, its CPU read from the scheduler."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tailseal_dev.bench import clock, latency, load
from tailseal_dev.bench.raw import Raw
from tailseal_dev.bench.report import Row
from tailseal_dev.bench.workload import Workload

READY_SECONDS = 30.0
COUNT = 2000


@dataclass(frozen=True, slots=True)
class Server:
    """A running worker.

    Args:
        pid: its process.
        port: for callers.
        management: for metrics.
        cpu_to_ready: seconds of CPU until it was ready.
        seconds_to_ready: by the wall clock.
    """

    pid: int
    port: int
    management: int
    cpu_to_ready: float
    seconds_to_ready: float


TAILSEAL = Path(sys.executable).with_name("tailseal")
"""The command of the environment that runs the benchmark. Development tools in there are imported by libraries that
find them, so `make bench` names the command of an environment with nothing but what an image holds."""


@contextlib.contextmanager
def running(
    bundle: Path, tailseal: Path = TAILSEAL, worker: str = "sts", options: Sequence[str] = ()
) -> Generator[Server]:
    """Start a worker on a bundle and the server's core; stopped at the end."""
    port, management = _free_port(), _free_port()
    command = [str(tailseal), worker, "--bundle", str(bundle), "--log-level", "error", *options]
    command += ["--listen", f"127.0.0.1:{port}", "--management", f"127.0.0.1:{management}"]
    started = time.monotonic()
    with (bundle / "stderr").open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
    try:
        os.sched_setaffinity(process.pid, clock.core(clock.SERVER_CORE))
        _await_ready(process, management, bundle / "stderr")
        cpu = clock.of_process(process.pid)
        yield Server(process.pid, port, management, cpu, time.monotonic() - started)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _await_ready(process: subprocess.Popen[bytes], port: int, errors: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with (
            contextlib.suppress(OSError, urllib.error.HTTPError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1),
        ):
            return
        time.sleep(0.02)
    raise RuntimeError(f"the worker did not become ready: {errors.read_text(encoding='utf-8')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def spent(server: Server, requests: Iterator[bytes], count: int, expected: bytes = b"200") -> float:
    """Seconds of the server's CPU per request."""
    before = clock.of_process(server.pid)
    with clock.on(clock.core(clock.CLIENT_CORE)):
        sending = load.send(server.port, itertools.islice(requests, count), expected)
        clock.watched(lambda: asyncio.run(sending), server.pid)
    return (clock.of_process(server.pid) - before) / count


def against_raw(
    raw: Raw, server: Server, requests: Iterator[bytes], count: int, rounds: int, *, expected: bytes = b"200"
) -> tuple[float, float]:
    """Median ratio of raw verify + sign to CPU per request, and median CPU per request in seconds."""
    ratios, costs = [], []
    spent(server, requests, count // 2, expected)
    for _ in range(rounds):
        with clock.on(clock.core(clock.SERVER_CORE)):
            before = raw.verify_and_sign()
        costs.append(spent(server, requests, count, expected))
        with clock.on(clock.core(clock.SERVER_CORE)):
            ratios.append((before + raw.verify_and_sign()) / 2 / costs[-1])
    return median(ratios), median(costs)


def rows(workload: Workload, raw: Raw, directory: Path, rounds: int, tailseal: Path) -> Iterator[Row]:
    """Everything measured on one server that signs with ES256."""
    bundle = workload.write(directory / "es256")
    yield _start(bundle, rounds, tailseal)
    with running(bundle, tailseal) as server:
        posts = (load.post("/token", body) for body in workload.bodies())
        ratio, cost = against_raw(raw, server, posts, COUNT, rounds)
        yield Row(
            "exchange over HTTP, ES256 out: raw verify + sign ÷ CPU",
            f"{cost * 1e6:.0f} µs CPU",
            ratio,
            ">= 0.12",
            ">= 0.165",
        )
        yield latency.row(server.port, posts, rounds)
        jwks = itertools.repeat(load.get("/.well-known/jwks.json"))
        ratio, cost = against_raw(raw, server, jwks, COUNT * 2, rounds)
        yield Row("JWKS GET: raw verify + sign ÷ CPU", f"{cost * 1e6:.0f} µs CPU", ratio, ">= 0.45", ">= 0.70")
        unchanged = itertools.repeat(load.get("/.well-known/jwks.json", if_none_match="*"))
        ratio, cost = against_raw(raw, server, unchanged, COUNT * 2, rounds, expected=b"304")
        yield Row("JWKS GET answered 304: raw verify + sign ÷ CPU", f"{cost * 1e6:.0f} µs CPU", ratio, ">= 0.55")
        yield _scrape(server, raw)
        megabytes = clock.resident(server.pid) / 1e6
        yield Row("memory after load, 1,000 policies", f"{megabytes:.0f} MB resident", megabytes, "<= 120", "<= 55")


def rs256(workload: Workload, raw: Raw, directory: Path, rounds: int, tailseal: Path) -> Iterator[Row]:
    """An exchange that signs with RSA-2048, against that signature alone: on the same core, in turns, as all the rest.

    A fresh worker needs some thousand requests until it is at its pace, and each sample opens its connections anew, so
    that short samples of a cold worker, against signatures made after it has gone, tell of neither.
    """
    other = Workload(workload.count, "RS256", workload.foreign)
    ratios, costs, bare = [], [], []
    with running(other.write(directory / "rs256"), tailseal) as server:
        posts = (load.post("/token", body) for body in other.bodies())
        spent(server, posts, COUNT)
        for _ in range(rounds):
            before = _rsa_sign(raw)
            costs.append(spent(server, posts, COUNT // 2))
            bare.append((before + _rsa_sign(raw)) / 2)
            ratios.append(costs[-1] / bare[-1])
    measured = f"{median(costs) * 1e6:.0f} µs CPU against {median(bare) * 1e6:.0f}"
    yield Row("exchange over HTTP, RS256 out ÷ raw RSA-2048 sign", measured, median(ratios), "<= 2.2", "<= 1.7")


def _rsa_sign(raw: Raw) -> float:
    with clock.on(clock.core(clock.SERVER_CORE)):
        return raw.rsa_sign(300)


def _start(bundle: Path, rounds: int, tailseal: Path) -> Row:
    """Start and stop in turn with a bare Python; the first start, which may compile modules, does not count."""
    costs, baselines, seconds = [], [], []
    for _ in range(rounds + 1):
        baselines.append(import_asyncio())
        with running(bundle, tailseal) as server:
            costs.append(server.cpu_to_ready)
            seconds.append(server.seconds_to_ready)
    ratio = median(cost / bare for cost, bare in zip(costs[1:], baselines[1:], strict=True))
    measured = f"{median(costs[1:]) * 1e3:.0f} ms CPU, {median(seconds[1:]):.2f} s"
    return Row("start to ready ÷ start of Python with asyncio (CPU)", measured, ratio, "<= 8", "<= 5")


def import_asyncio() -> float:
    """Seconds of CPU that a bare Python takes to start."""
    process = subprocess.Popen([sys.executable, "-c", "import asyncio"])
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime


def _scrape(server: Server, raw: Raw) -> Row:
    def scrape() -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.management}/metrics", timeout=5) as answer:
            answer.read()

    scrape()
    costs = []
    for _ in range(20):
        before = clock.of_process(server.pid)
        scrape()
        costs.append(clock.of_process(server.pid) - before)
    with clock.on(clock.core(clock.SERVER_CORE)):
        ratio = median(costs) / raw.verify_and_sign()
    return Row(
        "scrape of the metrics ÷ raw verify + sign", f"{median(costs) * 1e3:.1f} ms CPU", ratio, "<= 100", "<= 40"
    )
