"""The rendered chart on the real API server: accepted whole, and its rights suffice for the operator, and no more."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tailseal_dev import chart, process
from tailseal_dev.controlplane import ControlPlane, ControlPlaneError
from tailseal_dev.localnode.start import running
from tailseal_dev.ports import free_ports

pytestmark = [pytest.mark.cluster, pytest.mark.helm, pytest.mark.usefixtures("helm")]

Kubectl = Callable[..., str]
ACCOUNT = f"system:serviceaccount:{chart.NAMESPACE}:tailseal-operator"
PROVIDERS = "chart-providers"
STAMP = f"tailseal.dev/bundle=sha256:{'0' * 64}"

OBJECTS = f"""\
apiVersion: tailseal.dev/v1alpha1
kind: SigningKey
metadata: {{name: corp, namespace: {PROVIDERS}}}
spec: {{}}
---
apiVersion: tailseal.dev/v1alpha1
kind: IdentityProvider
metadata: {{name: corp, namespace: {PROVIDERS}}}
spec:
  issuer: https://idp.corp.example
  signingKeys: [{{name: corp}}]
---
apiVersion: tailseal.dev/v1alpha1
kind: TrustPolicy
metadata: {{name: deploy, namespace: {PROVIDERS}}}
spec:
  identityProviderRef: {{name: corp}}
  from: {{oidc: {{issuer: https://ci.example, subject: {{exact: job}}}}}}
  grants: [{{name: api, jwt: {{audiences: [https://api.example]}}}}]
"""

PODS = """\
apiVersion: v1
kind: Pod
metadata: {name: ours, labels: {app.kubernetes.io/managed-by: tailseal}, annotations: {other: stays}}
spec: {nodeSelector: {no: node}, automountServiceAccountToken: false, containers: [{name: c, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: foreign}
spec: {nodeSelector: {no: node}, automountServiceAccountToken: false, containers: [{name: c, image: none}]}
"""


@pytest.fixture(scope="module")
def installed(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The chart's output, applied server-side as an administrator would."""
    rendered = chart.render()
    kubectl = control_plane.kubectl
    kubectl("create", "namespace", chart.NAMESPACE)
    kubectl("create", "namespace", PROVIDERS)
    applied = kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=rendered)
    yield applied
    left = chart.render("--set=crds.enabled=false")
    kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=left)
    kubectl("delete", "namespace", chart.NAMESPACE, PROVIDERS, "--wait=false")


@pytest.fixture
def operator(installed: str, control_plane: ControlPlane, tmp_path: Path) -> Iterator[Path]:
    """The operator under the chart's ServiceAccount; pods run on a local node. The file is the operator's log."""
    token = control_plane.kubectl("create", "token", "tailseal-operator", f"--namespace={chart.NAMESPACE}").strip()
    config = control_plane.kubeconfig_with_token("chart-operator", token)
    (health,) = free_ports(1)
    log = tmp_path / "operator.log"
    arguments = ["operator", f"--kubeconfig={config}", f"--health=127.0.0.1:{health}", "--leader-elect"]
    arguments.append(f"--lease-namespace={chart.NAMESPACE}")
    with running(control_plane.kubeconfig, tmp_path / "node"):
        started = process.start([sys.executable, "-m", "tailseal", *arguments], log, dict(os.environ))
        try:
            yield log
        finally:
            process.stop(started, grace=5)
            control_plane.kubectl("delete", "node", "local")


def test_every_object_is_accepted(installed: str) -> None:
    names = {line.split(" ")[0] for line in installed.splitlines()}
    assert {
        "customresourcedefinition.apiextensions.k8s.io/trustpolicies.tailseal.dev",
        "clusterrole.rbac.authorization.k8s.io/tailseal-operator",
        "deployment.apps/tailseal-operator",
        "validatingadmissionpolicy.admissionregistration.k8s.io/tailseal-operator-pods",
    } <= names


def test_the_plain_bundle_is_accepted_by_kubectl_apply_k(installed: str, kubectl: Kubectl) -> None:
    answer = kubectl(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server"), "-k", str(chart.ROOT / "deploy")
    )
    assert "deployment.apps/tailseal-operator serverside-applied (server dry run)" in answer


@pytest.mark.parametrize(
    ("verb", "resource", "group", "allowed"),
    [
        ("create", "trustpolicies", "edit", True),
        ("create", "signingkeys", "edit", False),
        ("create", "identityproviders", "edit", False),
        ("create", "signingkeys", "admin", True),
        ("create", "trustpolicies", "admin", True),
        ("get", "trustpolicies", "view", True),
        ("delete", "trustpolicies", "view", False),
    ],
)
def test_tenants_edit_policies_and_administrators_keys(
    installed: str, kubectl: Kubectl, verb: str, resource: str, group: str, *, allowed: bool
) -> None:
    binding = f"test-{group}"
    flags = (f"--clusterrole={group}", f"--group={binding}", f"--namespace={PROVIDERS}")
    kubectl("create", "rolebinding", binding, *flags, check=False)
    question = ("auth", "can-i", verb, f"{resource}.tailseal.dev", f"--namespace={PROVIDERS}")

    def answer() -> str:
        return kubectl(*question, "--as=somebody", f"--as-group={binding}", check=False).strip()

    _eventually(lambda: answer() == ("yes" if allowed else "no"))


def test_the_chart_s_rights_suffice_for_the_operator(
    operator: Path, control_plane: ControlPlane, kubectl: Kubectl
) -> None:
    kubectl("apply", "-f", "-", stdin=OBJECTS)
    try:
        for name in ("signingkey/corp", "identityprovider/corp", "trustpolicy/deploy"):
            kubectl("wait", name, "--for=condition=Ready", f"--namespace={PROVIDERS}", "--timeout=60s")
        kubectl("delete", "trustpolicy/deploy", f"--namespace={PROVIDERS}")
        _eventually(lambda: "corp-policies" in kubectl("get", "configmaps", "-o=name", f"--namespace={PROVIDERS}"))
    except ControlPlaneError as error:
        pytest.fail(f"{error}\n{process.tail(operator, 40)}")
    refused = [
        f"{event['verb']} {event['requestURI']}"
        for event in control_plane.audit()
        if event["user"]["username"] == ACCOUNT and event["responseStatus"].get("code") == 403
    ]
    assert refused == []
    assert "Forbidden" not in operator.read_text()


@pytest.fixture(scope="module")
def pods(installed: str, kubectl: Kubectl) -> Iterator[str]:
    """A pod of ours and a foreign one; RBAC allows the operator everything there, so that only the fence refuses."""
    namespace = "chart-fence"
    kubectl("create", "namespace", namespace)
    _eventually(lambda: "default" in kubectl("get", "serviceaccounts", f"--namespace={namespace}"))
    kubectl("apply", "-f", "-", f"--namespace={namespace}", stdin=PODS)
    account = f"--serviceaccount={chart.NAMESPACE}:tailseal-operator"
    kubectl("create", "rolebinding", "all", "--clusterrole=cluster-admin", account, f"--namespace={namespace}")
    _eventually(lambda: "may change no annotation" in _try(kubectl, namespace, "annotate", "pod/ours", "probe=1"))
    yield namespace
    kubectl("delete", "namespace", namespace, "--wait=false")


def test_the_fence_lets_the_operator_stamp_and_delete_its_own_pods(pods: str, kubectl: Kubectl) -> None:
    assert "annotated" in _try(kubectl, pods, "annotate", "pod/ours", STAMP)
    assert "annotated" in _try(kubectl, pods, "annotate", "pod/ours", "tailseal.dev/bundle-")
    assert "deleted" in _try(kubectl, pods, "delete", "pod/ours")
    kubectl("apply", "-f", "-", f"--namespace={pods}", stdin=PODS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("annotate", "pod/foreign", STAMP), "no pods but its workers"),
        (("annotate", "pod/ours", "tailseal.dev/bundle=text"), "must be a digest"),
        (("annotate", "pod/ours", "other-"), "no annotation but"),
        (("label", "pod/ours", "a=b"), "labels, owners or finalizers"),
        (("label", "pod/ours", "app.kubernetes.io/managed-by-"), "labels, owners or finalizers"),
        (("set", "image", "pod/ours", "c=evil"), "may not change a pod's spec"),
        (("delete", "pod/foreign"), "no pods but its workers"),
        (("run", "new", "--image=evil"), "may only annotate and delete"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_fence_refuses_the_operator_everything_else(
    pods: str, kubectl: Kubectl, arguments: tuple[str, ...], said: str
) -> None:
    assert said in _try(kubectl, pods, *arguments)


def _try(kubectl: Kubectl, namespace: str, *arguments: str) -> str:
    """What kubectl says to the operator's account, refusal or not."""
    try:
        return kubectl(*arguments, f"--namespace={namespace}", f"--as={ACCOUNT}")
    except ControlPlaneError as error:
        return str(error)


def _eventually(condition: Callable[[], bool], within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.1)
