"""What an IdentityProvider owns, rendered: hardened, fixed names and labels, nothing that follows keys or policies."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tailseal.api import meta
from tailseal.domain.render import bundle
from tailseal.domain.render.common import COMPONENTS, Component, Provider, decoded
from tailseal.domain.render.deployment import Workload, deployment
from tailseal.domain.render.networkpolicy import network_policy
from tailseal.domain.render.pdb import pod_disruption_budget
from tailseal.domain.render.service import service, url
from tailseal.domain.render.serviceaccount import service_account
from tailseal.egress.guard import METADATA

PROVIDER = Provider("identity", "corp", "uid-1")
GOLDEN = Path(__file__).parent / "golden"


def everything(component: Component) -> dict[str, Any]:
    return {
        "ServiceAccount": service_account(PROVIDER, component),
        "NetworkPolicy": network_policy(PROVIDER, component),
        "Service": service(PROVIDER, component, tls=False),
        "PodDisruptionBudget": pod_disruption_budget(PROVIDER, component, 2),
        "Deployment": deployment(PROVIDER, Workload(component, "tailseal:test", replicas=2, log_level="info")),
    }


def pod(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a Workload
    rendered = deployment(PROVIDER, Workload("sts", "tailseal:test", **changes))
    found: dict[str, Any] = rendered["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("component", COMPONENTS)
def test_what_is_rendered_is_what_was_reviewed(component: Component) -> None:
    """Delete the file and run the test to write it anew; then review the difference."""
    golden = GOLDEN / f"{component}.json"
    text = json.dumps(everything(component), indent=1, sort_keys=True) + "\n"
    if not golden.exists():
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("kind", ["ServiceAccount", "NetworkPolicy", "Service", "PodDisruptionBudget", "Deployment"])
def test_every_object_has_the_fixed_labels_and_its_owner(component: Component, kind: str) -> None:
    metadata = everything(component)[kind]["metadata"]
    assert set(metadata) == {"name", "namespace", "labels", "ownerReferences"}
    assert metadata["labels"] == {
        meta.MANAGED_BY: "tailseal",
        meta.PROVIDER_LABEL: "corp",
        meta.COMPONENT_LABEL: component,
    }
    assert [owner["uid"] for owner in metadata["ownerReferences"]] == ["uid-1"]


def test_the_pods_have_no_rights_and_no_way_to_get_any() -> None:
    spec = pod()
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/run/tailseal"]


def test_a_pod_that_ends_serves_on_while_others_still_lead_to_it() -> None:
    assert pod()["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": 3}}}


def test_every_volume_source_is_optional_and_every_shard_has_one() -> None:
    listed = {volume["name"]: volume for volume in pod()["volumes"]}
    assert listed.pop("run") == {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
    volumes = {name: volume["projected"]["sources"] for name, volume in listed.items()}
    assert set(volumes) == {"signing", "policies", "credentials", "tls"}
    for sources in volumes.values():
        assert all(value["optional"] is True for source in sources for value in source.values())
    assert [source["configMap"]["name"] for source in volumes["policies"]] == [
        "corp-policies",
        "corp-clients",
        *(f"corp-policies-{number:02d}" for number in range(64)),
    ]


def test_the_worker_is_told_everything_by_arguments() -> None:
    base = ["sts", "--bundle", "/etc/tailseal/bundle", "--listen", "$(POD_IP):8443", "--management", "$(POD_IP):9090"]
    base += ["--drain", "2"]
    assert pod()["containers"][0]["args"] == base
    assert pod(tls=True)["containers"][0]["args"] == [*base, "--tls", "/etc/tailseal/tls"]


def test_a_worker_never_listens_on_all_addresses() -> None:
    assert "0.0.0.0" not in json.dumps(everything("sts")["Deployment"])


def test_replicas_left_out_are_left_out() -> None:
    assert "replicas" not in deployment(PROVIDER, Workload("sts", "x"))["spec"]
    assert deployment(PROVIDER, Workload("sts", "x", replicas=0))["spec"]["replicas"] == 0


def test_no_label_of_a_user_moves_a_pod_to_another_service() -> None:
    labels = {meta.PROVIDER_LABEL: "other", meta.COMPONENT_LABEL: "idp", "team": "x"}
    rendered = deployment(PROVIDER, Workload("sts", "x", labels=labels))
    assert rendered["spec"]["template"]["metadata"]["labels"] == {**PROVIDER.labels("sts"), "team": "x"}


def test_secrets_of_the_registry_are_named_only_where_there_are_some() -> None:
    assert "imagePullSecrets" not in pod()
    assert pod(pull_secrets=("one", "two"))["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]


def test_the_pods_have_a_priority_only_where_the_installation_gives_one() -> None:
    assert "priorityClassName" not in pod()
    assert pod(priority_class="trust")["priorityClassName"] == "trust"


def test_where_the_pods_go_is_as_the_spec_says() -> None:
    tolerations = [{"key": "a", "operator": "Exists"}]
    spec = pod(node_selector={"disk": "ssd"}, tolerations=tolerations, resources={"limits": {"memory": "1Gi"}})
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert spec["tolerations"] == tolerations
    assert spec["containers"][0]["resources"] == {"limits": {"memory": "1Gi"}}


@pytest.mark.parametrize(("replicas", "there"), [(0, False), (1, False), (2, True), (9, True), (None, True)])
def test_a_budget_is_there_only_where_one_pod_can_be_spared(replicas: int | None, there: bool) -> None:  # noqa: FBT001
    assert (pod_disruption_budget(PROVIDER, "sts", replicas) is not None) is there


@pytest.mark.parametrize(("tls", "scheme", "port"), [(True, "https", 443), (False, "http", 80)])
def test_the_service_speaks_what_the_worker_speaks(tls: bool, scheme: str, port: int) -> None:  # noqa: FBT001
    (only,) = service(PROVIDER, "sts", tls=tls)["spec"]["ports"]
    assert (only["name"], only["port"], only["targetPort"]) == (scheme, port, "serving")
    assert url(PROVIDER, "sts", tls=tls) == f"{scheme}://corp-sts.identity.svc"


CHART = Path(__file__).parents[2] / "charts" / "tailseal" / "templates" / "networkpolicy.yaml"


@pytest.mark.parametrize(
    "text", [json.dumps(network_policy(PROVIDER, "sts")), CHART.read_text()], ids=["ours", "chart"]
)
def test_the_metadata_services_of_all_clouds_are_shut_as_for_the_guarded_client(text: str) -> None:
    lists = re.findall(r'"?except"?: (\[[^]]*])', text)
    assert sorted(each for found in lists for each in yaml.safe_load(found)) == sorted(map(str, METADATA))


def test_files_survive_a_secret() -> None:
    files = {"signing.json": b"{}", "a.pem": bytes(range(256))}
    assert decoded(bundle.signing(PROVIDER, files)["data"]) == files
    assert decoded(bundle.shard(PROVIDER, 7, b"x")["binaryData"]) == {"07.json.gz": b"x"}
    assert decoded(None) == {}
