"""Helm for real, on an API server of its own: installed, upgraded from a former chart, rolled back, uninstalled."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chart.installed import eventually
from tailseal_dev import chart
from tailseal_dev.controlplane import ControlPlane
from tailseal_dev.ports import free_ports

pytestmark = [pytest.mark.cluster, pytest.mark.helm]

FORMER = "3825507"
"""A commit whose chart had cluster-wide rights only."""
SPACE = "--namespace=identity"
OBJECTS = """\
apiVersion: tailseal.dev/v1alpha1
kind: SigningKey
metadata: {name: corp, namespace: identity}
spec: {}
---
apiVersion: v1
kind: Secret
metadata: {name: corp-signingkey, namespace: identity, labels: {app.kubernetes.io/managed-by: tailseal}}
"""


@dataclass(frozen=True, slots=True)
class Helm:
    """The real helm on the control plane."""

    program: str
    plane: ControlPlane

    def __call__(self, *arguments: str) -> str:
        environment = os.environ | {"KUBECONFIG": str(self.plane.kubeconfig)}
        argv = [self.program, *arguments, f"--namespace={chart.NAMESPACE}"]
        result = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        return result.stdout if result.returncode == 0 else f"failed: {result.stderr}"

    def uninstall(self, release: str) -> None:
        self("uninstall", release, "--wait")
        self.plane.kubectl("delete", "crd", "--all", "--wait=true")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("upgrade")) as made:
        for name in (chart.NAMESPACE, "identity"):
            made.kubectl("create", "namespace", name)
        yield made


@pytest.fixture
def run(plane: ControlPlane, helm: str) -> Iterator[Helm]:
    made = Helm(helm, plane)
    yield made
    made.uninstall("tailseal")


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("former")
    archive = subprocess.run(["git", "archive", FORMER, "charts"], cwd=chart.ROOT, capture_output=True, check=False)
    if archive.returncode != 0:
        pytest.skip(f"this clone does not have the commit {FORMER}")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder / "charts" / "tailseal"


def test_an_upgrade_keeps_what_people_made_and_so_do_a_rollback_and_the_end(run: Helm, former: Path) -> None:
    kubectl = run.plane.kubectl
    assert "STATUS: deployed" in run("install", "tailseal", str(former))
    run.plane.await_crds()
    kubectl("apply", "-f", "-", stdin=OBJECTS)
    uid = kubectl("get", "signingkey/corp", SPACE, "--output=jsonpath={.metadata.uid}")

    def kept() -> None:
        assert kubectl("get", "signingkey/corp", SPACE, "--output=jsonpath={.metadata.uid}") == uid
        kubectl("get", "secret/corp-signingkey", SPACE)

    def may(namespace: str) -> str:
        account = f"--as=system:serviceaccount:{chart.NAMESPACE}:tailseal-operator"
        return kubectl("auth", "can-i", "list", "secrets", f"--namespace={namespace}", account, check=False).strip()

    eventually(lambda: may("default") == "yes")
    answer = run("upgrade", "tailseal", str(chart.CHART), "--set=providerNamespaces={identity}")
    assert "SigningKeys and IdentityProviders in identity (providerNamespaces)" in answer
    kept()
    eventually(lambda: (may("default"), may("identity")) == ("no", "yes"))
    assert "Rollback was a success" in run("rollback", "tailseal", "1")
    kept()
    eventually(lambda: may("default") == "yes")
    assert 'release "tailseal" uninstalled' in run("uninstall", "tailseal", "--wait")
    kept()
    eventually(lambda: may("identity") == "no")
    assert "STATUS: deployed" in run("install", "tailseal", str(chart.CHART), "--set=providerNamespaces={identity}")
    kept()


def test_several_replicas_become_one_again_by_upgrade_and_by_rollback(run: Helm) -> None:
    """What the API server fills in beside one strategy is refused beside the other."""
    path = ("deployment/tailseal-operator", f"--namespace={chart.NAMESPACE}", "--output=jsonpath={.spec.strategy.type}")
    told = ("tailseal", str(chart.CHART), "--set=providerNamespaces={identity}", "--reset-values")
    assert "STATUS: deployed" in run("install", *told[:-1])
    for verb in (("upgrade", *told), ("rollback", "tailseal", "1")):
        assert "STATUS: deployed" in run("upgrade", *told, "--set=operator.replicas=2")
        assert run.plane.kubectl("get", *path) == "RollingUpdate"
        assert "failed" not in run(*verb)
        assert run.plane.kubectl("get", *path) == "Recreate"


def test_an_upgrade_that_would_leave_a_provider_without_its_operator_is_refused(run: Helm, former: Path) -> None:
    kubectl = run.plane.kubectl
    run("install", "tailseal", str(former))
    run.plane.await_crds()
    kubectl("apply", "-f", "-", stdin=OBJECTS)
    answer = run("upgrade", "tailseal", str(chart.CHART))
    assert "SigningKey identity/corp would not be looked after any more" in answer
    assert "providerNamespaces" in answer


def test_a_second_installation_that_claims_the_same_namespace_is_refused(run: Helm) -> None:
    assert "STATUS: deployed" in run("install", "tailseal", str(chart.CHART), "--set=providerNamespaces={identity}")
    second = ("install", "second", str(chart.CHART), "--set=crds.enabled=false")
    answer = run(*second, "--set=providerNamespaces={identity}")
    assert 'RoleBinding "tailseal-operator" in namespace "identity" exists and cannot be imported' in answer
    try:
        assert "STATUS: deployed" in run(*second)
    finally:
        run("uninstall", "second", "--wait")


def test_beside_a_cluster_wide_installation_a_second_one_is_refused_unless_it_takes_over(run: Helm) -> None:
    assert "STATUS: deployed" in run("install", "tailseal", str(chart.CHART), "--set=clusterWide=true")
    second = ("install", "second", str(chart.CHART), "--set=crds.enabled=false,providerNamespaces={identity}")
    answer = run(*second)
    assert "release tailseal looks after all namespaces already (clusterWide)" in answer
    assert "set takeOver=true to take identity from it" in answer
    try:
        assert "STATUS: deployed" in run(*second, "--set=takeOver=true")
    finally:
        run("uninstall", "second", "--wait")


def test_without_the_crds_the_operator_ends_and_what_it_advises_installs_them(run: Helm) -> None:
    told = [
        f"--kubeconfig={run.plane.kubeconfig}",
        "--provider-namespace=identity",
        f"--health=127.0.0.1:{free_ports(1)[0]}",
    ]
    argv = [sys.executable, "-m", "tailseal", "operator", "--worker-image=tailseal:0.1.0", *told]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    said = re.search(
        r"does not know .*trustpolicies\.tailseal\.dev.*install the CRDs first \((kubectl .*?)\)", ended.stderr
    )
    assert said, ended.stderr
    environment = os.environ | {"KUBECONFIG": str(run.plane.kubeconfig)}
    advice = [run.plane.programs / "kubectl", *said[1].split()[1:]]
    subprocess.run(advice, cwd=chart.ROOT, env=environment, check=True, capture_output=True)
    assert "trustpolicies.tailseal.dev" in run.plane.kubectl("get", "crd", "--output=name")


@pytest.mark.parametrize("value", ["providerNamespaces", "clientNamespaces"])
def test_a_namespace_that_is_not_there_is_named_before_anything_is_installed(run: Helm, value: str) -> None:
    answer = run("install", "tailseal", str(chart.CHART), f"--set={value}={{identty}}")
    assert f"{value}: there is no namespace identty: create it, or name another one" in answer
    assert "release: not found" in run("status", "tailseal")
    space = "--set=extraObjects[0].apiVersion=v1,extraObjects[0].kind=Namespace,extraObjects[0].metadata.name=identty"
    assert "there is no namespace" not in run(
        "install", "tailseal", str(chart.CHART), f"--set={value}={{identty}}", space
    )


@pytest.mark.parametrize("flag", ["--set=operator.replicas=many", "--set=providerNamespaces=identity"])
def test_wrong_values_fail_at_install_with_their_path(run: Helm, flag: str) -> None:
    answer = run("install", "tailseal", str(chart.CHART), flag)
    assert f"at '/{flag.partition('=')[2].partition('=')[0].replace('.', '/')}'" in answer
