"""What the tests on the real node share: a provider, a CI system, callers of each replica, and the measured figures."""

from __future__ import annotations

import calendar
import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from node.table import measured as measured  # noqa: PLC0414 - all who share the world write to the table
from tailseal_dev import pki
from tailseal_dev.controlplane import ControlPlaneError
from tailseal_dev.demo import manifests
from tailseal_dev.demo.caller import Caller
from tailseal_dev.issuer import Issuer
from tailseal_dev.ports import free_ports
from tailseal_dev.realnode import images
from tailseal_dev.realnode.node import RealNode

SYSTEM = "tailseal-system"
RELEASE = "tailseal"
PROVIDERS = manifests.NAMESPACE
SPACE = f"--namespace={manifests.NAMESPACE}"
SERVING_PORT = 8443
REPLICAS = 3
"""Two of the token service, one of the identity provider, which gives the same tokens."""
WITHIN = 60.0
"""Seconds within which every change converges, on any machine; what is usual is measured and printed."""


def until(condition: Callable[[], bool], what: str, within: float = WITHIN) -> float:
    """Wait for a condition; the seconds that it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within, f"not within {within:.0f} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - started


def seconds_of(event: dict[str, Any]) -> float:
    """When an event of the audit log was, Unix seconds."""
    return float(calendar.timegm(time.strptime(event["stageTimestamp"].partition(".")[0], "%Y-%m-%dT%H:%M:%S")))


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

    until(evicted, f"{pod} may be evicted", within=180)
    return refused


def lets_one_go(world: World, *budgets: str) -> None:
    """Wait until each PodDisruptionBudget says: of two pods one has to stay, and one may go now.

    The API server keeps to that. How often it refused an eviction depends on how long a pod takes to start, so that no
    test rests on it.
    """
    path = "--output=jsonpath={.status.expectedPods} {.status.desiredHealthy} {.status.disruptionsAllowed}"

    def says(budget: str) -> str:
        return world.kubectl("get", f"poddisruptionbudget/{budget}", SPACE, path)

    until(lambda: all(says(budget) == "2 1 1" for budget in budgets), "each budget lets one of two pods go")


def told(image: str) -> tuple[str, ...]:
    """What whoever installs the release tells helm: where providers are, which image; last, the nodes' beside them."""
    repository, _, tag = image.rpartition(":")
    ours = (f"--set=namespaces={{{PROVIDERS}}}", f"--set=image.repository={repository}", f"--set=image.tag={tag}")
    return (*ours, f"--set=tailscale.image={images.SIDECAR}")


def upgrade(world: World, program: str, chart: Path, *values: str) -> None:
    """Have helm upgrade the release to a chart with these values; returns when the operator is ready."""
    helm(world, program, "upgrade", RELEASE, str(chart), "--wait", "--timeout=240s", *values)


def helm(world: World, program: str, *arguments: str) -> str:
    """Run helm in the operator's namespace; what it printed."""
    environment = os.environ | {"KUBECONFIG": str(world.node.plane.kubeconfig)}
    argv = [program, *arguments, f"--namespace={SYSTEM}"]
    result = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


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
        self._excused: list[tuple[float, float]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def provide(self) -> None:
        """Apply the provider; returns when it is Ready and reached."""
        inside = (f"corp-{component}.{PROVIDERS}.svc" for component in ("sts", "idp"))
        certificate, key = self.server((*pki.LOOPBACK_NAMES, *inside), "serving")
        self.kubectl("create", "secret", "tls", "corp-serving", SPACE, f"--cert={certificate}", f"--key={key}")
        self.kubectl("label", "secret", "corp-serving", SPACE, "tailseal.dev/allow=true")
        started = time.monotonic()
        self.kubectl("apply", "-f", "-", stdin=manifests.SIGNING_KEY)
        self.kubectl("apply", "-f", "-", stdin=manifests.identity_provider(self._names))
        self.kubectl("wait", "--for=condition=Ready", "identityprovider/corp", SPACE, "--timeout=180s")
        self.ready_after = time.monotonic() - started
        service = self.kubectl("get", "service/corp-sts", SPACE, "--output=jsonpath={.spec.clusterIP}")
        self.node.reach(service, 443, self._port)
        until(self._answers, "the token service answers")

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """The API server is away meanwhile, and ready after it; controllers begin anew, as they do with a Lease."""
        with self.excused():
            self.node.plane.stop_api_server()
            self.node.plane.stop_controller_manager()
            try:
                yield
            finally:
                self.node.plane.start_api_server()
                self.node.plane.start_controller_manager()

    @contextlib.contextmanager
    def excused(self) -> Iterator[None]:
        """No refusal counts meanwhile: the API server starts and knows no rights yet, or another release's stand."""
        began = int(time.time())  # the audit log is read by whole seconds
        try:
            yield
        finally:
            self._excused.append((began, time.time()))

    def is_excused(self, event: dict[str, Any]) -> bool:
        """Whether an event of the audit log is of such a time."""
        return any(began <= seconds_of(event) <= ended for began, ended in self._excused)

    def server(self, names: Sequence[str], name: str) -> tuple[Path, Path]:
        """Files of a certificate for other names, by the same authority, and of its key."""
        return self._authority.server(names).write(self._directory, name)

    def trust(self) -> None:
        """Apply the policy."""
        self.kubectl("apply", "-f", "-", stdin=manifests.trust_policy(self._names))

    def policy(self, name: str, audience: str) -> str:
        """Another policy like it, for another audience."""
        text = manifests.trust_policy(self._names).replace("name: deploy", f"name: {name}")
        return text.replace(manifests.AUDIENCE, audience)

    def withdraw(self) -> None:
        """Delete it."""
        self.kubectl("delete", "trustpolicy/deploy", SPACE, "--ignore-not-found")

    def job(self) -> str:
        """The token of a CI job."""
        return self.ci.token(self.issuer, iss="https://ci.example", exp=int(time.time()) + 3600)

    def replicas(self) -> list[str]:
        """Where each pod that gives tokens can be reached from here: those of both workers."""
        return [self._way(address) for address in self._listed("{.status.podIP}")]

    def everywhere(self, holds: Callable[[str], bool]) -> bool:
        """Whether something holds at every replica, and all that the spec asks for are there."""
        replicas = self.replicas()
        try:
            return len(replicas) >= REPLICAS and all(map(holds, replicas))
        except httpx.HTTPError:  # a pod that was listed has ended since
            return False

    def pods(self, component: str) -> list[str]:
        """The names of a worker's pods."""
        return self._listed("{.metadata.name}", f",app.kubernetes.io/component={component}")

    def granted(self, token: str) -> bool:
        """Whether every replica grants."""
        return self._all_say(token, httpx.codes.OK)

    def refused(self, token: str) -> bool:
        """Whether every replica refuses."""
        return self._all_say(token, httpx.codes.BAD_REQUEST)

    def _all_say(self, token: str, wanted: int) -> bool:
        request = {"audience": manifests.AUDIENCE, "scope": manifests.SCOPE}
        return self.everywhere(lambda replica: self.caller.exchange_at(replica, token, **request).status == wanted)

    def _listed(self, what: str, selector: str = "") -> list[str]:
        selector = f"--selector=tailseal.dev/identity-provider=corp{selector}"
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
