"""The rendered chart on the real API server: accepted whole, and its rights suffice for the operator."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from chart.installed import CLIENTS, OBJECTS, PROVIDERS, Kubectl, eventually, refused
from tailseal_dev import chart, process
from tailseal_dev.controlplane import ControlPlane, ControlPlaneError

pytestmark = [pytest.mark.cluster, pytest.mark.helm, pytest.mark.usefixtures("helm")]


def test_every_object_is_accepted(installed: str) -> None:
    names = {line.split(" ")[0] for line in installed.splitlines()}
    assert {
        "customresourcedefinition.apiextensions.k8s.io/trustpolicies.tailseal.dev",
        "clusterrole.rbac.authorization.k8s.io/tailseal-operator",
        "deployment.apps/tailseal-operator",
        "validatingadmissionpolicy.admissionregistration.k8s.io/tailseal-operator-pods",
    } <= names


def test_the_chart_s_rights_suffice_for_the_operator(
    operator: Path, control_plane: ControlPlane, kubectl: Kubectl
) -> None:
    kubectl("apply", "-f", "-", stdin=OBJECTS)
    try:
        for name in ("signingkey/corp", "identityprovider/corp", "trustpolicy/deploy"):
            kubectl("wait", name, "--for=condition=Ready", f"--namespace={PROVIDERS}", "--timeout=120s")
        kubectl("delete", "trustpolicy/deploy", f"--namespace={PROVIDERS}")
        eventually(lambda: "corp-policies" in kubectl("get", "configmaps", "-o=name", f"--namespace={PROVIDERS}"))
    except ControlPlaneError as error:
        pytest.fail(f"{error}\n{process.tail(operator, 40)}")
    assert refused(control_plane, operator) == []


CLIENT = """\
apiVersion: tailseal.dev/v1alpha1
kind: OAuthClient
metadata: {{name: grafana, namespace: {namespace}}}
spec:
  identityProviderRef: {{name: corp, namespace: {provider}}}
  redirectURIs: [https://grafana.corp.example/login]
"""
BOUNDS = """{"spec":{"bounds":[{"name":"all","namespaces":{"from":"All"},"redirectHosts":["grafana.corp.example"],
"grantTypes":["authorization_code","refresh_token"]}]}}"""


def test_an_application_gets_its_secret_where_the_chart_says_so_and_elsewhere_the_client_says_what_is_missing(
    operator: Path, control_plane: ControlPlane, kubectl: Kubectl
) -> None:
    kubectl("apply", "-f", "-", stdin=OBJECTS)
    kubectl("patch", "identityprovider/corp", f"--namespace={PROVIDERS}", "--type=merge", f"--patch={BOUNDS}")
    for namespace in (CLIENTS, "default"):
        kubectl("apply", "-f", "-", stdin=CLIENT.format(namespace=namespace, provider=PROVIDERS))
    name, key = ("secret/grafana-oauthclient", f"--namespace={CLIENTS}"), "-o=jsonpath={.data.client_secret}"
    try:
        wait = ("wait", "oauthclient/grafana", "--timeout=120s")
        kubectl(*wait, "--for=condition=Programmed", f"--namespace={CLIENTS}")
        data = kubectl("get", *name, "-o=jsonpath={.data}")
        assert len(json.loads(data)) == 9
        kubectl("patch", *name, "--type=merge", '--patch={"data":{"issuer":"eA==","more":"eA=="}}')
        eventually(lambda: kubectl("get", *name, "-o=jsonpath={.data}") == data)
        first = kubectl("get", *name, key)
        time.sleep(1)  # the request must be younger than the secret, and says whole seconds
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        kubectl("annotate", "oauthclient/grafana", f"--namespace={CLIENTS}", f"tailseal.dev/rotate={stamp}")
        eventually(lambda: kubectl("get", *name, key) != first)
        ready = kubectl("get", "oauthclient/grafana", f"--namespace={CLIENTS}", "--no-headers").split()
        assert ready[1:3] == ["False", "oauthclient.chart-clients.grafana"]
        kubectl(*wait, "--for=jsonpath={.status.conditions[?(@.type=='Programmed')].reason}=Forbidden", "-n=default")
        kubectl("delete", "oauthclient/grafana", f"--namespace={CLIENTS}")
        clients = ("get", "configmap/corp-clients", f"--namespace={PROVIDERS}", "--ignore-not-found", "-o=name")
        eventually(lambda: not kubectl(*clients))
    except ControlPlaneError as error:
        pytest.fail(f"{error}\n{process.tail(operator, 40)}")
    finally:
        kubectl("delete", "oauthclient/grafana", "--namespace=default")
        kubectl("delete", "--ignore-not-found", "-f", "-", stdin=OBJECTS)


VARIANTS: list[tuple[str, ...]] = [
    (),
    ("--set=clusterWide=true",),
    (f"--set=namespaces={{{PROVIDERS}}}", "--set=operator.replicas=2"),
    ("--set=metrics.dashboard.enabled=true", "--set-string=egress.extraCA=-----BEGIN CERTIFICATE-----"),
    ("--set=serviceAccount.annotations.a=b", "--set=operator.priorityClassName=system-cluster-critical"),
    ("--set=operator.podDisruptionBudget.enabled=true,operator.networkPolicy.enabled=true",),
]


@pytest.mark.parametrize("flags", VARIANTS, ids=lambda flags: " ".join(flags) or "as it comes")
def test_every_variant_passes_the_api_server_s_strict_validation(
    installed: str, kubectl: Kubectl, flags: tuple[str, ...]
) -> None:
    rendered = chart.render(*flags)
    strict = ("apply", "--server-side", "--force-conflicts", "--validate=strict", "--dry-run=server", "-f", "-")
    answer = kubectl(*strict, stdin=rendered)
    assert len(answer.splitlines()) == len(chart.documents(rendered))


def test_strict_validation_refuses_a_field_that_is_misspelt(installed: str, kubectl: Kubectl) -> None:
    spoiled = chart.render().replace("terminationGracePeriodSeconds:", "terminationGracePeriod:")
    with pytest.raises(ControlPlaneError, match=r"terminationGracePeriod: field not declared|unknown field"):
        kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", stdin=spoiled)
