"""What the story needs around it: a cluster, the operator, somewhere for pods to run, a CI system with an issuer."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tailseal_dev import pki, process
from tailseal_dev.cache import ensure
from tailseal_dev.controlplane import ControlPlane
from tailseal_dev.demo import manifests, reach
from tailseal_dev.demo.caller import Caller
from tailseal_dev.demo.narrator import Disappointment, Narrator, until
from tailseal_dev.issuer import Issuer
from tailseal_dev.localnode.start import running
from tailseal_dev.ports import free_ports

ROOT = Path(__file__).resolve().parents[3]
SERVING_SECRET = "corp-serving"  # noqa: S105 - its name
OPERATOR = "tailseal-operator"
"""The user as whom the operator appears in our own control plane's audit log."""
SERVING_PORT = 8443
"""Where worker pods serve."""
SPACE = f"--namespace={manifests.NAMESPACE}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the story plays.

    Args:
        told: who says what happens.
        directory: manifests, tokens and logs; typed commands find them there.
        kubectl_path: the real kubectl.
        plane: our own control plane; None means the user's cluster, as the current context names it.
        operator_flags: what the operator must be told about this cluster.
        image: the workers' image, where pods are real.
    """

    told: Narrator
    directory: Path
    kubectl_path: Path
    plane: ControlPlane | None
    operator_flags: tuple[str, ...]
    image: str = ""

    @property
    def is_local(self) -> bool:
        """Whether pods and this machine reach each other directly."""
        return self.plane is not None

    def kubectl(self, *arguments: str, show: bool = True) -> str:
        """Run kubectl and show it as it can be typed; what it printed.

        Raises:
            Disappointment: it failed.
        """
        if show:
            self.told.command(f"kubectl {' '.join(arguments)}")
        result = subprocess.run(
            [self.kubectl_path, *arguments], env=self.environment(), capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            raise Disappointment(f"kubectl {' '.join(arguments)}: {result.stderr.strip()}")
        if show:
            self.told.output(result.stdout)
        return result.stdout

    def environment(self) -> dict[str, str]:
        """Ours, pointing to this cluster."""
        return os.environ | ({} if self.plane is None else {"KUBECONFIG": str(self.plane.kubeconfig)})


class Operator:
    """The operator as a process of this machine, with an administrator's rights; runs while the context lasts.

    Args:
        cluster: what it looks after.

    Attributes:
        health: where it answers about its health and with its metrics.
    """

    def __init__(self, cluster: Cluster) -> None:
        (port,) = free_ports(1)
        self.health = f"127.0.0.1:{port}"
        self._arguments = ("operator", *cluster.operator_flags, f"--health={self.health}")
        self._cluster = cluster
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, once more after `kill`."""
        self._cluster.told.command(f"tailseal {' '.join(self._arguments)} &")
        log = self._cluster.directory / "operator.log"
        self._running = process.start([sys.executable, "-m", "tailseal", *self._arguments], log)

    def kill(self) -> None:
        """End it without any chance to tidy up."""
        self._stop(0.0)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop(10.0)

    def _stop(self, grace: float) -> None:
        if self._running is not None:
            process.stop(self._running, grace=grace)
            self._running = None


@dataclass(frozen=True, slots=True)
class Stage:
    """A set stage.

    Args:
        cluster: where it stands.
        names: what differs from one run to the next.
        caller: asks the token service as anybody could.
        ci: the CI system's issuer.
        operator: the running operator.
        open_way: makes the token service reachable at the issuer's URL, once its Service is there.
        reach: where the serving port of a pod can be reached from here, by the pod's IP.
    """

    cluster: Cluster
    names: manifests.Names
    caller: Caller
    ci: Issuer
    operator: Operator
    open_way: Callable[[], None]
    reach: Callable[[str], str]

    def replicas(self) -> dict[str, str]:
        """Every worker pod of the provider: where it can be reached, by name."""
        return {name: self.reach(address) for name, address in pod_addresses(self.cluster).items()}

    def apply(self, name: str, manifest: str) -> None:
        """Write a manifest, show it, apply it."""
        path = self.cluster.directory / name
        path.write_text(manifest)
        self.cluster.told.output(manifest)
        self.cluster.kubectl("apply", "-f", str(path))


@contextlib.contextmanager
def local(told: Narrator, directory: Path, flags: Sequence[str] = ()) -> Iterator[Stage]:
    """A control plane and a node of our own, all of it gone afterwards.

    Args:
        told: who says what happens.
        directory: for everything that is written.
        flags: more for the operator.
    """
    told.step("A Kubernetes control plane on this machine, and a node that runs pods as processes")
    sts, idp = free_ports(2)
    with contextlib.ExitStack() as stack:
        plane = stack.enter_context(ControlPlane(directory / "cluster"))
        told.say(f"etcd, kube-apiserver and kube-controller-manager are up at {plane.server}. To type along:")
        told.command(f"export KUBECONFIG={plane.kubeconfig} PATH={plane.programs}:$PATH")
        services = {f"{manifests.NAMESPACE}/corp-sts": sts, f"{manifests.NAMESPACE}/corp-idp": idp}
        stack.enter_context(running(plane.kubeconfig, directory / "node", services=services))
        # Workers fetch the CI system's keys from this machine, which nobody but the installation may allow.
        config = plane.kubeconfig_for(OPERATOR, ["system:masters"])
        told_operator = (f"--kubeconfig={config}", "--open-host=127.0.0.1", *flags)
        cluster = Cluster(told, directory, plane.programs / "kubectl", plane, told_operator)
        yield set_up(stack, cluster, sts)


@contextlib.contextmanager
def current(told: Narrator, directory: Path, image: str) -> Iterator[Stage]:
    """The user's own cluster: pods are real, the operator runs here and reaches them through the API server."""
    told.step("Your cluster, as the current context of your kubeconfig names it")
    found = shutil.which("kubectl")
    kubectl = Path(found) if found else ensure("kubernetes") / "kubectl"
    (port,) = free_ports(1)
    with contextlib.ExitStack() as stack:
        cluster = Cluster(told, directory, kubectl, None, ("--pod-proxy", f"--worker-image={image}"), image)
        yield set_up(stack, cluster, port)


def pod_addresses(cluster: Cluster) -> dict[str, str]:
    """The IP of every worker pod of the provider, by name."""
    template = '{range .items[*]}{.metadata.name}={.status.podIP}{"\\n"}{end}'
    selector = "--selector=tailseal.dev/identity-provider=corp"
    listed = cluster.kubectl("get", "pods", SPACE, selector, "-o", f"jsonpath={template}", show=False)
    return dict(line.split("=", 1) for line in listed.split())


def logs(directory: Path) -> list[Path]:
    """What to look at when something went wrong."""
    return [directory / "operator.log", directory / "node" / "node.log", *sorted(directory.glob("node/logs/*/*.log"))]


def set_up(stack: contextlib.ExitStack, cluster: Cluster, port: int) -> Stage:
    """A stage on a cluster: the CI system, what has to be installed, and the operator, until the stack is left.

    Args:
        stack: ends everything.
        cluster: where it stands.
        port: loopback port of our issuer.
    """
    authority = pki.Authority("tailseal-demo")
    (cluster.directory / "ca.crt").write_bytes(authority.certificate)
    authority.server().write(cluster.directory, "serving")
    ci = stack.enter_context(Issuer(authority=authority))
    issuer = f"https://127.0.0.1:{port}"
    caller = Caller(issuer, cluster.directory / "ca.crt")
    stack.callback(caller.close)
    names = manifests.Names(issuer, ci.url, authority.certificate.decode(), None if cluster.is_local else ci.jwks)
    _install(stack, cluster)
    operator = stack.enter_context(Operator(cluster))

    ways: dict[str, str] = {}

    def open_way() -> None:
        if not cluster.is_local:
            ways.update(_relayed(stack, cluster, port))
        until(lambda: _answers(caller), within=60, what=f"{issuer} answers")

    def way_to(address: str) -> str:
        return ways.get(address, f"{address}:{SERVING_PORT}")

    return Stage(cluster, names, caller, ci, operator, open_way, way_to)


def _answers(caller: Caller) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return bool(caller.jwks()["keys"])
    return False


def _install(stack: contextlib.ExitStack, cluster: Cluster) -> None:
    crds = str(ROOT / "crds")
    installed = cluster.kubectl("get", "-k", crds, "--ignore-not-found", "--output=name", show=False)
    cluster.kubectl("apply", "--server-side", "-k", crds)
    if not cluster.is_local and not installed:  # what was there before us is not ours to remove
        stack.callback(cluster.kubectl, "delete", "-k", crds)
    cluster.kubectl("create", "namespace", manifests.NAMESPACE)
    if not cluster.is_local:
        stack.callback(cluster.kubectl, "delete", "namespace", manifests.NAMESPACE)
    files = (f"--cert={cluster.directory / 'serving.crt'}", f"--key={cluster.directory / 'serving.key'}")
    cluster.kubectl("create", "secret", "tls", SERVING_SECRET, SPACE, *files)
    cluster.kubectl("label", "secret", SERVING_SECRET, SPACE, "tailseal.dev/allow=true")


def _relayed(stack: contextlib.ExitStack, cluster: Cluster, port: int) -> dict[str, str]:
    """Lead a port of this machine to the token service and one to each replica; where each pod's IP is reached."""
    cluster.told.say(
        "Workers listen on their pods' IPs alone, where no port-forward ends; so it goes to a relay beside them."
    )
    service = cluster.kubectl("get", "service/corp-sts", SPACE, "-o=jsonpath={.spec.clusterIP}", show=False)
    addresses = pod_addresses(cluster).values()
    local = dict(zip(addresses, free_ports(len(addresses)), strict=True))
    targets = {port: f"{service}:443", **{way: f"{address}:{SERVING_PORT}" for address, way in local.items()}}
    arguments, forwarded = reach.ways(targets)
    manifest = cluster.directory / "relay.json"
    manifest.write_text(reach.pod(cluster.image, arguments))
    cluster.kubectl("apply", "-f", str(manifest))
    cluster.kubectl("wait", f"pod/{reach.RELAY}", "--for=condition=Ready", SPACE, "--timeout=120s")
    stack.enter_context(_forwarded(cluster, forwarded))
    return {address: f"127.0.0.1:{way}" for address, way in local.items()}


@contextlib.contextmanager
def _forwarded(cluster: Cluster, ports: list[str]) -> Iterator[None]:
    arguments = ["port-forward", f"pod/{reach.RELAY}", SPACE, *ports]
    cluster.told.command(f"kubectl {' '.join(arguments)} &")
    argv = [str(cluster.kubectl_path), *arguments]
    started = process.start(argv, cluster.directory / "forward.log", cluster.environment())
    try:
        yield
    finally:
        process.stop(started)
