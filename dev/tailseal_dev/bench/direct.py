"""New callers of an identity provider in mode `Direct`, on a real tailnet: alone, and in a storm of others who leave.

Who opened a connection is asked by its port, one connection after the other, and tailscaled sleeps over one that it has
forgotten because it ended: a peer who opens and closes many must not keep others out.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median, quantiles
from subprocess import Popen

from tailseal.domain.bundle import build
from tailseal.domain.bundle.model import PolicyRecord
from tailseal_dev import process
from tailseal_dev.bench.report import Row
from tailseal_dev.bench.workload import ISSUER, SETTINGS, TARGET, Workload
from tailseal_dev.tailnet import Tailnet, newcomers
from tailseal_dev.tailnet.net import until
from tailseal_dev.tailnet.provider import Provider, Volumes

STORM = 20
"""Connections a second of a peer who closes each soon after he opened it."""

RATE = 20
"""New callers a second."""

CALLERS = 80
"""Measured in each round, alone and in the storm."""

_GRANTED = "200"
_PATIENCE = 120.0

Seen = tuple[float, float, float]
"""Share of callers who got a token, and the median and 99th percentile of the seconds that these waited."""


def rows(net: Tailnet, rounds: int, *, callers: int = CALLERS) -> Iterator[Row]:
    """A provider beside the first node; in turns with the storm and without."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        provider = Provider(net, net.nodes["idp"], _volumes(), Path(folder), issuer=ISSUER, mode="Direct")
        provider.start()
        try:
            visits = _Visits(provider, Path(folder))
            until(lambda: visits.called(callers)[0] == 1, "new callers are not given tokens", _PATIENCE)  # they warm up
            found = [visits.both(callers) for _ in range(rounds)]
        finally:
            provider.stop()
    alone, stormy = (_typical(each) for each in zip(*found, strict=True))
    yield Row("a token on a new connection in mode Direct", _figures(alone))
    name = f"while a peer opens and closes {STORM} connections a second ÷ without"
    yield Row(name, f"{_figures(stormy)}; {visits.left:,} closed", stormy[1] / alone[1], "<= 20")
    given = f"{stormy[0]:.1%} against {alone[0]:.1%}"
    ratio = stormy[0] / alone[0] if alone[0] else 0.0
    yield Row("new callers then given their token ÷ without", given, ratio, ">= 0.95")


class _Visits:
    """Those who come to a provider.

    Args:
        provider: in mode `Direct`.
        folder: for what they say.
    """

    def __init__(self, provider: Provider, folder: Path) -> None:
        self._provider, self._folder, self._runs = provider, folder, 0
        self.left = 0

    def both(self, callers: int) -> tuple[Seen, Seen]:
        """Alone, and in the storm."""
        alone = self.called(callers)
        log, storm = self._started("ben", STORM, "leave")
        try:
            until(lambda: len(log.read_text().split()) > STORM, "no connection could be opened", _PATIENCE)
            return alone, self.called(callers)
        finally:
            process.stop(storm)
            self.left += len(log.read_text().split())

    def called(self, callers: int) -> Seen:
        """What callers saw."""
        log, asking = self._started("ana", RATE, "ask", str(callers))
        asking.wait(_PATIENCE)
        lines = [line.split() for line in log.read_text().splitlines()]
        waited = [float(seconds) for seconds, status in lines if status == _GRANTED]
        if len(waited) < 2:  # noqa: PLR2004 - as percentiles need
            return len(waited) / callers, math.inf, math.inf
        cuts = quantiles(waited, n=100, method="inclusive")
        return len(waited) / callers, cuts[49], cuts[98]

    def _started(self, name: str, rate: int, *what: str) -> tuple[Path, Popen[bytes]]:
        self._runs += 1
        log, net = self._folder / f"visits-{self._runs}.log", self._provider.tailnet
        where = f"{self._provider.node.host}:{self._provider.at}"
        argv = [sys.executable, newcomers.__file__, str(net.nodes[name].proxy), where, str(rate), *what]
        return log, net.space.start(argv, log)


def _volumes() -> Volumes:
    """A provider that gives everybody of the tailnet a token."""
    spec = {"identityProviderRef": {"name": "bench"}, "from": {"tailnet": {"users": ["*@corp.example"]}}}
    spec |= {"grants": [{"name": "api", "jwt": {"audiences": [TARGET]}}]}
    record = PolicyRecord(namespace="bench", name="people", uid="u", generation=1, spec=spec)
    settings = SETTINGS.model_copy(update={"state": "SQLite"})
    return {
        "signing": Workload(1).signing(),
        "policies": build.policies_volume(settings, build.shards([record]).files),
        "credentials": {},
    }


def _typical(seen: Sequence[Seen]) -> Seen:
    """No round's refusals are left out."""
    shares, p50s, p99s = zip(*seen, strict=True)
    return mean(shares), median(p50s), median(p99s)


def _figures(seen: Seen) -> str:
    _, p50, p99 = seen
    return f"p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms"
