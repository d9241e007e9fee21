"""The chart as files: linted, rendered by the real helm, held against what it is made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tailseal_dev import chart

pytestmark = [pytest.mark.helm, pytest.mark.usefixtures("helm")]


def _objects(*flags: str) -> dict[str, dict[str, Any]]:
    documents = [document for document in yaml.safe_load_all(chart.render(*flags)) if document]
    return {f"{document['kind']}/{document['metadata']['name']}": document for document in documents}


def _container(*flags: str) -> dict[str, Any]:
    deployment = _objects(*flags)["Deployment/tailseal-operator"]
    container: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return container


def test_lint_finds_nothing() -> None:
    answer = chart.helm("lint", "--strict", str(chart.CHART))
    assert "[ERROR]" not in answer
    assert "[WARNING]" not in answer


@pytest.mark.parametrize("path", sorted((chart.ROOT / "crds").glob("tailseal*.yaml")), ids=lambda path: path.name)
def test_the_charts_copy_of_a_crd_is_the_generated_one(path: Path) -> None:
    assert chart.crds()[chart.CHART / "files" / "crds" / path.name] == path.read_text()
    assert (chart.CHART / "files" / "crds" / path.name).read_text() == path.read_text(), "run `make crds`"


def test_a_rendered_crd_is_the_generated_one_and_is_kept_on_uninstall() -> None:
    kept, plain = _objects(), _objects("--set=crds.keep=false")
    for path in sorted((chart.ROOT / "crds").glob("tailseal*.yaml")):
        generated = yaml.safe_load(path.read_text())
        name = f"CustomResourceDefinition/{generated['metadata']['name']}"
        assert plain[name] == generated
        assert kept[name]["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert kept[name] == generated


def test_crds_can_be_left_to_somebody_else() -> None:
    assert not [name for name in _objects("--set=crds.enabled=false") if name.startswith("CustomResource")]


def test_the_plain_bundle_is_what_the_chart_renders() -> None:
    assert chart.BUNDLE.read_text() == chart.bundle(), "run `make crds`"


def test_the_plain_bundle_holds_everything_but_the_crds() -> None:
    documents = list(yaml.safe_load_all(chart.bundle()))
    names = {f"{document['kind']}/{document['metadata']['name']}" for document in documents}
    assert names == set(_objects("--set=crds.enabled=false"))


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--set=operator.replicas=many", "operator/replicas"),
        ("--set=operator.logLevel=loud", "operator/logLevel"),
        ("--set=image.digest=abc", "image/digest"),
        ("--set=image.repository=", "image/repository"),
        ("--set=crd.enabled=false", "crd"),
        ("--set=namespaces={Upper}", "namespaces/0"),
        ("--set=egress.extraCA=nonsense", "egress/extraCA"),
    ],
)
def test_wrong_values_are_refused_and_named(flag: str, said: str) -> None:
    with pytest.raises(chart.ChartError, match=said):
        chart.render(flag)


def test_the_operator_is_hardened_and_told_its_own_image_for_the_workers() -> None:
    digest = f"sha256:{'a' * 64}"
    container = _container("--set=image.repository=reg.example/tailseal", f"--set=image.digest={digest}")
    assert container["image"] == f"reg.example/tailseal@{digest}"
    assert f"--worker-image=reg.example/tailseal@{digest}" in container["args"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_several_replicas_elect_a_leader_and_one_is_replaced_only_after_it_ended() -> None:
    single, several = _objects(), _objects("--set=operator.replicas=2")
    name = "Deployment/tailseal-operator"
    assert single[name]["spec"]["strategy"] == {"type": "Recreate"}
    assert several[name]["spec"]["strategy"] == {"type": "RollingUpdate"}
    assert "--leader-elect" not in _container()["args"]
    assert "--leader-elect" in _container("--set=operator.replicas=2")["args"]


def test_egress_is_opened_by_values_and_nothing_else() -> None:
    flags = (
        "--set=egress.openHosts={10.0.0.0/8,vault.corp}",
        "--set-string=egress.extraCA=-----BEGIN CERTIFICATE-----",
    )
    arguments = _container(*flags)["args"]
    assert "--open-host=10.0.0.0/8" in arguments
    assert "--open-host=vault.corp" in arguments
    assert "--extra-ca=/etc/tailseal/extra-ca/ca.crt" in arguments
    assert "BEGIN CERTIFICATE" in _objects(*flags)["ConfigMap/tailseal-operator-extra-ca"]["data"]["ca.crt"]


def test_with_namespaces_named_no_right_reaches_beyond_them() -> None:
    objects = _objects("--set=namespaces={identity,team-a}", "--set=rbac.aggregate=false")
    assert not [name for name in objects if name.startswith("ClusterRole")]
    documents = yaml.safe_load_all(chart.render("--set=namespaces={identity,team-a}"))
    roles = [document for document in documents if document and document["kind"] == "Role"]
    assert {role["metadata"]["namespace"] for role in roles} == {"identity", "team-a", chart.NAMESPACE}
    assert {"--namespace=identity", "--namespace=team-a"} <= set(
        _container("--set=namespaces={identity,team-a}")["args"]
    )


def test_without_fast_propagation_there_is_no_right_to_touch_pods_and_none_to_fence() -> None:
    objects = _objects("--set=propagation.fast=false")
    rules = objects["ClusterRole/tailseal-operator"]["rules"]
    (pods,) = [rule for rule in rules if "pods" in rule["resources"]]
    assert pods["verbs"] == ["get", "list", "watch"]
    assert "ValidatingAdmissionPolicy/tailseal-operator-pods" not in objects
    assert "ValidatingAdmissionPolicy/tailseal-operator-deployments" in objects


def test_the_fences_can_be_left_out_where_cluster_wide_policies_may_not_be_installed() -> None:
    objects = _objects("--set=fence.pods=false,fence.deployments=false,fence.objects=false")
    assert not [name for name in objects if name.startswith("ValidatingAdmission")]


def test_no_right_is_a_wildcard_and_none_grants_rights() -> None:
    for document in _objects().values():
        for rule in document.get("rules", []):
            assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
            assert not {"bind", "escalate", "impersonate"} & set(rule["verbs"])
            assert "rbac.authorization.k8s.io" not in rule["apiGroups"]
