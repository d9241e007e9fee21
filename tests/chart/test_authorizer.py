"""The authorizer of docs/security.md, as it stands there, in front of RBAC of a real API server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailseal_dev import chart
from tailseal_dev.controlplane import ControlPlane, ControlPlaneError, flags

pytestmark = pytest.mark.cluster

PAGE = chart.ROOT / "docs" / "security.md"
ACCOUNT = "system:serviceaccount:tailseal-system:tailseal-operator"
NOBODY = """\
apiVersion: v1
kind: Config
clusters: [{name: nobody, cluster: {server: "https://127.0.0.1:9"}}]
contexts: [{name: nobody, context: {cluster: nobody, user: ""}}]
current-context: nobody
"""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with exactly the page's configuration."""
    folder = tmp_path_factory.mktemp("authorizer")
    (written,) = re.findall(r"```yaml\n(apiVersion: apiserver.config.k8s.io/v1\n.*?)```", PAGE.read_text(), re.DOTALL)
    (folder / "nobody.kubeconfig").write_text(NOBODY)
    configuration = folder / "authorization.yaml"
    configuration.write_text(written.replace("/etc/kubernetes/nobody.kubeconfig", str(folder / "nobody.kubeconfig")))
    usual = flags.api_server

    def api_server(directory: Path, ports: flags.Ports) -> list[str]:
        return [flag for flag in usual(directory, ports) if not flag.startswith("--authorization-mode")]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flags, "api_server", api_server)
        with ControlPlane(tmp_path_factory.mktemp("plane"), [f"--authorization-config={configuration}"]) as made:
            made.kubectl("create", "clusterrolebinding", "all", "--clusterrole=cluster-admin", f"--user={ACCOUNT}")
            yield made


@pytest.mark.parametrize(
    ("arguments", "passes"),
    [
        (("secrets", "-l", "tailseal.dev/allow=true"), True),
        (("secrets", "-l", "app.kubernetes.io/managed-by=tailseal"), True),
        (("configmaps",), True),
        (("secrets",), False),
        (("secrets", "-l", "tailseal.dev/allow"), False),
        (("secrets", "-l", "tailseal.dev/allow in (true,false)"), False),
        (("secrets", "-l", "tailseal.dev/allow!=true"), False),
        (("secrets", "-l", "app.kubernetes.io/managed-by=Helm"), False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_secrets_are_listed_by_one_of_two_labels_only(
    plane: ControlPlane, arguments: tuple[str, ...], *, passes: bool
) -> None:
    assert _answered(plane, *arguments) == passes


def _answered(plane: ControlPlane, *arguments: str) -> bool:
    try:
        plane.kubectl("get", *arguments, "--namespace=default", f"--as={ACCOUNT}")
    except ControlPlaneError:
        return False
    return True


def test_others_are_not_concerned(plane: ControlPlane) -> None:
    plane.kubectl("get", "secrets", "--all-namespaces")
