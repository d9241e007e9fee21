"""The chart's mode for all namespaces, on an API server of its own: it works in several, with no right too many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chart.installed import ACCOUNT, Kubectl, attempt, eventually, operator_as_deployed, refused
from chart.test_fences_deployments import WORKLOAD
from tailseal_dev import chart, process
from tailseal_dev.controlplane import ControlPlane, ControlPlaneError
from tailseal_dev.localnode.start import running

pytestmark = [pytest.mark.cluster, pytest.mark.helm, pytest.mark.usefixtures("helm")]

EAST, WEST, TENANT = "east", "west", "team-a"

PROVIDER = """\
apiVersion: tailseal.dev/v1alpha1
kind: SigningKey
metadata: {{name: corp, namespace: {space}}}
spec: {{}}
---
apiVersion: tailseal.dev/v1alpha1
kind: IdentityProvider
metadata: {{name: corp, namespace: {space}}}
spec:
  issuer: https://{space}.corp.example
  signingKeys: [{{name: corp}}]
  idp: {{enabled: false}}
  bounds:
  - name: all
    namespaces: {{from: All}}
    issuers: [https://ci.example]
    keySources: [https://ci.example/.well-known/openid-configuration]
    audiences: [https://api.example]
---
apiVersion: tailseal.dev/v1alpha1
kind: TrustPolicy
metadata: {{name: {space}, namespace: {tenant}}}
spec:
  identityProviderRef: {{name: corp, namespace: {space}}}
  from: {{oidc: {{issuer: https://ci.example, subject: {{exact: job}}}}}}
  grants: [{{name: api, jwt: {{audiences: [https://api.example]}}}}]
"""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("cluster-wide")) as made:
        for name in (chart.NAMESPACE, EAST, WEST, TENANT):
            made.kubectl("create", "namespace", name)
        made.kubectl("apply", "--server-side", "-f", "-", stdin=chart.render("--set=clusterWide=true"))
        made.await_crds()
        yield made


@pytest.fixture(scope="module")
def kubectl(plane: ControlPlane) -> Kubectl:
    return plane.kubectl


def test_providers_of_several_namespaces_work_and_nothing_is_refused(
    plane: ControlPlane, kubectl: Kubectl, tmp_path: Path
) -> None:
    with (
        running(plane.kubeconfig, tmp_path / "node"),
        operator_as_deployed(plane, tmp_path / "operator.log") as log,
    ):
        try:
            for space in (EAST, WEST):
                kubectl("apply", "-f", "-", stdin=PROVIDER.format(space=space, tenant=TENANT))
            for space in (EAST, WEST):
                for name in ("signingkey/corp", "identityprovider/corp"):
                    kubectl("wait", name, "--for=condition=Ready", f"--namespace={space}", "--timeout=120s")
                policy = (f"trustpolicy/{space}", f"--namespace={TENANT}")
                kubectl("wait", "--for=condition=Ready", *policy, "--timeout=120s")
                kubectl("delete", *policy)
            for space in (EAST, WEST):
                path = ("--output=jsonpath={.status.attachedPolicies}", f"--namespace={space}")
                eventually(lambda path=path: kubectl("get", "identityprovider/corp", *path) == "0")  # type: ignore[misc]
        except (AssertionError, ControlPlaneError) as error:
            pytest.fail(f"{error}\n{process.tail(log, 40)}")
        assert refused(plane, log) == []


RIGHTS = [
    # what providers anywhere need
    ("list secrets", True),
    ("patch secrets", True),
    ("patch pods", True),
    ("create roles.rbac.authorization.k8s.io", True),
    ("patch identityproviders.tailseal.dev/status", True),
    ("list namespaces", True),
    # and nothing else
    ("update configmaps", False),
    ("create pods/exec", False),
    ("get pods/proxy", False),
    ("create serviceaccounts/token", False),
    ("patch identityproviders.tailseal.dev", False),
    ("delete trustpolicies.tailseal.dev", False),
    ("escalate roles.rbac.authorization.k8s.io", False),
    ("create clusterrolebindings.rbac.authorization.k8s.io", False),
    ("impersonate users", False),
    ("patch namespaces", False),
    ("list nodes", False),
    ("patch leases.coordination.k8s.io", False),
    ("patch validatingadmissionpolicies.admissionregistration.k8s.io", False),
]


@pytest.mark.parametrize(("asked", "allowed"), RIGHTS, ids=[row[0] for row in RIGHTS])
def test_the_account_may_do_in_all_namespaces_what_providers_need_and_nothing_else(
    kubectl: Kubectl, asked: str, *, allowed: bool
) -> None:
    verb, _, what = asked.partition(" ")
    what, _, subresource = what.partition("/")
    more = (f"--subresource={subresource}",) if subresource else ()
    question = ("auth", "can-i", verb, what, "--all-namespaces", *more, f"--as={ACCOUNT}")
    asked_as = (*question, f"--as-group=system:serviceaccounts:{chart.NAMESPACE}")
    eventually(lambda: kubectl(*asked_as, check=False).split()[-1:] == (["yes"] if allowed else ["no"]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "configmap", "mine", "--from-literal=a=b"), "may write only what it marks as its own"),
        (("create", "secret", "generic", "mine"), "may write only what it marks as its own"),
        (("delete", "serviceaccount/default"), "may touch nothing that is not its own"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_rights_on_the_whole_cluster_cannot_say_its_fence_does(
    kubectl: Kubectl, arguments: tuple[str, ...], said: str
) -> None:
    eventually(lambda: said in attempt(kubectl, "kube-system", *arguments, "--dry-run=server"))


def test_where_accounts_own_the_cluster_the_operator_runs_no_pod_with_a_token_of_theirs(kubectl: Kubectl) -> None:
    account = "clusterrole-aggregation-controller"
    flags = ("--server-side", "--dry-run=server", "-f", "-")
    tokens = "      automountServiceAccountToken: false\n"
    assert tokens in WORKLOAD

    def answered(said: str, manifest: str) -> None:
        eventually(lambda: said in attempt(kubectl, "kube-system", "apply", *flags, stdin=manifest))

    answered("nor a token for the API server", WORKLOAD.replace(tokens, ""))
    answered("may write no Deployments but its workers'", WORKLOAD.replace("corp-sts", account))
    own = "      serviceAccountName: corp-sts\n"
    answered("only under the ServiceAccount of the same name", WORKLOAD.replace(own, own.replace("corp-sts", account)))
    answered("only under the ServiceAccount of the same name", WORKLOAD.replace(own, ""))
    answered("as workers and nodes only", WORKLOAD.replace("args: [sts]", "args: [operator]"))
    answered("as workers and nodes only", WORKLOAD.replace("args: [sts]", "args: [sts], command: [/bin/sh]"))
    answered("serverside-applied", WORKLOAD)
