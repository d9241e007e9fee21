"""What the tests on the real node share: a provider, a CI system, callers of each replica, and the measured figures."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import jwt

from tailseal_dev import pki
from tailseal_dev.controlplane import ControlPlaneError
from tailseal_dev.demo import manifests
from tailseal_dev.demo.caller import Caller, verify
from tailseal_dev.issuer import Issuer
from tailseal_dev.ports import free_ports
from tailseal_dev.realnode.node import RealNode

SYSTEM = "tailseal-system"
RELEASE = "tailseal"
PROVIDERS = manifests.NAMESPACE
SPACE = f"--namespace={manifests.NAMESPACE}"
SERVING_PORT = 8443
WITHIN = 10.0
"""Seconds within which every change converges, on any machine; what is usual is measured and printed."""

_TABLE: list[tuple[str, str]] = []


def measured(what: str, value: str) -> None:
    """A row of the table at the end."""
    _TABLE.append((what, value))


def render_table() -> Iterator[str]:
    """The rows, aligned."""
    if _TABLE:
        yield "─── measured on the real node ───"
    width = max((len(what) for what, _ in _TABLE), default=0)
    yield from (f"{what:<{width}}  {value}" for what, value in _TABLE)


def quantiles(seconds: Sequence[float]) -> str:
    """Median and 99th percentile as text."""
    ordered = sorted(seconds)
    worst = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    return f"p50 {statistics.median(ordered):.2f} s, p99 {worst:.2f} s ({len(ordered)} changes)"


def until(condition: Callable[[], bool], what: str, within: float = WITHIN) -> float:
    """Wait for a condition; the seconds that it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within, f"not within {within:.0f} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - started


def evict(world: World, pod: str) -> int:
    """Evict a pod as a drain does, waiting while the PodDisruptionBudget refuses; how often it did."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": PROVIDERS}}
    path, refused = f"/api/v1/namespaces/{PROVIDERS}/pods/{pod}/eviction", 0

    def evicted() -> bool:
        nonlocal refused
        try:
            world.kubectl("create", f"--raw={path}", "--filename=-", stdin=json.dumps(body))
        except ControlPlaneError as error:
            if "disruption budget" not in str(error):
                raise
            refused += 1
            return False
        return True

    until(evicted, f"{pod} may be evicted", within=90)
    return refused


def upgrade(world: World, helm: str, chart: Path, *values: str) -> None:
    """Have helm upgrade the release to a chart with these values; returns when the operator is ready."""
    argv = [helm, "upgrade", RELEASE, str(chart), f"--namespace={SYSTEM}", "--wait", "--timeout=120s", *values]
    environment = os.environ | {"KUBECONFIG": str(world.node.plane.kubeconfig)}
    result = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


class World:
    """A provider of two token service replicas on a real node, and who talks to it from outside.

    Args:
        node: with the chart installed.
        directory: for certificates.
    """

    def __init__(self, node: RealNode, directory: Path) -> None:
        self.node, self.kubectl = node, node.plane.kubectl
        (self._port,) = free_ports(1)
        self._directory = directory
        self._authority = pki.Authority("tailseal-node-tests")
        self.ca = directory / "ca.crt"
        self.ca.write_bytes(self._authority.certificate)
        self._stack = contextlib.ExitStack()
        self.ci = self._stack.enter_context(Issuer())
        self.issuer = f"https://127.0.0.1:{self._port}"
        self.caller = Caller(self.issuer, self.ca)
        self._stack.callback(self.caller.close)
        self._names = manifests.Names(self.issuer, "https://ci.example", "", self.ci.jwks)
        self._ways: dict[str, str] = {}
        self.ready_after = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def provide(self) -> None:
        """Apply the provider; returns when it is Ready and reached."""
        certificate, key = self._authority.server().write(self._directory, "serving")
        self.kubectl("create", "secret", "tls", "corp-serving", SPACE, f"--cert={certificate}", f"--key={key}")
        self.kubectl("label", "secret", "corp-serving", SPACE, "tailseal.dev/allow=true")
        started = time.monotonic()
        self.kubectl("apply", "-f", "-", stdin=manifests.SIGNING_KEY)
        self.kubectl("apply", "-f", "-", stdin=manifests.identity_provider(self._names))
        self.kubectl("wait", "--for=condition=Ready", "identityprovider/corp", SPACE, "--timeout=90s")
        self.ready_after = time.monotonic() - started
        service = self.kubectl("get", "service/corp-sts", SPACE, "--output=jsonpath={.spec.clusterIP}")
        self.node.reach(service, 443, self._port)
        until(self._answers, "the token service answers")

    def server(self, names: Sequence[str], name: str) -> tuple[Path, Path]:
        """Files of a certificate for other names, by the same authority, and of its key."""
        return self._authority.server(names).write(self._directory, name)

    def trust(self) -> None:
        """Apply the policy."""
        self.kubectl("apply", "-f", "-", stdin=manifests.trust_policy(self._names))

    def withdraw(self) -> None:
        """Delete it."""
        self.kubectl("delete", "trustpolicy/deploy", SPACE, "--ignore-not-found")

    def job(self) -> str:
        """The token of a CI job."""
        return self.ci.token(self.issuer, iss="https://ci.example", exp=int(time.time()) + 3600)

    def replicas(self) -> list[str]:
        """Where each pod of the token service can be reached from here."""
        return [self._way(address) for address in self._listed("sts", "{.status.podIP}")]

    def pods(self, component: str) -> list[str]:
        """The names of a worker's pods."""
        return self._listed(component, "{.metadata.name}")

    def answers(self, token: str) -> list[int]:
        """What every replica answers to an exchange now."""
        request = {"audience": manifests.AUDIENCE, "scope": manifests.SCOPE}
        return [self.caller.exchange_at(replica, token, **request).status for replica in self.replicas()]

    def granted(self, token: str) -> bool:
        """Whether every replica grants."""
        return self._all_say(token, httpx.codes.OK)

    def refused(self, token: str) -> bool:
        """Whether every replica refuses."""
        return self._all_say(token, httpx.codes.BAD_REQUEST)

    def _all_say(self, token: str, wanted: int) -> bool:
        try:
            return all(status == wanted for status in self.answers(token))
        except httpx.HTTPError:  # a pod that was listed has ended since
            return False

    def _listed(self, component: str, what: str) -> list[str]:
        selector = f"--selector=tailseal.dev/identity-provider=corp,app.kubernetes.io/component={component}"
        path = f"--output=jsonpath={{range .items[*]}}{what} {{end}}"
        return self.kubectl("get", "pods", SPACE, selector, path).split()

    def _way(self, address: str) -> str:
        if address not in self._ways:
            self._ways[address] = f"127.0.0.1:{self.node.reach(address, SERVING_PORT)}"
        return self._ways[address]

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return bool(self.caller.jwks()["keys"])
        return False


@dataclass(slots=True)
class Load:
    """Exchanges without a pause while the context lasts, each over a connection of its own; every token is verified.

    Beside them some go over connections that are kept: a client that reuses one just when its server ends it loses the
    request, so these are counted apart.

    Args:
        world: whose Service is asked.
        token: what is presented.
    """

    world: World
    token: str
    asked: int = 0
    failed: list[str] = field(default_factory=list)
    kept: int = 0
    kept_lost: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=run) for run in (self._run, self._run, self._keep)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        address, world = self.world.issuer.removeprefix("https://"), self.world
        while not self._ended.is_set():
            self.asked += 1
            try:
                answer = world.caller.exchange_at(address, self.token, audience=manifests.AUDIENCE)
                with contextlib.closing(Caller(world.issuer, world.ca)) as verifier:
                    verify(answer.token, verifier.jwks(), issuer=world.issuer, audience=manifests.AUDIENCE)
            except (httpx.HTTPError, jwt.PyJWTError) as error:
                self.failed.append(f"{type(error).__name__}: {error}")
            self._ended.wait(0.02)

    def _keep(self) -> None:
        with contextlib.closing(Caller(self.world.issuer, self.world.ca)) as caller:
            while not self._ended.is_set():
                self.kept += 1
                try:
                    self.kept_lost += not caller.exchange(self.token, audience=manifests.AUDIENCE).token
                except httpx.HTTPError:
                    self.kept_lost += 1
                self._ended.wait(0.01)
