"""The chart on the real API server, once for all tests here; and the operator with the rights that it gives."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chart.installed import CLIENTS, FLAGS, IMAGE, OPEN, PROVIDERS
from tailseal_dev import chart, process
from tailseal_dev.controlplane import ControlPlane
from tailseal_dev.localnode.start import running
from tailseal_dev.ports import free_ports


@pytest.fixture(scope="package")
def installed(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The chart's output, applied server-side as an administrator would."""
    rendered = chart.render(*FLAGS)
    kubectl = control_plane.kubectl
    for namespace in (chart.NAMESPACE, PROVIDERS, OPEN, CLIENTS):
        kubectl("create", "namespace", namespace)
    applied = kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=rendered)
    control_plane.await_crds()
    yield applied
    left = chart.render("--set=crds.enabled=false", *FLAGS)
    kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=left)
    kubectl("delete", "namespace", chart.NAMESPACE, PROVIDERS, OPEN, CLIENTS, "--wait=false")


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """A control plane with nothing in it, for a test that installs everything itself."""
    with ControlPlane(tmp_path / "plane") as made:
        yield made


@pytest.fixture
def operator(installed: str, control_plane: ControlPlane, tmp_path: Path) -> Iterator[Path]:
    """The operator under the chart's ServiceAccount; pods run on a local node. The file is the operator's log."""
    with running(control_plane.kubeconfig, tmp_path / "node"):
        try:
            with _started(control_plane, tmp_path / "operator.log") as log:
                yield log
        finally:
            control_plane.kubectl("delete", "node", "local")


@pytest.fixture(scope="module")
def operator_alone(
    installed: str, control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The same, and no pod runs."""
    with _started(control_plane, tmp_path_factory.mktemp("alone") / "operator.log") as log:
        yield log


@contextlib.contextmanager
def _started(control_plane: ControlPlane, log: Path) -> Iterator[Path]:
    token = control_plane.kubectl("create", "token", "tailseal-operator", f"--namespace={chart.NAMESPACE}").strip()
    config = control_plane.kubeconfig_with_token("chart-operator", token)
    (health,) = free_ports(1)
    arguments = ["operator", f"--kubeconfig={config}", f"--health=127.0.0.1:{health}", "--leader-elect"]
    arguments += [f"--lease-namespace={chart.NAMESPACE}", f"--worker-image={IMAGE}"]
    arguments += [f"--provider-namespace={namespace}" for namespace in (PROVIDERS, OPEN)]
    arguments += [f"--client-namespace={CLIENTS}", "--allow-sidecar=mesh=registry.corp.example/mesh/"]
    started = process.start([sys.executable, "-m", "tailseal", *arguments], log, dict(os.environ))
    try:
        yield log
    finally:
        process.stop(started, grace=5)
