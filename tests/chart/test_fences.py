"""The ValidatingAdmissionPolicies of the chart, attacked: the operator's account does what it is for, no more."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from chart.installed import (
    CLIENTS,
    OBJECTS,
    OPEN,
    PROVIDERS,
    STAMP,
    Kubectl,
    applied,
    attempt,
    eventually,
    fenced,
)
from tailseal.reconcile.identityprovider import fences

pytestmark = [pytest.mark.cluster, pytest.mark.helm, pytest.mark.usefixtures("helm")]

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
def pods(installed: str, kubectl: Kubectl) -> Iterator[str]:
    """Where a pod of ours and a foreign one are."""
    with fenced(kubectl, "chart-fence", PODS) as namespace:
        yield namespace


def test_the_fence_lets_the_operator_stamp_and_delete_its_own_pods(pods: str, kubectl: Kubectl) -> None:
    assert "annotated" in attempt(kubectl, pods, "annotate", "pod/ours", STAMP)
    assert "annotated" in attempt(kubectl, pods, "annotate", "pod/ours", "tailseal.dev/bundle-")
    assert "deleted" in attempt(kubectl, pods, "delete", "pod/ours")
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
    assert said in attempt(kubectl, pods, *arguments)


OURS = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: given-away, labels: {app.kubernetes.io/managed-by: tailseal}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: given-away, labels: {app.kubernetes.io/managed-by: tailseal}}
rules: []
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: given-away, labels: {app.kubernetes.io/managed-by: tailseal, tailseal.dev/identity-provider: corp}}
spec:
  replicas: 0
  selector: {matchLabels: {app: x}}
  template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c, image: none}]}}
"""


def test_what_the_operator_asks_to_know_of_a_fence_is_what_the_fence_refuses(pods: str, kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", f"--namespace={pods}", stdin=OURS)
    of_ours = ("pods/ours", "deployments/given-away", "configmaps/given-away", "roles/given-away")
    assert {resource.partition("/")[0] for resource in of_ours} == {kind.plural for kind in fences.FENCED}
    for resource in of_ours:
        asked = ("patch", resource, "--type=merge", f"--patch={json.dumps(fences.PROBE)}", "--dry-run=server")
        eventually(lambda asked=asked: "ValidatingAdmissionPolicy" in attempt(kubectl, pods, *asked))  # type: ignore[misc]
        assert "patched" in kubectl(*asked, f"--namespace={pods}"), "it is the fence that refuses"


OBJECT_ATTACKS = [
    (("create", "configmap", "mine", "--from-literal=a=b"), "may write only what it marks as its own"),
    (("annotate", "configmap/kube-root-ca.crt", "a=b"), "may write only what it marks as its own"),
    (("label", "configmap/kube-root-ca.crt", "app.kubernetes.io/managed-by=tailseal"), "touch nothing that is not its"),
    (("delete", "serviceaccount/default"), "may touch nothing that is not its own"),
    (("create", "token", "default"), "no business with subresources"),
]

SECRET = """\
apiVersion: v1
kind: Secret
metadata:
  name: app
  labels: {{app.kubernetes.io/managed-by: tailseal, {label}: app}}
  {owners}
data: {{{key}: eA==}}
"""
_OWNER = (
    "ownerReferences: [{apiVersion: tailseal.dev/v1alpha1, kind: OAuthClient, name: app, uid: u, controller: true}]"
)
_MINE = "tailseal.dev/oauth-client"
_TOKEN_OF = "annotations: {kubernetes.io/service-account.name: default}"


@pytest.mark.parametrize(
    ("label", "owners", "key", "said"),
    [
        (_MINE, _OWNER, "client_secret", "created"),
        (_MINE, "", "client_secret", "may keep only an OAuthClient's id, secret and endpoints"),
        (_MINE, _OWNER, "tls.key", "may keep only an OAuthClient's id, secret and endpoints"),
        ("other", _OWNER, "client_secret", "may keep Secrets of providers, signing keys and clients only"),
        ("tailseal.dev/signing-key", "", "private.pem", "may keep Secrets of providers, signing keys and clients only"),
    ],
)
def test_beside_applications_the_operator_may_keep_what_they_log_in_with_and_nothing_else(
    pods: str, kubectl: Kubectl, label: str, owners: str, key: str, said: str
) -> None:
    manifest = SECRET.format(label=label, owners=owners, key=key)
    eventually(lambda: said in attempt(kubectl, CLIENTS, "create", "--dry-run=server", "-f", "-", stdin=manifest))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("Opaque", "created"),
        ("kubernetes.io/service-account-token", "may keep no Secrets that mean something to Kubernetes"),
    ],
)
def test_the_operator_gets_no_token_of_another_account_through_a_secret(
    installed: str, kubectl: Kubectl, kind: str, said: str
) -> None:
    manifest = SECRET.format(label="tailseal.dev/signing-key", owners=_TOKEN_OF, key="a") + f"type: {kind}\n"
    eventually(lambda: said in attempt(kubectl, OPEN, "create", "--dry-run=server", "-f", "-", stdin=manifest))


@pytest.mark.parametrize(("arguments", "said"), OBJECT_ATTACKS, ids=[" ".join(row[0]) for row in OBJECT_ATTACKS])
def test_the_fence_refuses_the_operator_objects_of_others(
    pods: str, kubectl: Kubectl, arguments: tuple[str, ...], said: str
) -> None:
    dry_run = () if "token" in arguments else ("--dry-run=server",)
    eventually(lambda: said in attempt(kubectl, pods, *arguments, *dry_run))


SERVICE = "kind: Service\nspec: {ports: [{port: 53}]}\n"
CLAIM = "kind: PersistentVolumeClaim\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n"
OUTSIDE, ANOTHER_S = "no Services but those of the type ClusterIP", "may claim no volume in particular"


@pytest.mark.parametrize(
    ("manifest", "put", "said"),
    [
        (SERVICE, "", "created"),
        (SERVICE, "clusterIP: None", "created"),
        (SERVICE, "type: LoadBalancer", OUTSIDE),
        (SERVICE, "type: NodePort", OUTSIDE),
        (SERVICE, "type: ExternalName, externalName: kubernetes.default.svc", OUTSIDE),
        (SERVICE, "externalIPs: [192.0.2.1]", OUTSIDE),
        (CLAIM, "", "created"),
        (CLAIM, "volumeName: others", ANOTHER_S),
        (CLAIM, "dataSource: {kind: PersistentVolumeClaim, name: others}", ANOTHER_S),
    ],
)
def test_the_operator_takes_neither_addresses_nor_disks_of_others(
    pods: str, kubectl: Kubectl, manifest: str, put: str, said: str
) -> None:
    labels = "metadata: {name: x, labels: {app.kubernetes.io/managed-by: tailseal}}"
    whole = f"apiVersion: v1\n{labels}\n" + manifest.replace("spec: {", f"spec: {{{put}, " if put else "spec: {")
    eventually(lambda: said in attempt(kubectl, pods, "create", "--dry-run=server", "-f", "-", stdin=whole))


def test_the_fence_lets_the_operator_repair_a_service_that_somebody_gave_an_address(
    pods: str, kubectl: Kubectl
) -> None:
    labels = "metadata: {name: given, labels: {app.kubernetes.io/managed-by: tailseal}}"
    ours = f"apiVersion: v1\n{labels}\n{SERVICE}"
    given = ours.replace("spec: {", "spec: {externalIPs: [192.0.2.1], ")
    kubectl("apply", "--server-side", "-f", "-", f"--namespace={pods}", stdin=given)
    assert "serverside-applied" in applied(kubectl, pods, ours.replace("53", "54"))
    patch = ("patch", "service/given", "--type=merge", "--dry-run=server", "--patch")
    assert "patched" in attempt(kubectl, pods, *patch, '{"spec":{"externalIPs":null}}')
    exposed = '{"spec":{"type":"LoadBalancer"}}'
    kubectl("patch", "service/given", f"--namespace={pods}", "--type=merge", "--patch", exposed)
    assert OUTSIDE in attempt(kubectl, pods, *patch, '{"spec":{"externalIPs":null}}')
    assert "patched" in attempt(kubectl, pods, *patch, '{"spec":{"type":"ClusterIP","externalIPs":null}}')
    assert OUTSIDE in attempt(kubectl, pods, *patch, '{"spec":{"externalIPs":["192.0.2.2"]}}')


RIGHT = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: corp-idp-0, labels: {app.kubernetes.io/managed-by: tailseal}}
rules:
- {apiGroups: [""], resources: [secrets], resourceNames: [corp-idp-0-tailnet], verbs: [get, update, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: corp-idp-0, labels: {app.kubernetes.io/managed-by: tailseal}}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: corp-idp-0}
subjects: [{kind: ServiceAccount, name: corp-idp-0, namespace: NAMESPACE}]
"""


@pytest.mark.parametrize(
    ("found", "put", "said"),
    [
        ("[corp-idp-0-tailnet]", "[corp-signing]", "no right but a node's to its own Secret"),
        (", resourceNames: [corp-idp-0-tailnet]", "", "no right but a node's to its own Secret"),
        ("get, update, patch", "get, delete", "no right but a node's to its own Secret"),
        ("resources: [secrets]", "resources: [configmaps]", "no right but a node's to its own Secret"),
        ("metadata: {name: corp-idp-0,", "metadata: {name: corp-idp,", "no right but a node's to its own Secret"),
        ("ServiceAccount, name: corp-idp-0", "ServiceAccount, name: default", "to the account of that node only"),
        ("namespace: NAMESPACE", "namespace: default", "to the account of that node only"),
        ("kind: Role, name: corp-idp-0", "kind: ClusterRole, name: admin", "to the account of that node only"),
    ],
)
def test_the_operator_gives_a_node_the_right_to_its_own_secret_and_nobody_any_other(
    pods: str, kubectl: Kubectl, found: str, put: str, said: str
) -> None:
    def answer(manifest: str) -> str:
        return applied(kubectl, pods, manifest.replace("NAMESPACE", pods))

    assert answer(RIGHT).count("serverside-applied") == 2
    assert found in RIGHT
    eventually(lambda: said in answer(RIGHT.replace(found, put, 1)))


def test_rights_grant_no_more_than_the_operator_has(installed: str, kubectl: Kubectl) -> None:
    """Kubernetes itself sees to that, also where the fence is off."""

    def answer(namespace: str, manifest: str) -> str:
        return applied(kubectl, namespace, manifest.replace("NAMESPACE", namespace))

    role = RIGHT.partition("---")[0]
    assert "serverside-applied" in answer(OPEN, role)
    assert "serverside-applied" in answer(PROVIDERS, role)
    assert "attempting to grant RBAC permissions" in answer(OPEN, role.replace("get, update, patch", "escalate"))
    stolen = role.replace("[corp-idp-0-tailnet]", "[corp-signing]")
    assert "attempting to grant RBAC permissions" in answer(PROVIDERS, stolen)


def test_the_fence_lets_the_operator_repair_a_label_that_somebody_took_off(pods: str, kubectl: Kubectl) -> None:
    owner = OBJECTS.split("---")[1].replace(PROVIDERS, pods)
    kubectl("apply", "-f", "-", stdin=owner)
    uid = kubectl("get", "identityprovider/corp", f"--namespace={pods}", "--output=jsonpath={.metadata.uid}")
    manifest = f"""\
apiVersion: v1
kind: ConfigMap
metadata:
  name: owned
  ownerReferences:
  - {{apiVersion: tailseal.dev/v1alpha1, kind: IdentityProvider, name: corp, uid: "{uid}", controller: true}}
"""
    kubectl("apply", "--server-side", "-f", "-", f"--namespace={pods}", stdin=manifest)
    answer = attempt(
        kubectl, pods, "label", "configmap/owned", "app.kubernetes.io/managed-by=tailseal", "--dry-run=server"
    )
    assert "labeled" in answer
