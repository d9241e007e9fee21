"""The chart as files: linted, rendered by the real helm, held against what it is made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tailseal.api import meta
from tailseal.api.identityprovider.spec import MAX_NODES
from tailseal.domain.render.common import COMPONENTS
from tailseal_dev import chart

pytestmark = [pytest.mark.helm, pytest.mark.usefixtures("helm")]


TENANTS = {"trustpolicies", "trustpolicies/status", "oauthclients", "oauthclients/status", "events"}


def _objects(*flags: str) -> dict[str, dict[str, Any]]:
    documents = chart.documents(chart.render(*flags))
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


@pytest.mark.parametrize("flags", [["--set=propagation.fast=false"], ["--set=namespaces={here,there}"]], ids=" ".join)
def test_the_operator_starts_anew_with_other_rights_as_it_asks_for_them_at_its_start(flags: list[str]) -> None:
    here = "--set=namespaces={here}"
    former, again, other = (
        _objects(*given)["Deployment/tailseal-operator"]["spec"]["template"]["metadata"]["annotations"]
        for given in ([here], [here, "--set=operator.logLevel=debug"], [here, *flags])
    )
    assert former == again
    assert former != other


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
        ("--set=providerNamespaces=identity", "providerNamespaces"),
        ("--set=clusterWide=true,providerNamespaces={identity}", "providerNamespaces"),
        ("--set=names.other.signingKeys={corp}", "names.other: no provider namespace; those are: tailseal-system"),
        ("--set=names.identity.keys={corp}", "names/identity"),
        ("--set=egress.extraCA=nonsense", "egress/extraCA"),
        ("--set=operator.priorityClassName=High", "operator/priorityClassName"),
        ("--set-json=operator.topologySpreadConstraints=[{}]", "operator/topologySpreadConstraints/0"),
        ("--set=metrics.podMonitor.interval=often", "metrics/podMonitor/interval"),
        ("--set=metrics.alerts=true", "metrics"),
        ("--set-json=extraObjects=[1]", "extraObjects/0"),
        ("--set=worker.imagePullSecrets={name}", "worker/imagePullSecrets/0"),
        ("--set=operator.podDisruptionBudget=true", "operator/podDisruptionBudget"),
        ("--set-json=operator.networkPolicy.from=[{}]", "operator/networkPolicy/from/0"),
        ("--set=operator.networkPolicy.ingress={a}", "operator/networkPolicy"),
        ("--set=worker.priorityClassName=High", "worker/priorityClassName"),
        ("--set=fence.pods=yes please", "fence/pods"),
        ("--set=fence.objects=null", "fence"),
        ("--set=fence=null", "fence"),
        ("--set=operator.extraArgs={}", "operator/extraArgs/0"),
        ("--set=operator.replicas=-1", "operator/replicas"),
        ("--set=image.tag=not a tag", "image/tag"),
        ("--set=image.repository=UPPER/tailseal", "image/repository"),
        ('--set=tailscale.image=a"b', "tailscale/image"),
        ("--set=operator.resources.limits.memory=lots", "operator/resources/limits/memory"),
        ("--set=egress.openHosts={not a host!}", "egress/openHosts/0"),
        ("--set=metrics=null", "metrics"),
        ("--set=worker=null", "worker"),
        ('--set-json=worker.sidecars=[{"name":"a","image":"mesh:1"}]', "worker/sidecars/0/image"),
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


def test_allowed_sidecars_are_told_to_the_operator_and_let_through_its_fence() -> None:
    flag = '--set-json=worker.sidecars=[{"name":"proxy","image":"registry.corp.example/mesh/"}]'
    assert "--allow-sidecar=proxy=registry.corp.example/mesh/" in _container(flag)["args"]

    def rule(*flags: str) -> str:
        fence = _objects(*flags)["ValidatingAdmissionPolicy/tailseal-operator-deployments"]
        (found,) = [entry["expression"] for entry in fence["spec"]["variables"] if entry["name"] == "sidecars"]
        return str(found)

    assert '(c.name == "proxy" && c.image.startsWith("registry.corp.example/mesh/") &&' in rule(flag)
    assert "startsWith" not in rule()


def test_a_priority_of_workers_is_told_to_the_operator_and_let_through_its_fence() -> None:
    flag = "--set=worker.priorityClassName=trust"
    assert "--worker-priority-class=trust" in _container(flag)["args"]
    assert 'in ["","trust"]' in str(_objects(flag)["ValidatingAdmissionPolicy/tailseal-operator-deployments"])
    assert not [argument for argument in _container()["args"] if "priority" in argument]


def test_several_replicas_elect_a_leader_and_one_is_replaced_only_after_it_ended() -> None:
    single, several = _objects(), _objects("--set=operator.replicas=2")
    name = "Deployment/tailseal-operator"
    assert single[name]["spec"]["strategy"] == {"type": "Recreate"}
    assert several[name]["spec"]["strategy"]["type"] == "RollingUpdate"
    assert "--leader-elect" not in _container()["args"]
    assert "--leader-elect" in _container("--set=operator.replicas=2")["args"]


def test_budget_and_network_policy_of_the_operator_are_there_on_request_and_mean_its_pods() -> None:
    names = ("PodDisruptionBudget/tailseal-operator", "NetworkPolicy/tailseal-operator")
    assert not set(names) & set(_objects())
    asked = _objects("--set=operator.podDisruptionBudget.enabled=true,operator.networkPolicy.enabled=true")
    budget, policy = (asked[name]["spec"] for name in names)
    pods = asked["Deployment/tailseal-operator"]["spec"]["selector"]
    assert budget["selector"] == policy["podSelector"] == pods
    assert budget["maxUnavailable"] == 1, "a drain of a single replica must not hang"
    assert policy["ingress"] == [{"ports": [{"protocol": "TCP", "port": "health"}]}]


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
    assert set(_roles("--set=namespaces={identity,team-a}")) == {"identity", "team-a", chart.NAMESPACE}
    assert {"--namespace=identity", "--namespace=team-a"} <= set(
        _container("--set=namespaces={identity,team-a}")["args"]
    )


def _roles(*flags: str) -> dict[str, set[str]]:
    """The resources that the Roles of each namespace speak of."""
    found: dict[str, set[str]] = {}
    for document in chart.documents(chart.render(*flags)):
        if document["kind"] == "Role":
            resources = {name for rule in document["rules"] for name in rule["resources"]}
            found.setdefault(document["metadata"]["namespace"], set()).update(resources)
    return found


@pytest.mark.parametrize(
    ("flags", "providers"),
    [
        ((), {chart.NAMESPACE}),
        (("--set=providerNamespaces={identity}",), {"identity"}),
        (("--set=namespaces={team-a}",), {"team-a"}),
        (("--set=namespaces={team-a}", "--set=providerNamespaces={identity}"), {"identity"}),
    ],
    ids=" ".join,
)
def test_rights_on_secrets_are_given_in_provider_namespaces_only(flags: tuple[str, ...], providers: set[str]) -> None:
    roles = _roles(*flags)
    assert {namespace for namespace, resources in roles.items() if "secrets" in resources} == providers
    told = {argument.partition("=")[2] for argument in _container(*flags)["args"] if "--provider-namespace" in argument}
    assert told == providers
    rules = _objects(*flags).get("ClusterRole/tailseal-operator", {"rules": []})["rules"]
    assert {name for rule in rules for name in rule["resources"]} <= TENANTS | {"namespaces"}


@pytest.mark.parametrize(
    ("flags", "may"),
    [
        ((), True),
        (("--set=clusterWide=true",), True),
        (("--set=namespaces={team-a}",), False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_namespaces_are_watched_where_policies_may_be_in_any_and_never_more_than_that(
    flags: tuple[str, ...], *, may: bool
) -> None:
    roles = [document for name, document in _objects(*flags).items() if name.split("/")[0] in ("Role", "ClusterRole")]
    rights = [rule["verbs"] for role in roles for rule in role["rules"] if "namespaces" in rule["resources"]]
    assert rights == ([["list", "watch"]] if may else [])


def test_secrets_of_clients_elsewhere_need_their_namespace_named() -> None:
    flags = ("--set=providerNamespaces={identity}", "--set=clientNamespaces={team-a,identity}")
    assert _roles(*flags)["team-a"] == {"secrets"}
    assert "--client-namespace=team-a" in _container(*flags)["args"]


def test_in_cluster_wide_mode_the_rights_are_too_and_no_namespace_is_named() -> None:
    rules = _objects("--set=clusterWide=true")["ClusterRole/tailseal-operator"]["rules"]
    assert "secrets" in {name for rule in rules for name in rule["resources"]}
    assert not [argument for argument in _container("--set=clusterWide=true")["args"] if "namespace" in argument]


def test_where_names_are_known_the_rights_to_write_are_by_the_names_that_the_product_uses() -> None:
    flags = ("--set=providerNamespaces={identity}", "--set=names.identity.identityProviders={corp}")
    rules = _objects(*flags, "--set=names.identity.signingKeys={key}")["Role/tailseal-operator"]["rules"]
    writes = [rule for rule in rules if "create" in rule["verbs"]]
    named: dict[str, set[str]] = {}
    for rule in writes:
        for resource in rule["resources"]:
            named.setdefault(resource, set()).update(rule["resourceNames"])
    shards = {meta.shard_config_map("corp", number) for number in range(meta.SHARDS)}
    owned = {meta.issuer_secret, meta.signing_secret, meta.credentials_secret, meta.tls_secret, meta.tailnet_secret}
    nodes = {meta.tailnet_state("corp", number) for number in range(MAX_NODES)}
    assert named["secrets"] == {meta.key_secret("key"), *(name("corp") for name in owned), *nodes}
    assert named["configmaps"] == {
        *shards,
        *(name("corp") for name in (meta.policies_config_map, meta.accepted_config_map, meta.clients_config_map)),
        "corp-publish",
        meta.serve_config_map("corp"),
        meta.jwks_config_map("key"),
    }
    workloads = {meta.workload("corp", component) for component in COMPONENTS}
    for kind in ("services", "networkpolicies", "poddisruptionbudgets"):
        assert named[kind] == workloads
    numbered = {meta.ordinal("corp", number) for number in range(MAX_NODES)}
    assert named["deployments"] == named["serviceaccounts"] == workloads | numbered
    assert named["roles"] == named["rolebindings"] == numbered
    claims = (meta.state_claim, meta.tailnet_state)
    assert named["persistentvolumeclaims"] == {name("corp", number) for name in claims for number in range(MAX_NODES)}


def test_a_namespace_belongs_to_one_installation() -> None:
    one, other = (
        {
            document["metadata"]["name"]
            for document in yaml.safe_load_all(
                chart.helm("template", release, str(chart.CHART), "--set=providerNamespaces={identity}")
            )
            if document and document["kind"] == "RoleBinding" and document["metadata"]["namespace"] == "identity"
        }
        for release in ("one", "two")
    )
    assert one == other == {"tailseal-operator"}


def test_without_fast_propagation_there_is_no_right_to_touch_pods_and_none_to_fence() -> None:
    objects = _objects("--set=propagation.fast=false")
    rules = objects["Role/tailseal-operator"]["rules"]
    (pods,) = [rule for rule in rules if "pods" in rule["resources"]]
    assert pods["verbs"] == ["get", "list", "watch"]
    assert "ValidatingAdmissionPolicy/tailseal-operator-pods" not in objects
    assert "ValidatingAdmissionPolicy/tailseal-operator-deployments" in objects


def test_the_fences_can_be_left_out_where_cluster_wide_policies_may_not_be_installed() -> None:
    objects = _objects("--set=fence.pods=false,fence.deployments=false,fence.objects=false")
    assert not [name for name in objects if name.startswith("ValidatingAdmission")]


def test_no_right_is_a_wildcard_and_none_grants_more_than_the_operator_has() -> None:
    for document in _objects().values():
        for rule in document.get("rules", []):
            assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
            assert not {"bind", "escalate", "impersonate"} & set(rule["verbs"])
            if "rbac.authorization.k8s.io" in rule["apiGroups"]:
                assert document["kind"] == "Role"
                assert rule["resources"] == ["roles", "rolebindings"]
