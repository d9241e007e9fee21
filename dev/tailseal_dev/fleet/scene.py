"""The fleet's cluster: a control plane that trusts our issuer, a local node, the operator, and hands to break them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailseal_dev.controlplane import ControlPlane
from tailseal_dev.demo import manifests as demo
from tailseal_dev.demo import stage
from tailseal_dev.demo.narrator import Narrator, until
from tailseal_dev.demo.stage import SPACE, Stage
from tailseal_dev.fleet import manifests
from tailseal_dev.fleet.traffic import Traffic
from tailseal_dev.fleet.verifiers import Jose, KubeApiServer, Obedient, PyJWKClient, Verifier
from tailseal_dev.localnode.start import running
from tailseal_dev.ports import free_ports

_READY_WITHIN = "--timeout=90s"
_SUBJECT_SECONDS = 7200
"""Lifetime of the CI job's token: such systems say five minutes, the fleet needs longer."""


@dataclass(slots=True)
class Scene:
    """A set scene.

    Args:
        stage: cluster, operator, caller.
        plane: the control plane.
        node: process id of the local node, whose children are the pods.
        traffic: the fleet at work.
        apiserver: the member of the fleet that holds removed keys until it is poked.
    """

    stage: Stage
    plane: ControlPlane
    node: int
    traffic: Traffic
    apiserver: KubeApiServer
    order: tuple[str, ...] = tuple(manifests.KEYS)
    sts_replicas: int = 2

    def provide(self) -> None:
        """Apply the provider as it is wanted now."""
        text = manifests.identity_provider(self.stage.names, self.order, self.sts_replicas)
        (self.stage.cluster.directory / "identityprovider.yaml").write_text(text)
        self.stage.cluster.kubectl(
            "apply", "-f", str(self.stage.cluster.directory / "identityprovider.yaml"), show=False
        )

    def status(self, key: str) -> dict[str, Any]:
        """Status of a SigningKey."""
        text = self.stage.cluster.kubectl("get", f"signingkey/{key}", SPACE, "-o", "json", show=False)
        status: dict[str, Any] = json.loads(text).get("status", {})
        return status

    def signal_worker(self, component: str, number: int) -> int:
        """Send a signal to the process of one worker; its process id.

        Args:
            component: `sts` or `idp`.
            number: of the signal.
        """
        pid = min(pid for pid in _children(self.node) if f"/corp-{component}-" in f"/{_pod(pid)}")
        os.kill(pid, number)
        return pid

    def replicas(self) -> list[str]:
        """Where each replica serves."""
        selector = "--selector=tailseal.dev/identity-provider=corp"
        path = "jsonpath={.items[*].status.podIP}"
        found = self.stage.cluster.kubectl("get", "pods", SPACE, selector, "-o", path, show=False)
        return [f"{address}:8443" for address in found.split()]

    def restart_operator(self) -> None:
        """Kill it without a chance to tidy up, and start it again."""
        self.stage.operator.kill()
        self.stage.operator.start()

    def kill_worker(self, component: str = "sts") -> None:
        """Kill a worker; the node starts it again."""
        self.signal_worker(component, signal.SIGKILL)


@contextlib.contextmanager
def scene(told: Narrator, directory: Path) -> Iterator[Scene]:
    """Everything up, the policy Ready, and every member of the fleet seen to verify a token."""
    (sts,) = free_ports(1)
    with contextlib.ExitStack() as stack:
        directory.mkdir(parents=True, exist_ok=True)
        configuration = directory / "authentication.yaml"
        configuration.write_text("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n")
        plane = stack.enter_context(ControlPlane(directory / "cluster", (f"--authentication-config={configuration}",)))
        services = {f"{demo.NAMESPACE}/corp-sts": sts}
        node = stack.enter_context(running(plane.kubeconfig, directory / "node", services=services))
        config = plane.kubeconfig_for(stage.OPERATOR, ["system:masters"])
        flags = (f"--kubeconfig={config}", "--open-host=127.0.0.1")
        cluster = stage.Cluster(told, directory, plane.programs / "kubectl", plane, flags)
        ready = stage.set_up(stack, cluster, sts)
        authority = directory / "ca.crt"
        _provide(ready, configuration, authority)
        apiserver = KubeApiServer(plane.server, plane.certificate_authority)
        traffic = _traffic(stack, ready, authority, apiserver)
        yield Scene(ready, plane, node.pid, traffic, apiserver)


def _provide(ready: Stage, configuration: Path, authority: Path) -> None:
    ready.apply("signingkeys.yaml", manifests.signing_keys())
    ready.apply("identityprovider.yaml", manifests.identity_provider(ready.names, tuple(manifests.KEYS), 2))
    ready.apply("trustpolicy.yaml", demo.trust_policy(ready.names))
    ready.cluster.kubectl("wait", "--for=condition=Ready", "identityprovider/corp", SPACE, _READY_WITHIN)
    ready.cluster.kubectl("wait", "--for=condition=Ready", "trustpolicy/deploy", SPACE, _READY_WITHIN)
    ready.open_way()
    fresh = configuration.with_suffix(".new")
    fresh.write_text(manifests.authentication(ready.names.issuer, authority.read_bytes()))
    fresh.rename(configuration)  # at once: a file seen half written is no configuration


def _traffic(stack: contextlib.ExitStack, ready: Stage, authority: Path, apiserver: KubeApiServer) -> Traffic:
    issuer = ready.names.issuer
    trusted = ssl.create_default_context(cafile=str(authority))
    jose = Jose(issuer, authority)
    stack.callback(jose.close)
    verifiers = (Obedient(issuer, trusted), PyJWKClient(issuer, trusted), jose, apiserver)
    subject_token = ready.ci.token(issuer, exp=int(time.time()) + _SUBJECT_SECONDS)
    traffic = Traffic(ready.caller, subject_token, verifiers)
    for verifier in verifiers:
        until(lambda: _knows(verifier, traffic), within=60, what=f"{verifier.name} verifies a token", every=0.5)  # noqa: B023
    stack.enter_context(traffic)
    return traffic


def _knows(verifier: Verifier, traffic: Traffic) -> bool:
    issued = traffic.ask()
    return issued is not None and verifier.verdict(issued.token) == ""


def _children(parent: int) -> Iterator[int]:
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name in parentheses may hold anything, so fields are counted from its end.
            if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                yield int(status.parent.name)


def _pod(pid: int) -> str:
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if entry.startswith(b"HOSTNAME="):
                return entry.removeprefix(b"HOSTNAME=").decode()
    return ""
