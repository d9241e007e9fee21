"""The rendered chart on the real API server: accepted whole, and its rights suffice for the operator, and no more."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tailseal.reconcile import fences
from tailseal_dev import chart, process
from tailseal_dev.controlplane import ControlPlane, ControlPlaneError
from tailseal_dev.localnode.start import running
from tailseal_dev.ports import free_ports

pytestmark = [pytest.mark.cluster, pytest.mark.helm, pytest.mark.usefixtures("helm")]

Kubectl = Callable[..., str]
ACCOUNT = f"system:serviceaccount:{chart.NAMESPACE}:tailseal-operator"
PROVIDERS = "chart-providers"
"""Where the names of providers and keys were said at install."""
OPEN = "chart-open"
"""Where they were not."""
CLIENTS = "chart-clients"
"""Where applications have Secrets, among tenants."""
FLAGS = (
    f"--set=providerNamespaces={{{PROVIDERS},{OPEN}}}",
    f"--set=clientNamespaces={{{CLIENTS}}}",
    f"--set=names.{PROVIDERS}.identityProviders={{corp}},names.{PROVIDERS}.signingKeys={{corp}}",
)
IMAGE = "tailseal:0.1.0"
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
    rendered = chart.render(*FLAGS)
    kubectl = control_plane.kubectl
    for namespace in (chart.NAMESPACE, PROVIDERS, OPEN, CLIENTS):
        kubectl("create", "namespace", namespace)
    applied = kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=rendered)
    yield applied
    left = chart.render("--set=crds.enabled=false", *FLAGS)
    kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=left)
    kubectl("delete", "namespace", chart.NAMESPACE, PROVIDERS, OPEN, CLIENTS, "--wait=false")


@pytest.fixture
def operator(installed: str, control_plane: ControlPlane, tmp_path: Path) -> Iterator[Path]:
    """The operator under the chart's ServiceAccount; pods run on a local node. The file is the operator's log."""
    token = control_plane.kubectl("create", "token", "tailseal-operator", f"--namespace={chart.NAMESPACE}").strip()
    config = control_plane.kubeconfig_with_token("chart-operator", token)
    (health,) = free_ports(1)
    log = tmp_path / "operator.log"
    arguments = ["operator", f"--kubeconfig={config}", f"--health=127.0.0.1:{health}", "--leader-elect"]
    arguments += [f"--lease-namespace={chart.NAMESPACE}", f"--worker-image={IMAGE}"]
    arguments += [f"--provider-namespace={namespace}" for namespace in (PROVIDERS, OPEN)]
    arguments += [f"--client-namespace={CLIENTS}"]
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
    kubectl("create", "namespace", chart.PROVIDERS, check=False)  # a dry run creates none for what is in it
    answer = kubectl(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server"), "-k", str(chart.ROOT / "deploy")
    )
    assert "deployment.apps/tailseal-operator serverside-applied (server dry run)" in answer


@pytest.mark.parametrize(
    ("verb", "resource", "group", "allowed"),
    [
        ("create", "trustpolicies", "edit", True),
        ("create", "oauthclients", "edit", True),
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
        if event["user"]["username"] == ACCOUNT
        and event["responseStatus"].get("code") == 403
        and "dryRun" not in event["requestURI"]  # the operator asks whether the fences stand
    ]
    assert refused == []
    assert "Forbidden" not in operator.read_text()


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
        wait = ("wait", "oauthclient/grafana", "--timeout=60s")
        kubectl(*wait, "--for=condition=Programmed", f"--namespace={CLIENTS}")
        data = kubectl("get", *name, "-o=jsonpath={.data}")
        assert len(json.loads(data)) == 9
        kubectl("patch", *name, "--type=merge", '--patch={"data":{"issuer":"eA==","more":"eA=="}}')
        _eventually(lambda: kubectl("get", *name, "-o=jsonpath={.data}") == data)
        first = kubectl("get", *name, key)
        time.sleep(1)  # the request must be younger than the secret, and says whole seconds
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        kubectl("annotate", "oauthclient/grafana", f"--namespace={CLIENTS}", f"tailseal.dev/rotate={stamp}")
        _eventually(lambda: kubectl("get", *name, key) != first, within=60)
        ready = kubectl("get", "oauthclient/grafana", f"--namespace={CLIENTS}", "--no-headers").split()
        assert ready[1:3] == ["False", "oauthclient.chart-clients.grafana"]
        kubectl(*wait, "--for=jsonpath={.status.conditions[?(@.type=='Programmed')].reason}=Forbidden", "-n=default")
        kubectl("delete", "oauthclient/grafana", f"--namespace={CLIENTS}")
        clients = ("get", "configmap/corp-clients", f"--namespace={PROVIDERS}", "--ignore-not-found", "-o=name")
        _eventually(lambda: not kubectl(*clients))
    except ControlPlaneError as error:
        pytest.fail(f"{error}\n{process.tail(operator, 40)}")
    finally:
        kubectl("delete", "oauthclient/grafana", "--namespace=default")
        kubectl("delete", "--ignore-not-found", "-f", "-", stdin=OBJECTS)


RIGHTS = [
    # in a provider namespace whose names are known
    (PROVIDERS, "list secrets", True),
    (PROVIDERS, "patch secrets/corp-signing", True),
    (PROVIDERS, "create secrets/corp-signingkey", True),
    (PROVIDERS, "patch configmaps/corp-policies-63", True),
    (PROVIDERS, "patch deployments.apps/corp-sts", True),
    (PROVIDERS, "patch secrets/other", False),
    (PROVIDERS, "create secrets", False),
    (PROVIDERS, "delete configmaps/kube-root-ca.crt", False),
    (PROVIDERS, "patch configmaps/corp-policies-64", False),
    (PROVIDERS, "patch deployments.apps/other", False),
    (PROVIDERS, "create serviceaccounts/other", False),
    # in one where they are not
    (OPEN, "patch secrets/anything", True),
    (OPEN, "create secrets", True),
    # in either
    (OPEN, "patch pods", True),
    (OPEN, "create pods", False),
    (OPEN, "create pods/exec", False),
    (OPEN, "get pods/log", False),
    (OPEN, "create pods/eviction", False),
    (OPEN, "get pods/proxy", False),
    (OPEN, "update secrets", False),
    (OPEN, "deletecollection secrets", False),
    (OPEN, "deletecollection pods", False),
    (OPEN, "create serviceaccounts/token", False),
    (OPEN, "create roles.rbac.authorization.k8s.io", False),
    (OPEN, "create rolebindings.rbac.authorization.k8s.io", False),
    (OPEN, "get rolebindings.rbac.authorization.k8s.io/tailseal-operator", True),
    (OPEN, "get rolebindings.rbac.authorization.k8s.io/other", False),
    ("default", "get rolebindings.rbac.authorization.k8s.io/tailseal-operator", False),
    (OPEN, "patch identityproviders.tailseal.dev", False),
    (OPEN, "patch signingkeys.tailseal.dev", False),
    (OPEN, "patch identityproviders.tailseal.dev/status", True),
    (OPEN, "create persistentvolumeclaims", False),
    (OPEN, "get leases.coordination.k8s.io", False),
    # where applications have Secrets
    (CLIENTS, "list secrets", True),
    (CLIENTS, "create secrets", True),
    (CLIENTS, "list configmaps", False),
    (CLIENTS, "patch pods", False),
    (CLIENTS, "patch identityproviders.tailseal.dev/status", False),
    # where tenants are
    ("default", "patch oauthclients.tailseal.dev/status", True),
    ("default", "list oauthclients.tailseal.dev", True),
    ("default", "patch oauthclients.tailseal.dev", False),
    ("default", "list trustpolicies.tailseal.dev", True),
    ("default", "patch trustpolicies.tailseal.dev/status", True),
    ("default", "patch trustpolicies.tailseal.dev", False),
    ("default", "get secrets", False),
    ("default", "list configmaps", False),
    ("default", "list pods", False),
    ("default", "patch pods", False),
    ("default", "patch deployments.apps", False),
    ("default", "list identityproviders.tailseal.dev", False),
    # where the operator itself is
    (chart.NAMESPACE, "patch leases.coordination.k8s.io/tailseal-operator", True),
    (chart.NAMESPACE, "patch leases.coordination.k8s.io/other", False),
    (chart.NAMESPACE, "get secrets", False),
    (chart.NAMESPACE, "patch deployments.apps", False),
    # of the cluster
    ("", "list nodes", False),
    ("", "list namespaces", True),
    ("", "watch namespaces", True),
    ("", "get namespaces", False),
    ("", "patch namespaces", False),
    ("", "list secrets", False),
    ("", "impersonate users", False),
    ("", "get customresourcedefinitions.apiextensions.k8s.io", False),
    ("", "patch validatingadmissionpolicies.admissionregistration.k8s.io", False),
]


@pytest.mark.parametrize(("namespace", "asked", "allowed"), RIGHTS, ids=[f"{row[0]} {row[1]}" for row in RIGHTS])
def test_the_operator_may_do_what_it_needs_and_nothing_else(
    installed: str, kubectl: Kubectl, namespace: str, asked: str, *, allowed: bool
) -> None:
    where = f"--namespace={namespace}" if namespace else "--all-namespaces"
    verb, _, what = asked.partition(" ")
    subresource = ()
    if what.endswith(("/status", "/exec", "/log", "/eviction", "/proxy", "/token")):
        what, _, name = what.rpartition("/")
        subresource = (f"--subresource={name}",)
    question = ("auth", "can-i", verb, what, where, *subresource, f"--as={ACCOUNT}")
    answer = kubectl(*question, f"--as-group=system:serviceaccounts:{chart.NAMESPACE}", check=False)
    assert answer.split()[-1:] == (["yes"] if allowed else ["no"])


def test_a_secret_of_another_name_cannot_be_created_even_by_apply(installed: str, kubectl: Kubectl) -> None:
    def apply(name: str) -> str:
        labels = "{app.kubernetes.io/managed-by: tailseal, tailseal.dev/identity-provider: corp}"
        manifest = f"{{apiVersion: v1, kind: Secret, metadata: {{name: {name}, labels: {labels}}}}}"
        flags = ("apply", "--server-side", "--dry-run=server", "-f", "-", f"--namespace={PROVIDERS}", f"--as={ACCOUNT}")
        try:
            return kubectl(*flags, stdin=manifest)
        except ControlPlaneError as error:
            return str(error)

    assert "serverside-applied" in apply("corp-signing")
    assert 'cannot patch resource "secrets"' in apply("corp-other")


@pytest.fixture(scope="module")
def pods(installed: str, kubectl: Kubectl) -> Iterator[str]:
    """A pod of ours and a foreign one; RBAC allows the operator everything there, so that only the fence refuses."""
    namespace = "chart-fence"
    kubectl("create", "namespace", namespace)
    _eventually(lambda: "default" in kubectl("get", "serviceaccounts", f"--namespace={namespace}"))
    kubectl("apply", "-f", "-", f"--namespace={namespace}", stdin=PODS)
    account = f"--serviceaccount={chart.NAMESPACE}:tailseal-operator"
    kubectl("create", "rolebinding", "all", "--clusterrole=cluster-admin", account, f"--namespace={namespace}")
    probe = ("probe=1", "--dry-run=server")  # what was written once would be no change any more
    _eventually(lambda: "may change no annotation" in _try(kubectl, namespace, "annotate", "pod/ours", *probe))
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


OURS = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: given-away, labels: {app.kubernetes.io/managed-by: tailseal}}
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
    for resource in ("pods/ours", "deployments/given-away", "configmaps/given-away"):
        asked = ("patch", resource, "--type=merge", f"--patch={json.dumps(fences.PROBE)}", "--dry-run=server")
        _eventually(lambda asked=asked: "ValidatingAdmissionPolicy" in _try(kubectl, pods, *asked))  # type: ignore[misc]
        assert "patched" in kubectl(*asked, f"--namespace={pods}"), "it is the fence that refuses"


WORKLOAD = f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: corp-sts
  labels: {{app.kubernetes.io/managed-by: tailseal, tailseal.dev/identity-provider: corp}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: sts}}}}
  template:
    metadata: {{labels: {{app: sts}}}}
    spec:
      serviceAccountName: corp-sts
      automountServiceAccountToken: false
      containers: [{{name: sts, image: {IMAGE}}}]
      volumes:
      - name: signing
        projected: {{sources: [{{secret: {{name: corp-signing, optional: true}}}}]}}
"""


def _apply(kubectl: Kubectl, namespace: str, *replacement: str) -> str:
    """What kubectl says when the operator's account applies the Deployment, changed as told, in a dry run."""
    flags = ("--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", f"--namespace={namespace}")
    manifest = WORKLOAD.replace(*replacement) if replacement else WORKLOAD
    assert not replacement or manifest != WORKLOAD
    try:
        return kubectl("apply", *flags, f"--as={ACCOUNT}", stdin=manifest)
    except ControlPlaneError as error:
        return str(error)


DEPLOYMENT_ATTACKS = [
    ("image: tailseal:0.1.0", "image: evil", "may run no image but tailseal:0.1.0"),
    ("serviceAccountName: corp-sts", "serviceAccountName: default", "only under the ServiceAccount of the same name"),
    ("automountServiceAccountToken: false", "automountServiceAccountToken: true", "nor a token for the API server"),
    ("automountServiceAccountToken: false", "hostPID: true", "neither the host's namespaces"),
    (
        "name: sts, image: tailseal:0.1.0",
        "name: sts, image: tailseal:0.1.0, securityContext: {allowPrivilegeEscalation: true}",
        "privileged or can become so",
    ),
    (
        "name: sts, image: tailseal:0.1.0",
        "name: sts, image: tailseal:0.1.0, securityContext: {capabilities: {add: [SYS_ADMIN]}}",
        "privileged or can become so",
    ),
    ("containers: [", "initContainers: [{name: i, image: evil}]\n      containers: [", "may run no image but"),
    (
        "projected: {sources: [{secret: {name: corp-signing, optional: true}}]}",
        "hostPath: {path: /}",
        "may mount nothing",
    ),
    (
        "[{secret: {name: corp-signing, optional: true}}]",
        "[{serviceAccountToken: {path: token}}]",
        "may mount nothing but Secrets, ConfigMaps and empty folders",
    ),
    ("app.kubernetes.io/managed-by: tailseal, ", "", "may write no Deployments but its workers'"),
]


@pytest.mark.parametrize(("found", "put", "said"), DEPLOYMENT_ATTACKS, ids=[put for _, put, _ in DEPLOYMENT_ATTACKS])
def test_the_fence_refuses_the_operator_any_other_deployment(
    pods: str, kubectl: Kubectl, found: str, put: str, said: str
) -> None:
    _eventually(lambda: said in _apply(kubectl, pods, found, put))
    assert "serverside-applied" in _apply(kubectl, pods)


def test_the_fence_lets_the_operator_repair_what_somebody_else_spoiled(pods: str, kubectl: Kubectl) -> None:
    spoiled = WORKLOAD.replace("containers: [", "containers: [{name: spy, image: spy}, ").replace("0.1.0", "old")
    kubectl("apply", "--server-side", "-f", "-", f"--namespace={pods}", stdin=spoiled)
    try:
        half_way = '{"spec":{"template":{"spec":{"containers":[{"name":"sts","image":"tailseal:old"}]}}}}'
        merge = ("patch", "deployment/corp-sts", "--type=merge", f"--patch={half_way}")
        assert "patched" in _try(kubectl, pods, *merge)
        assert "serverside-applied" in _apply(kubectl, pods)
        foreign = '{"spec":{"template":{"spec":{"containers":[{"name":"sts","image":"another"}]}}}}'
        assert "may run no image but" in _try(kubectl, pods, *merge[:3], f"--patch={foreign}")
    finally:
        kubectl("delete", "deployment/corp-sts", f"--namespace={pods}")


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
    _eventually(lambda: said in _try(kubectl, CLIENTS, "create", "--dry-run=server", "-f", "-", stdin=manifest))


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
    _eventually(lambda: said in _try(kubectl, OPEN, "create", "--dry-run=server", "-f", "-", stdin=manifest))


@pytest.mark.parametrize(("arguments", "said"), OBJECT_ATTACKS, ids=[" ".join(row[0]) for row in OBJECT_ATTACKS])
def test_the_fence_refuses_the_operator_objects_of_others(
    pods: str, kubectl: Kubectl, arguments: tuple[str, ...], said: str
) -> None:
    dry_run = () if "token" in arguments else ("--dry-run=server",)
    _eventually(lambda: said in _try(kubectl, pods, *arguments, *dry_run))


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
    answer = _try(
        kubectl, pods, "label", "configmap/owned", "app.kubernetes.io/managed-by=tailseal", "--dry-run=server"
    )
    assert "labeled" in answer


def _try(kubectl: Kubectl, namespace: str, *arguments: str, stdin: str = "") -> str:
    """What kubectl says to the operator's account, refusal or not."""
    try:
        return kubectl(*arguments, f"--namespace={namespace}", f"--as={ACCOUNT}", stdin=stdin)
    except ControlPlaneError as error:
        return str(error)


def _eventually(condition: Callable[[], bool], within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.1)
