"""Argo CD for one cluster, as processes of this machine: controller, repository server, and Debian's redis."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tailseal_dev import process
from tailseal_dev.cache import ensure
from tailseal_dev.controlplane import ControlPlane
from tailseal_dev.demo.narrator import until
from tailseal_dev.lifetime import Lifetime
from tailseal_dev.ports import free_ports
from tailseal_dev.realnode.current import CurrentCluster
from tailseal_dev.realnode.packages import find_program

NAMESPACE: Final = "argocd"
CRDS: Final = ("applications.argoproj.io", "appprojects.argoproj.io")
HEALTH_CHECKS: Final = Path(__file__).resolve().parents[3] / "deploy" / "argocd"
"""A kustomization that patches `argocd-cm`, and what it is made from."""

_PACKAGES: Final = {"redis-server": "redis-server", "git": "git"}
_PART: Final = {"app.kubernetes.io/part-of": "argocd"}
_READY_WITHIN: Final = 120.0


class ArgoError(Exception):
    """Argo CD did not come up: says which part, and the end of its log."""


def why_not() -> str | None:
    """One line that says why Argo CD cannot run here; None: it can."""
    missing = [package for program, package in _PACKAGES.items() if find_program(program) is None]
    return f"Argo CD needs the Debian packages {' '.join(missing)}: apt-get install" if missing else None


class ArgoCD(Lifetime):
    """Context manager: Argo CD's controllers on a cluster, with the health checks that we offer.

    Args:
        plane: the cluster.
        directory: for settings, clones and logs.

    Raises:
        ArgoError: it did not come up.
        BuildError: it cannot be compiled here.
    """

    def __init__(self, plane: ControlPlane | CurrentCluster, directory: Path) -> None:
        super().__init__()
        self._plane, self._directory = plane, directory
        self._redis, self._repository, *self._metrics = free_ports(4)

    def _up(self) -> None:
        programs = ensure("argocd")
        self._install(programs)
        self._run(self._prepare(programs))

    def log(self, name: str) -> Path:
        """The log of `redis`, `repo-server` or `controller`."""
        return self._directory / "log" / f"{name}.log"

    def _install(self, programs: Path) -> None:
        kubectl = self._plane.kubectl
        kubectl("create", "namespace", NAMESPACE)
        files = [f"--filename={programs / name}" for name in ("application-crd.yaml", "appproject-crd.yaml")]
        kubectl("apply", "--server-side", *files)
        # Of a CRD that has no conditions yet, kubectl ends at once with an error.
        kinds = [f"crd/{name}" for name in CRDS]
        wait = ("wait", "--for=condition=Established", "--timeout=10s", *kinds)
        until(lambda: len(kubectl(*wait, check=False).splitlines()) == len(kinds), within=_READY_WITHIN, what="CRDs")
        kubectl("apply", "--server-side", "--filename=-", stdin=yaml.safe_dump_all(_settings()))

    def _prepare(self, programs: Path) -> Mapping[str, str]:
        """The environment of Argo CD's programs."""
        place = self._directory
        for name in ("bin", "tls", "ssh", "gpg", "tmp"):
            (place / name).mkdir(parents=True, exist_ok=True)
        for name in ("argocd-application-controller", "argocd-repo-server", "argocd-git-ask-pass"):
            (place / "bin" / name).symlink_to(programs / name)
        (place / "bin" / "helm").symlink_to(ensure("helm") / "helm")
        wrapper = place / "bin" / "git-verify-wrapper.sh"
        shutil.copy(programs / wrapper.name, wrapper)
        wrapper.chmod(0o755)
        own = {
            "KUBECONFIG": str(self._plane.kubeconfig),
            "ARGOCD_FAKE_IN_CLUSTER": "true",
            "ARGOCD_GPG_ENABLED": "false",
            "ARGOCD_TLS_DATA_PATH": str(place / "tls"),
            "ARGOCD_SSH_DATA_PATH": str(place / "ssh"),
            "ARGOCD_GNUPGHOME": str(place / "gpg"),
            "HOME": str(place),
            "TMPDIR": str(place / "tmp"),
            "PATH": f"{place / 'bin'}:{self._plane.programs}:{os.environ['PATH']}",
        }
        return os.environ | own

    def _run(self, environment: Mapping[str, str]) -> None:
        redis, repository = f"127.0.0.1:{self._redis}", f"127.0.0.1:{self._repository}"
        stores_nothing = ["--save", "", "--appendonly", "no", "--dir", str(self._directory)]
        argv = [str(find_program("redis-server")), "--bind", "127.0.0.1", "--port", str(self._redis), *stores_nothing]
        self._start("redis", argv, environment)
        argv = ["argocd-repo-server", "--address=127.0.0.1", f"--port={self._repository}", "--disable-tls"]
        argv += ["--client-ca-path=", "--metrics-address=127.0.0.1", f"--metrics-port={self._metrics[0]}"]
        self._start("repo-server", [*argv, "--revision-cache-expiration=5s", f"--redis={redis}"], environment)
        argv = ["argocd-application-controller", f"--namespace={NAMESPACE}", f"--repo-server={repository}"]
        argv += ["--repo-server-plaintext", f"--redis={redis}", f"--metrics-port={self._metrics[1]}"]
        self._start("controller", [*argv, "--app-resync=10", "--persist-resource-health"], environment)

    def _start(self, name: str, argv: list[str], environment: Mapping[str, str]) -> None:
        command = shutil.which(argv[0], path=environment["PATH"]) or argv[0]
        started = process.start([command, *argv[1:]], self.log(name), environment)
        self._stack.callback(process.stop, started)
        time.sleep(0.2)
        if started.poll() is not None:
            raise ArgoError(f"{name} ended at once:\n{process.tail(self.log(name))}")


def _settings() -> list[dict[str, Any]]:
    """What Argo CD wants to find: its settings with our health checks, a secret, a project that may do anything."""
    reconciliation = {"timeout.reconciliation": "10s", "timeout.reconciliation.jitter": "0s"}
    checks = yaml.safe_load((HEALTH_CHECKS / "argocd-cm.yaml").read_text())["data"]
    everything = {"group": "*", "kind": "*"}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", **_named("argocd-cm"), "data": {**reconciliation, **checks}},
        {"apiVersion": "v1", "kind": "ConfigMap", **_named("argocd-rbac-cm")},
        {"apiVersion": "v1", "kind": "Secret", **_named("argocd-secret"), "stringData": {"server.secretkey": "unused"}},
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "AppProject",
            **_named("default"),
            "spec": {
                "sourceRepos": ["*"],
                "destinations": [{"namespace": "*", "server": "*"}],
                "clusterResourceWhitelist": [everything],
            },
        },
    ]


def _named(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/name": name, **_PART}}}
