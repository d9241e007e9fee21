"""Somebody's cluster in the place of a node of our own: kind's or any other that the kubeconfig points at.

It has what tests of pods need of a `RealNode`: kubectl, a kubeconfig, and ways to addresses in the cluster. Nobody's
images are loaded and no audit log is read there.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

from tailseal_dev import process
from tailseal_dev.cache import ensure
from tailseal_dev.controlplane import ControlPlaneError
from tailseal_dev.lifetime import Lifetime
from tailseal_dev.ports import free_ports

NAMESPACE = "tailseal-tests"
_POD = "way"
_PORT = 9000
_WITHIN = 60.0
_TUNNEL = Path(__file__).with_name("tunnel.py")


class CurrentCluster(Lifetime):
    """Context manager: the cluster of the current context, with a pod of ours that leads to others; gone afterwards.

    Args:
        directory: for logs and a copy of the context's credentials.
        image: ours, as the cluster pulls it.
        namespaces: what the caller makes, and deletes at the end: where one is there already, or a CRD of ours, nothing
            is begun.
        refuse: called with what only a node of our own could do.
        crds: names of others that the caller makes: the same holds for them.

    Raises:
        ControlPlaneError: there is none, it has what we would delete, or the pod does not come up.
    """

    def __init__(
        self,
        directory: Path,
        image: str,
        namespaces: Sequence[str],
        refuse: Callable[[str], NoReturn],
        crds: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.directory, self.image, self._namespaces, self._refuse = directory, image, namespaces, refuse
        self._crds = crds
        self.programs = ensure("kubernetes")
        self.kubeconfig = directory / "kubeconfig"
        self._forward = 0

    @property
    def plane(self) -> Self:
        """Itself: whoever looks after the control plane, we reach it by kubectl."""
        return self

    def _up(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        found = [shutil.which("kubectl") or str(self.programs / "kubectl"), "config", "view"]
        view = subprocess.run([*found, "--raw", "--minify", "--flatten"], capture_output=True, text=True, check=False)
        if view.returncode != 0:
            raise ControlPlaneError(f"no current context: {view.stderr.strip()}")
        self._stack.callback(self.kubeconfig.unlink, missing_ok=True)
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(view.stdout)
        self._open()

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """As `ControlPlane.kubectl`."""
        argv = [str(self.programs / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]
        result = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
        if check and result.returncode != 0:
            raise ControlPlaneError(f"kubectl {' '.join(arguments)}: {result.stderr.strip()}")
        return result.stdout

    def reach(self, address: str, port: int, local: int = 0) -> int:
        """As `RealNode.reach`."""
        chosen = local or free_ports(1)[0]
        self._start("lead", [sys.executable, str(_TUNNEL), "lead", str(chosen), str(self._forward), address, str(port)])
        _await(lambda: _listens(chosen), f"127.0.0.1:{chosen}")
        return chosen

    def load(self, archive: Path) -> None:
        """Refused."""
        self._refuse(f"{archive.name} has to be loaded, which takes a node of our own")

    def run(self, *command: str) -> str:
        """Refused."""
        self._refuse(f"{command[0]} has to run on the node, which takes one of our own")

    @property
    def pid(self) -> int:
        """Refused."""
        self._refuse("namespaces of the node are asked for, which takes one of our own")

    def audit(self) -> Iterable[dict[str, Any]]:
        """Refused."""
        self._refuse("the audit log is read, which takes a control plane of our own")

    def _open(self) -> None:
        there = self.kubectl("get", "namespaces", *self._namespaces, "--ignore-not-found", "-o=name").split()
        there += crds_of_ours(self.kubectl, self._crds)
        if there:
            raise ControlPlaneError(
                f"{', '.join(there)}: there already, and would be deleted at the end: use another cluster"
            )
        self.kubectl("create", "namespace", NAMESPACE)
        # Until it is gone: who begins anew at once would find it there.
        self._stack.callback(self.kubectl, "delete", "namespace", NAMESPACE, "--timeout=120s", check=False)
        self.kubectl("apply", "--filename=-", stdin=json.dumps(_pod(self.image)))
        space = f"--namespace={NAMESPACE}"
        self.kubectl("wait", f"pod/{_POD}", space, "--for=condition=Ready", f"--timeout={_WITHIN:.0f}s")
        (self._forward,) = free_ports(1)
        forward = f"{self.programs / 'kubectl'} port-forward {space} pod/{_POD} {self._forward}:{_PORT}"
        # One broken connection ends kubectl's whole port-forward.
        self._start("forward", ["sh", "-c", f"while :; do {forward}; sleep 0.1; done"], KUBECONFIG=str(self.kubeconfig))
        _await(lambda: _listens(self._forward), "the port-forward")

    def _start(self, name: str, argv: list[str], **environment: str) -> None:
        running = process.start(argv, self.directory / f"{name}.log", os.environ | environment)
        self._stack.callback(process.stop, running)


def crds_of_ours(kubectl: Callable[..., str], others: Collection[str] = ()) -> list[str]:
    """Which there are of our CRDs, and of others by name: as `kubectl delete` takes them."""
    found = kubectl("get", "crds", "-o=name").split()
    return [name for name in found if name.endswith(".tailseal.dev") or name.rpartition("/")[2] in others]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _await(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WITHIN
    while not condition():
        if time.monotonic() > deadline:
            raise ControlPlaneError(f"not within {_WITHIN:.0f} s: {what}")
        time.sleep(0.02)


def _pod(image: str) -> dict[str, Any]:
    """The relay's pod: it meets the restricted profile, and only a port-forward reaches it."""
    container = {
        "name": "relay",
        "image": image,
        "command": ["python", "-c", _TUNNEL.read_text(), "serve", str(_PORT)],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1, "containers": [container]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _POD, "namespace": NAMESPACE},
        "spec": spec | {"securityContext": security},
    }
