"""Brings a node up and takes it down: namespaces, containerd, control plane, kubelet, kube-proxy, DNS, ways in."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from tailseal_dev import process
from tailseal_dev.cache import ensure
from tailseal_dev.controlplane import ControlPlane, ControlPlaneError
from tailseal_dev.controlplane.flags import Setting
from tailseal_dev.lifetime import Lifetime
from tailseal_dev.ports import free_ports
from tailseal_dev.realnode import config, dns, hostport, images
from tailseal_dev.realnode.machine import BusyError, claimed
from tailseal_dev.realnode.packages import why_not

_READY_WITHIN = 120.0
_INIT = Path(__file__).with_name("init.sh")


class NodeError(Exception):
    """No real node: says why."""


class RealNode(Lifetime):
    """Context manager: a cluster of one real node below `directory`; nothing of it is left on the machine afterwards.

    All of it lives in namespaces of its own and dies with this process. `plane` is its control plane, reached at a
    loopback port of the machine; the same address serves inside.

    Args:
        directory: where certificates, data, images and logs go; emptied of what is large when it is left.
        archives: docker archives of images that pods will need.

    Raises:
        NodeError: there can be none here, or one is running already, or something did not come up.
        ImageError: an image of its own cannot be built.
    """

    def __init__(self, directory: Path, archives: Sequence[Path] = ()) -> None:
        super().__init__()
        self.directory, self._archives = directory, archives
        self._init = 0
        self._plane: ControlPlane | None = None
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def plane(self) -> ControlPlane:
        """The control plane, with kubectl, kubeconfigs and the audit log.

        Raises:
            NodeError: the node is not up.
        """
        if self._plane is None:
            raise NodeError("the node is not up")
        return self._plane

    def _up(self) -> None:
        if reason := why_not():
            raise NodeError(reason)
        try:
            self._bring_up()
        except (BusyError, ControlPlaneError, OSError) as error:
            raise NodeError(str(error)) from error

    @property
    def pid(self) -> int:
        """The node's first process, whose namespaces are the node's."""
        return self._init

    def inside(self, *command: str) -> list[str]:
        """The command line that runs a program on the node."""
        return ["nsenter", f"--target={self._init}", "--mount", "--net", "--uts", "--pid", "--", *command]

    def run(self, *command: str) -> str:
        """Run a program on the node to its end; what it printed.

        Raises:
            NodeError: it failed.
        """
        result = subprocess.run(self.inside(*command), capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise NodeError(f"{command[0]} on the node: {result.stderr.strip()}")
        return result.stdout

    def load(self, archive: Path) -> None:
        """Give the node's containerd the images of a docker archive.

        Raises:
            NodeError: it does not take them.
        """
        argv = self.inside("ctr", f"--address={config.SOCKET}", "--namespace=k8s.io", "images", "import", str(archive))
        result = subprocess.run(argv, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise NodeError(f"{archive} cannot be loaded: {result.stderr.strip()}")

    def reach(self, address: str, port: int, local: int = 0) -> int:
        """A loopback port of the machine that leads to an address of the node, a pod or a Service.

        Args:
            address: as the node reaches it.
            port: at that address.
            local: the machine's port; 0 takes a free one.
        """
        chosen = local or free_ports(1)[0]
        self._lead(chosen, address, port)
        return chosen

    def _bring_up(self) -> None:
        ensure("kubernetes")  # may take minutes on a first run, so before anything runs
        own = (images.pause(), images.dns())
        self._stack.enter_context(claimed())
        self.directory.mkdir(parents=True, exist_ok=True)
        self._stack.callback(shutil.rmtree, self.directory / "lib", ignore_errors=True)
        self._make_namespaces()
        self._start_runtime()
        for archive in own:
            self.load(archive)
        self._start_control_plane()
        self._start_components()
        self.plane.kubectl("apply", "--filename=-", stdin=dns.manifest())
        for archive in self._archives:  # while the others come up
            self.load(archive)
        self._await("kubelet", self._is_ready)
        self._await("kube-proxy", self._leads_to_dns)

    def _make_namespaces(self) -> None:
        flags = (
            "--mount",
            "--propagation=private",
            "--net",
            "--uts",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        )
        (self.directory / "up").unlink(missing_ok=True)
        self._start("init", ["unshare", *flags, "bash", str(_INIT), str(self.directory), config.NODE, config.ADDRESS])
        self._await("init", (self.directory / "up").exists)
        self._init = _child_of(self._running["init"].pid)

    def _start_runtime(self) -> None:
        (self.directory / "cni").mkdir(exist_ok=True)
        (self.directory / "cni" / "10-pods.conflist").write_text(config.cni())
        (self.directory / "containerd.toml").write_text(config.containerd(self.directory))
        (self.directory / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        self._start("containerd", self.inside("containerd", f"--config={self.directory / 'containerd.toml'}"))
        self._await("containerd", lambda: self._succeeds("ctr", f"--address={config.SOCKET}", "version"))

    def _start_control_plane(self) -> None:
        pki = self.directory / "pki"
        setting = Setting(
            launcher=tuple(self.inside()),
            names=(config.ADDRESS,),
            api_server=(
                "--bind-address=0.0.0.0",
                f"--advertise-address={config.ADDRESS}",
                "--endpoint-reconciler-type=lease",
                "--allow-privileged",
                "--enable-admission-plugins=NodeRestriction",
                f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
                f"--kubelet-client-key={pki / 'kubelet-client.key'}",
                "--kubelet-preferred-address-types=InternalIP",
                f"--requestheader-client-ca-file={pki / 'ca.crt'}",
                "--requestheader-allowed-names=front-proxy-client",
                "--requestheader-username-headers=X-Remote-User",
                "--requestheader-group-headers=X-Remote-Group",
                "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                f"--proxy-client-cert-file={pki / 'front-proxy.crt'}",
                f"--proxy-client-key-file={pki / 'front-proxy.key'}",
            ),
            controllers="*",
        )
        plane = ControlPlane(self.directory, setting=setting)
        self._lead(plane.port, "127.0.0.1", plane.port)
        self._plane = self._stack.enter_context(plane)

    def _start_components(self) -> None:
        scheduler = self.plane.kubeconfig_for("system:kube-scheduler")
        self._component("kube-scheduler", f"--kubeconfig={scheduler}", "--leader-elect=false")
        (self.directory / "kubelet.yaml").write_text(json.dumps(config.kubelet(self.directory)))
        self._component(
            "kubelet",
            f"--config={self.directory / 'kubelet.yaml'}",
            f"--kubeconfig={self.plane.kubeconfig_for(f'system:node:{config.NODE}', ['system:nodes'])}",
            f"--hostname-override={config.NODE}",
            f"--node-ip={config.ADDRESS}",
        )
        proxy = config.kube_proxy(self.plane.kubeconfig_for("system:kube-proxy"))
        (self.directory / "kube-proxy.yaml").write_text(yaml.safe_dump(proxy))
        self._component("kube-proxy", f"--config={self.directory / 'kube-proxy.yaml'}")

    def _component(self, name: str, *arguments: str) -> None:
        self._start(name, self.inside(str(self.plane.programs / name), *arguments))

    def _start(self, name: str, argv: Sequence[str]) -> None:
        started = process.start(argv, self._log(name), os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"})
        self._running[name] = started
        self._stack.callback(process.stop, started)

    def _lead(self, local: int, address: str, port: int) -> None:
        running = hostport.start(self._init, local, (address, port), self._log("hostport"))
        self._stack.callback(process.stop, running)

    def _log(self, name: str) -> Path:
        return self.directory / "log" / f"{name}.log"

    def _succeeds(self, *command: str) -> bool:
        return subprocess.run(self.inside(*command), capture_output=True, check=False).returncode == 0

    def _is_ready(self) -> bool:
        path = "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}"
        return self.plane.kubectl("get", "nodes", "--output", path, check=False) == "True"

    def _leads_to_dns(self) -> bool:
        """Only a pod that is ready is behind the address, and it is ready when it knows the cluster's names."""
        return self._succeeds("timeout", "1", "bash", "-c", f"exec 3<>/dev/tcp/{config.DNS_ADDRESS}/53")

    def _await(self, name: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _READY_WITHIN
        while not condition():
            if self._running[name].poll() is not None or time.monotonic() > deadline:
                raise NodeError(f"{name} did not come up:\n{process.tail(self._log(name))}")
            time.sleep(0.05)


def _child_of(parent: int) -> int:
    """The one child of a process, as this machine numbers it."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if f"\nPPid:\t{parent}\n" in status.read_text():
                return int(status.parent.name)
    raise NodeError("the node's first process ended at once")
