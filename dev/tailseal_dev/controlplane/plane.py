"""Starts, restarts and ends the components, and hands out credentials for them."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from tailseal_dev import pki, process
from tailseal_dev.cache import ensure
from tailseal_dev.controlplane import flags
from tailseal_dev.ports import free_ports

_READY_WITHIN = 180.0
_SERVER_NAMES = (
    "localhost",
    "127.0.0.1",
    "10.96.0.1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)

_TOO_EARLY: Final = ".status.conditions accessor error: <nil>"
"""What `kubectl wait` ends with, instead of waiting, where the object is so new that nobody said anything of it."""


class ControlPlaneError(Exception):
    """A component did not come up: says which, and the end of its log."""


class ControlPlane:
    """Context manager: a control plane with an empty etcd below `directory`, gone when it is left.

    Args:
        directory: where certificates, data and logs go; `kubeconfig` in it is an administrator's.
        extra_flags: more flags for the API server.
        setting: where the components run.
    """

    def __init__(self, directory: Path, extra_flags: Sequence[str] = (), setting: flags.Setting | None = None) -> None:
        self.directory = directory
        self._setting = setting or flags.Setting()
        self._extra = tuple(extra_flags)
        self._ports = flags.Ports(*free_ports(4))
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._authority = pki.Authority("tailseal-dev-cluster")
        self._programs: Path | None = None

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://127.0.0.1:{self._ports.api_server}"

    @property
    def port(self) -> int:
        """Port of the API server."""
        return self._ports.api_server

    @property
    def kubeconfig(self) -> Path:
        """An administrator's kubeconfig."""
        return self.directory / "kubeconfig"

    @property
    def certificate_authority(self) -> Path:
        """The certificate that vouches for the API server."""
        return self.directory / "pki" / "ca.crt"

    @property
    def programs(self) -> Path:
        """Directory of etcd, kube-apiserver, kube-controller-manager and kubectl.

        Raises:
            BuildError: they cannot be built here.
        """
        if self._programs is None:
            self._programs = ensure("kubernetes")
        return self._programs

    def __enter__(self) -> Self:
        try:
            self._start_all()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End everything at once; there is nothing to save."""
        for component in reversed(list(self._running)):
            self._end(component)

    def stop_api_server(self) -> None:
        """Begin an outage: etcd keeps the data."""
        self._end("kube-apiserver")

    def stop_controller_manager(self) -> None:
        """As it does itself elsewhere seconds after the API server went, when it loses its Lease: here it has none."""
        self._end("kube-controller-manager")

    def start_controller_manager(self) -> None:
        """Begin anew, as it does with a Lease: one that lived on would take every node for dead that was not heard."""
        arguments = flags.controller_manager(self.directory, self._ports, self._setting.controllers)
        self._start("kube-controller-manager", arguments)

    def start_api_server(self) -> None:
        """End an outage; returns when the API server is ready, on the same port.

        Raises:
            ControlPlaneError: it did not become ready.
        """
        arguments = flags.api_server(self.directory, self._ports)
        self._start("kube-apiserver", [*arguments, *self._setting.api_server, *self._extra])
        self._await_ready()

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig for a client certificate of this user and these groups."""
        path = self.directory / "pki" / f"{user.replace(':', '-')}.kubeconfig"
        pair = self._authority.client(user, groups)
        credential = {"client-certificate-data": _base64(pair.certificate), "client-key-data": _base64(pair.key)}
        return self._write_kubeconfig(path, credential)

    def kubeconfig_with_token(self, name: str, token: str) -> Path:
        """A kubeconfig for a bearer token, e.g. of a service account."""
        return self._write_kubeconfig(self.directory / "pki" / f"{name}.kubeconfig", {"token": token})

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run the real kubectl as administrator; what it printed on stdout.

        Raises:
            ControlPlaneError: it failed and `check` is set; holds what it said on stderr.
        """
        argv = [str(self.programs / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]
        result = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
        if _TOO_EARLY in result.stderr:
            time.sleep(1)
            return self.kubectl(*arguments, stdin=stdin, check=check)
        if check and result.returncode != 0:
            raise ControlPlaneError(f"kubectl {' '.join(arguments)}: {result.stderr.strip()}")
        return result.stdout

    def await_crds(self) -> None:
        """Return when objects of all installed kinds can be asked for: established, they are found a moment later.

        Raises:
            ControlPlaneError: they cannot.
        """
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", f"--timeout={_READY_WITHIN:.0f}s")
        named = self.kubectl("get", "crd", "--output=jsonpath={.items[*].metadata.name}")

        def found() -> bool:
            with contextlib.suppress(ControlPlaneError):
                self.kubectl("get", ",".join(named.split()), "--all-namespaces")
                return True
            return False

        self._await("kube-apiserver", found)

    def audit(self) -> Iterable[dict[str, Any]]:
        """All writes the API server has answered so far, as its audit events."""
        log = self.directory / "audit.log"
        if log.exists():
            with log.open() as lines:
                yield from (json.loads(line) for line in lines if line.endswith("\n"))

    def writes_by(self, user: str) -> list[str]:
        """The writes of one user, as `verb uri`, oldest first."""
        return [f"{event['verb']} {event['requestURI']}" for event in self.audit() if event["user"]["username"] == user]

    def _start_all(self) -> None:
        programs = self.programs  # may take minutes on a first run, so before anything runs
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write_credentials()
        (self.directory / "audit-policy.yaml").write_text(flags.AUDIT_POLICY)
        self._start("etcd", flags.etcd(self.directory, self._ports))
        self.start_api_server()
        self.start_controller_manager()
        self._await_service_account()
        self._link(programs)

    def _link(self, programs: Path) -> None:
        link = self.directory / "kubectl"
        if not link.is_symlink():
            link.symlink_to(programs / "kubectl")

    def _write_credentials(self) -> None:
        directory = self.directory / "pki"
        self._authority.pair.write(directory, "ca")
        self._authority.server((*_SERVER_NAMES, *self._setting.names)).write(directory, "apiserver")
        private, public = pki.service_account_key()
        pki.write_private(directory / "sa.key", private)
        (directory / "sa.pub").write_bytes(public)
        self.kubeconfig_for("system:kube-controller-manager").rename(directory / "controller-manager.kubeconfig")
        self.kubeconfig_for("admin", ["system:masters"]).rename(self.kubeconfig)
        self.client("kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"])
        self.client("front-proxy", "front-proxy-client")

    def client(self, file: str, user: str, groups: Sequence[str] = ()) -> None:
        """A client certificate and its key as files of the `pki` directory."""
        self._authority.client(user, groups).write(self.directory / "pki", file)

    def _write_kubeconfig(self, path: Path, user: dict[str, str]) -> Path:
        cluster = {"server": self.server, "certificate-authority-data": _base64(self._authority.certificate)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "dev", "cluster": cluster}],
            "users": [{"name": "dev", "user": user}],
            "contexts": [{"name": "dev", "context": {"cluster": "dev", "user": "dev"}}],
            "current-context": "dev",
        }
        pki.write_private(path, yaml.safe_dump(document).encode())
        return path

    def _start(self, component: str, arguments: Sequence[str]) -> None:
        argv = [*self._setting.launcher, str(self.programs / component), *arguments]
        self._running[component] = process.start(argv, self._log(component))

    def _end(self, component: str) -> None:
        running = self._running.pop(component, None)
        if running is not None:
            process.stop(running)

    def _log(self, component: str) -> Path:
        return self.directory / "log" / f"{component}.log"

    def _await_ready(self) -> None:
        context = ssl.create_default_context(cafile=str(self.certificate_authority))

        def ready() -> bool:
            with urllib.request.urlopen(f"{self.server}/readyz", context=context, timeout=2) as answer:  # noqa: S310
                return bool(answer.read() == b"ok")

        self._await("kube-apiserver", ready)

    def _await_service_account(self) -> None:
        """Until then no namespace can hold pods."""
        arguments = ("get", "serviceaccount", "default", "--namespace=default", "--ignore-not-found", "--output=name")
        self._await("kube-controller-manager", lambda: bool(self.kubectl(*arguments)))

    def _await(self, component: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _READY_WITHIN
        while time.monotonic() < deadline:
            if self._running[component].poll() is not None:
                break
            try:
                if condition():
                    return
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.05)
        raise ControlPlaneError(f"{component} did not become ready:\n{process.tail(self._log(component))}")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
