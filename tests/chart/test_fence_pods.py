"""The fence around pods, attacked with every verb and subresource: RBAC allows the operator's account all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from chart.installed import Kubectl, attempt, fenced

pytestmark = [pytest.mark.cluster, pytest.mark.helm, pytest.mark.usefixtures("helm")]

DIGEST = f"sha256:{'0' * 64}"
PODS = "".join(
    f"""\
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {labels}}}
spec:
  nodeSelector: {{no: node}}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 5
  containers: [{{name: c, image: none, resources: {{requests: {{cpu: 10m}}}}}}]
"""
    for name, labels in (("ours", "{app.kubernetes.io/managed-by: tailseal}"), ("foreign", "{}"))
)
APPLIED = f"""\
apiVersion: v1
kind: Pod
metadata: {{name: NAME, annotations: {{tailseal.dev/bundle: "{DIGEST}"}}}}
"""
ONLY, THEIRS = "may only annotate and delete pods", "may touch no pods but its workers"
SPEC, OWNED = "may not change a pod's spec", "may not change a pod's labels, owners or finalizers"


@pytest.fixture(scope="module")
def pods(installed: str, kubectl: Kubectl) -> Iterator[str]:
    """Where a pod of ours and a foreign one are."""
    with fenced(kubectl, "chart-fence-pods", PODS) as namespace:
        yield namespace


def _metadata(**fields: object) -> dict[str, object]:
    return {"metadata": fields}


_TOLERATED = [
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for key in ("not-ready", "unreachable")
]
"""What the API server gives every pod, and lets nobody take away."""

_OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"}

PATCHES = [
    ("an owner", "", _metadata(ownerReferences=[_OWNER]), OWNED),
    ("a finalizer", "", _metadata(finalizers=["tailseal.dev/hold"]), OWNED),
    ("a deadline", "", {"spec": {"activeDeadlineSeconds": 1}}, SPEC),
    ("a toleration", "", {"spec": {"tolerations": [*_TOLERATED, {"operator": "Exists"}]}}, SPEC),
    ("an annotation", "", _metadata(annotations={"more": "x"}), "may change no annotation but tailseal.dev/bundle"),
    (
        "a debugger",
        "ephemeralcontainers",
        {"spec": {"ephemeralContainers": [{"name": "spy", "image": "spy"}]}},
        ONLY,
    ),
    (
        "a size",
        "resize",
        {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "20m"}}}]}},
        ONLY,
    ),
    ("a status", "status", {"status": {"phase": "Succeeded"}}, ONLY),
]


@pytest.mark.parametrize(
    ("subresource", "patch", "said"), [row[1:] for row in PATCHES], ids=[row[0] for row in PATCHES]
)
def test_the_operator_may_give_its_own_pod_nothing_but_the_stamp(
    pods: str, kubectl: Kubectl, subresource: str, patch: dict[str, object], said: str
) -> None:
    asked = ["patch", "pod/ours", "--type=strategic", f"--patch={json.dumps(patch)}", "--dry-run=server"]
    asked += [f"--subresource={subresource}"] if subresource else []
    refused = attempt(kubectl, pods, *asked)
    assert "ValidatingAdmissionPolicy" in refused
    assert said in refused
    assert "patched" in kubectl(*asked, f"--namespace={pods}"), "it is the fence that refuses"


CALLS = [
    ("eviction", {"apiVersion": "policy/v1", "kind": "Eviction"}),
    ("binding", {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "local"}}),
]


@pytest.mark.parametrize(("subresource", "body"), CALLS, ids=[name for name, _ in CALLS])
def test_the_operator_may_neither_evict_nor_place_its_own_pod(
    pods: str, kubectl: Kubectl, subresource: str, body: dict[str, object]
) -> None:
    content = json.dumps(body | _metadata(name="ours", namespace=pods))
    path = f"/api/v1/namespaces/{pods}/pods/ours/{subresource}"
    assert ONLY in attempt(kubectl, pods, "create", f"--raw={path}", "-f", "-", stdin=content)


@pytest.mark.parametrize("how", ["exec?command=id&stdout=true", "attach?stdout=true", "portforward?ports=1", "proxy/"])
@pytest.mark.parametrize("verb", ["get", "create"])
def test_the_operator_may_not_get_into_its_own_pod(pods: str, kubectl: Kubectl, how: str, verb: str) -> None:
    body = {"get": (), "create": ("-f", "-")}[verb]
    asked = f"--raw=/api/v1/namespaces/{pods}/pods/ours/{how}"
    assert ONLY in attempt(kubectl, pods, verb, asked, *body, stdin="{}")


def test_the_stamp_may_be_put_on_by_server_side_apply_and_nothing_else_by_it(pods: str, kubectl: Kubectl) -> None:
    def applied(name: str, annotations: str = "annotations: {") -> str:
        flags = ("--server-side", "--field-manager=tailseal", "--dry-run=server", "-f", "-")
        manifest = APPLIED.replace("NAME", name).replace("annotations: {", annotations)
        return attempt(kubectl, pods, "apply", *flags, stdin=manifest)

    assert "serverside-applied" in applied("ours")
    assert "may change no annotation but" in applied("ours", "annotations: {more: x, ")
    assert OWNED in applied("ours", "finalizers: [tailseal.dev/hold], annotations: {")
    assert THEIRS in applied("foreign")


def test_a_foreign_pod_cannot_be_made_one_of_ours(pods: str, kubectl: Kubectl) -> None:
    label = ("label", "pod/foreign", "app.kubernetes.io/managed-by=tailseal", "--dry-run=server")
    assert THEIRS in attempt(kubectl, pods, *label)
    whole = PODS.partition("---")[2].partition("---")[0].replace("name: ours", "name: new")
    assert ONLY in attempt(kubectl, pods, "apply", "--server-side", "--dry-run=server", "-f", "-", stdin=whole)
