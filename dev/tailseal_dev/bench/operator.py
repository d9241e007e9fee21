"""The operator with ten thousand policies: how soon it has seen them all, its memory, and what one change costs."""

from __future__ import annotations

import contextlib
import copy
import json
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tailseal_dev.bench import clock
from tailseal_dev.bench.apiserver import ApiServer, Object, Write
from tailseal_dev.bench.report import Row
from tailseal_dev.bench.server import TAILSEAL
from tailseal_dev.ports import free_ports

POLICIES = 10_000
NAMESPACES = 20
QUIET = 7.0
"""Seconds without a write after which the operator is at rest: it gathers figures of a status for five."""

IDLE = 0.2
"""Seconds of its CPU in these at most: on a busy machine it is long in looking at what it has just written."""

_PATIENCE = 900.0
"""Seconds; on a busy machine all statuses take some minutes."""
_PLATFORM = "identity"


def rows(_rounds: int, tailseal: Path = TAILSEAL, *, count: int = POLICIES) -> Iterator[Row]:
    """Start the operator once among that many policies, and change one of them."""
    objects = [_provider(), *(_policy(number) for number in range(count))]
    with (
        tempfile.TemporaryDirectory(prefix="tailseal-bench-") as folder,
        ApiServer(objects) as server,
        _operator(server, Path(folder), tailseal) as (process, primed_at),
    ):
        seconds, cpu = primed_at - server.listed_at, clock.of_process(process.pid)
        yield Row(f"operator sees {count} policies", f"{seconds:.1f} s; {cpu:.1f} s CPU with start-up")
        _settle(server, process.pid, lambda: bool(_manifest_writes(server.writes)))
        held = _manifest_writes(server.writes)
        text = f"{held[-1].at - primed_at:.1f} s after that in the bundle; all statuses told, {_rate(server.writes)}"
        yield Row(f"operator renders {count} policies", text)
        yield _change(server, process.pid)
        peak, now = _memory(process.pid)
        yield Row("operator memory, then", f"{now:.0f} MiB RSS, at most {peak:.0f} MiB", now, gate="<= 200")


def _change(server: ApiServer, pid: int) -> Row:
    """Narrow one policy of the many."""
    before = len(server.writes)
    policy = copy.deepcopy(server.find("trustpolicies", "team-00", "policy-00000"))
    policy["spec"]["from"]["oidc"]["subject"] = {"exact": "repo:acme/changed:ref:refs/heads/main"}
    policy["metadata"]["generation"] += 1
    changed_at = time.monotonic()
    server.change("trustpolicies", policy)
    _settle(server, pid, lambda: len(server.writes) > before)
    writes = server.writes[before:]
    bundle = [write for write in writes if write.plural == "configmaps"]
    told = [write for write in writes if write.plural == "trustpolicies"]
    others = [write for write in told if write.name != "policy-00000"]
    seconds = _manifest_writes(bundle)[-1].at - changed_at
    text = (
        f"{len(bundle)} ConfigMaps, {len(told)} statuses, {len(others)} of others; in the bundle after {seconds:.2f} s"
    )
    return Row("operator: writes for one changed policy", text, float(len(bundle) + len(told)), gate="<= 4")


def _manifest_writes(writes: Sequence[Write]) -> list[Write]:
    return [write for write in writes if write.plural == "configmaps" and write.name == "corp-policies"]


def _rate(writes: Sequence[Write]) -> str:
    told = [write.at for write in writes if write.plural == "trustpolicies"]
    return f"{len(told) / (told[-1] - told[0]):.0f} a second" if len(told) > 1 else "none"


def _settle(server: ApiServer, pid: int, begun: Callable[[], bool]) -> None:
    """Wait until it has begun, and then nothing has been written or worked on for a while."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        spent = clock.of_process(pid)
        time.sleep(QUIET)
        worked = clock.of_process(pid) - spent
        if begun() and worked < IDLE and time.monotonic() - server.writes[-1].at > QUIET:
            return
    raise TimeoutError("the operator does not come to rest")


@contextlib.contextmanager
def _operator(server: ApiServer, folder: Path, tailseal: Path) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """The operator in a process of its own, and when it was primed."""
    (port,) = free_ports(1)
    command = [str(tailseal), "operator", "--kubeconfig", str(_kubeconfig(server, folder)), "--log-level", "warning"]
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen([*command, "--health", f"127.0.0.1:{port}"], stdout=errors, stderr=errors)
    try:
        yield process, _primed(process, port, folder / "stderr")
    finally:
        process.terminate()
        process.wait(timeout=60)


def _primed(process: subprocess.Popen[bytes], port: int, errors: Path) -> float:
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError, urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
            return time.monotonic()
        time.sleep(0.02)
    raise RuntimeError(f"the operator is not ready: {errors.read_text(encoding='utf-8')[-2000:]}")


def _kubeconfig(server: ApiServer, folder: Path) -> Path:
    path = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {"server": server.url}}],
        "users": [{"name": "bench", "user": {}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
    }
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def _memory(pid: int) -> tuple[float, float]:
    """MiB: the most that it ever had, and what it has now."""
    lines = (Path("/proc") / str(pid) / "status").read_text(encoding="ascii").splitlines()
    found = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return int(found["VmHWM"].split()[0]) / 1024, int(found["VmRSS"].split()[0]) / 1024


def _object(kind: str, namespace: str, name: str, spec: dict[str, Any]) -> Object:
    """As the API server shows what somebody applied with kubectl."""
    fields: Object = {f"f:{field}": {} for field in spec}
    applied = {
        "manager": "kubectl",
        "operation": "Apply",
        "apiVersion": "tailseal.dev/v1alpha1",
        "fieldsType": "FieldsV1",
    }
    return {
        "apiVersion": "tailseal.dev/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"00000000-0000-0000-{namespace}-{name}",
            "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [applied | {"fieldsV1": {"f:spec": fields}}],
        },
        "spec": spec,
    }


def _provider() -> Object:
    bound = {
        "name": "everybody",
        "namespaces": {"from": "All"},
        "issuers": ["*"],
        "keySources": ["Discovery"],
        "audiences": ["https://*.corp.example"],
    }
    spec = {"issuer": "https://idp.corp.example", "signingKeys": [{"name": "corp"}], "bounds": [bound]}
    return _object("IdentityProvider", _PLATFORM, "corp", spec)


def _policy(number: int) -> Object:
    oidc = {
        "issuer": "https://token.actions.githubusercontent.com",
        "subject": {"exact": f"repo:acme/service-{number}:ref:refs/heads/main"},
        "claims": [
            {"claim": "repository_owner_id", "exact": str(1000 + number)},
            {"claim": "environment", "oneOf": ["production", "staging"]},
        ],
    }
    grant = {"name": "billing", "jwt": {"audiences": [f"https://service-{number}.corp.example"], "scopes": ["read"]}}
    spec = {
        "identityProviderRef": {"name": "corp", "namespace": _PLATFORM},
        "from": {"oidc": oidc},
        "grants": [grant],
    }
    return _object("TrustPolicy", f"team-{number % NAMESPACES:02d}", f"policy-{number:05d}", spec)
