"""The control plane that all cluster tests stand on."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tailseal_dev.controlplane import ControlPlane, ControlPlaneError

pytestmark = pytest.mark.cluster


def test_it_is_the_kubernetes_version_that_was_built(kubectl: Callable[..., str]) -> None:
    assert json.loads(kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"] == "v1.36.4"


def test_a_kubectl_failure_says_what_the_server_said(kubectl: Callable[..., str]) -> None:
    with pytest.raises(ControlPlaneError, match='namespaces "missing" not found'):
        kubectl("get", "namespace", "missing")


def test_another_user_may_nothing_and_its_refused_writes_are_counted(
    control_plane: ControlPlane, namespace: str
) -> None:
    config = control_plane.kubeconfig_for("nobody-in-particular", ["system:authenticated"])
    arguments = ("create", "configmap", "x", f"--namespace={namespace}", f"--kubeconfig={config}")
    with pytest.raises(ControlPlaneError, match="nobody-in-particular"):
        control_plane.kubectl(*arguments)
    (write,) = control_plane.writes_by("nobody-in-particular")
    assert write.startswith(f"create /api/v1/namespaces/{namespace}/configmaps")


def test_a_service_account_token_opens_a_kubeconfig(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "serviceaccount", "robot", f"--namespace={namespace}")
    token = control_plane.kubectl("create", "token", "robot", f"--namespace={namespace}").strip()
    config = control_plane.kubeconfig_with_token("robot", token)
    answer = control_plane.kubectl("auth", "whoami", "-o", "json", f"--kubeconfig={config}")
    assert json.loads(answer)["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:robot"


def test_data_survives_an_outage_of_the_api_server(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.stop_api_server()
    try:
        with pytest.raises(ControlPlaneError, match="refused"):
            control_plane.kubectl("get", "namespace", namespace)
    finally:
        control_plane.start_api_server()
    assert namespace in control_plane.kubectl("get", "namespace", namespace)
