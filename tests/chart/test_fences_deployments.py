"""The fence around Deployments, attacked: the workers' image under the workers' accounts, no way out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import pytest
import yaml

from chart.installed import IMAGE, OBJECTS, PROVIDERS, Kubectl, applied, attempt, eventually, fenced
from tailseal.domain.render import lending
from tailseal.domain.render.common import Provider
from tailseal.domain.render.deployment import Own, Workload, deployment
from tailseal.domain.render.sidecar import Sidecar
from tailseal_dev import chart

pytestmark = [pytest.mark.cluster, pytest.mark.helm, pytest.mark.usefixtures("helm")]

POD = """\
apiVersion: v1
kind: Pod
metadata: {name: ours, labels: {app.kubernetes.io/managed-by: tailseal}}
spec: {nodeSelector: {no: node}, automountServiceAccountToken: false, containers: [{name: c, image: none}]}
"""


@pytest.fixture(scope="module")
def pods(installed: str, kubectl: Kubectl) -> Iterator[str]:
    """Where the operator's account may do everything but for the fences."""
    with fenced(kubectl, "chart-fence-deployments", POD) as namespace:
        yield namespace


_NOT_MORE = "securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}"
_WORKER = f"{{name: sts, image: {IMAGE}, args: [sts], {_NOT_MORE}}}"
_LABELS = "app.kubernetes.io/managed-by: tailseal, tailseal.dev/identity-provider: corp"
_PODS = f"labels: {{{_LABELS}, app.kubernetes.io/component: sts}}"
WORKLOAD = f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: corp-sts
  labels: {{{_LABELS}}}
spec:
  replicas: 0
  selector: {{matchLabels: {{tailseal.dev/identity-provider: corp}}}}
  template:
    metadata: {{{_PODS}}}
    spec:
      serviceAccountName: corp-sts
      automountServiceAccountToken: false
      securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
      containers: [{_WORKER}]
      volumes:
      - name: signing
        projected: {{sources: [{{secret: {{name: corp-signing, optional: true}}}}]}}
"""


def _apply(kubectl: Kubectl, namespace: str, *replacement: str) -> str:
    """What kubectl says when the operator's account applies the Deployment, changed as told, in a dry run."""
    manifest = WORKLOAD.replace(*replacement) if replacement else WORKLOAD
    assert not replacement or manifest != WORKLOAD
    return applied(kubectl, namespace, manifest)


_SEEN = "volumeMounts: [{name: tailscale-token, mountPath: /run/t}]"
_OWN = "      volumes:\n      - {name: tailscale-token, projected: {sources: [{serviceAccountToken: {path: token}}]}}"

_FAR = "{port: 80, host: 192.0.2.1}"
AS_ROOT, ELSEWHERE = "may run nothing as root", "no port of the host, nor let the kubelet ask another address"
UNCONFINED = "no AppArmor profile but the runtime's, and no /proc, SELinux, Windows or kernel settings"

DEPLOYMENT_ATTACKS = [
    ("image: tailseal:0.1.0", "image: evil", "may run no image but tailseal:0.1.0"),
    ("serviceAccountName: corp-sts", "serviceAccountName: default", "only under the ServiceAccount of the same name"),
    ("automountServiceAccountToken: false", "automountServiceAccountToken: true", "nor a token for the API server"),
    ("      automountServiceAccountToken: false\n", "", "nor a token for the API server"),
    ("      serviceAccountName: corp-sts\n", "", "only under the ServiceAccount of the same name"),
    ("corp-sts", "deployer", "may write no Deployments but its workers'"),
    ("corp-sts", "deployer-1", "may write no Deployments but its workers'"),
    ("automountServiceAccountToken: false", "hostPID: true", "neither the host's namespaces"),
    (
        "serviceAccountName: corp-sts",
        "serviceAccountName: corp-sts\n      priorityClassName: system-cluster-critical",
        "may give workers no priority but",
    ),
    (
        _NOT_MORE,
        _NOT_MORE.replace("false", "true"),
        "privileged or can become so",
    ),
    ("drop: [ALL]", "drop: [ALL], add: [SYS_ADMIN]", "privileged or can become so"),
    ("drop: [ALL]", "drop: [NET_RAW]", "no worker or node with capabilities"),
    ("containers: [", "initContainers: [{name: i, image: evil}]\n      containers: [", "may run no image but"),
    (
        "projected: {sources: [{secret: {name: corp-signing, optional: true}}]}",
        "hostPath: {path: /}",
        "may mount nothing",
    ),
    (
        "[{secret: {name: corp-signing, optional: true}}]",
        "[{serviceAccountToken: {path: token}}]",
        "may mount nothing but Secrets, ConfigMaps, its own claims, empty folders and nodes' tokens",
    ),
    (
        f"containers: [{_WORKER}]\n      volumes:",
        f"containers: [{_WORKER[:-1]}, {_SEEN}}}]\n{_OWN}",
        "may let nobody but a node of the tailnet see that node's tokens",
    ),
    ("  labels: {app.kubernetes.io/managed-by: tailseal, ", "  labels: {", "may write no Deployments but its workers'"),
    (f", {_NOT_MORE}", "", "privileged or can become so"),
    (_NOT_MORE, _NOT_MORE[:-1] + ", runAsUser: 0}", AS_ROOT),
    (_NOT_MORE, _NOT_MORE[:-1] + ", runAsNonRoot: false}", AS_ROOT),
    (_NOT_MORE, _NOT_MORE[:-1] + ", seccompProfile: {type: Unconfined}}", AS_ROOT),
    (_NOT_MORE, _NOT_MORE[:-1] + ", seccompProfile: {type: Localhost, localhostProfile: x}}", AS_ROOT),
    (_NOT_MORE, _NOT_MORE[:-1] + ", appArmorProfile: {type: Unconfined}}", UNCONFINED),
    (
        f"containers: [{_WORKER}]",
        f"hostUsers: false\n      containers: [{_WORKER[:-2]}, procMount: Unmasked}}}}]",
        UNCONFINED,
    ),
    (_NOT_MORE, _NOT_MORE[:-1] + ", seLinuxOptions: {type: spc_t}}", UNCONFINED),
    (_NOT_MORE, _NOT_MORE[:-1] + ", windowsOptions: {runAsUserName: x}}", UNCONFINED),
    ("runAsNonRoot: true, ", "runAsNonRoot: true, appArmorProfile: {type: Unconfined}, ", UNCONFINED),
    ("runAsNonRoot: true, ", "runAsNonRoot: true, seLinuxOptions: {user: sysadm_u}, ", UNCONFINED),
    ("runAsNonRoot: true, ", "runAsNonRoot: true, sysctls: [{name: kernel.msgmax, value: '1'}], ", UNCONFINED),
    (
        f"metadata: {{{_PODS}}}",
        f"metadata: {{{_PODS}, annotations: {{container.apparmor.security.beta.kubernetes.io/sts: unconfined}}}}",
        UNCONFINED,
    ),
    ("runAsNonRoot: true, ", "", AS_ROOT),
    ("runAsNonRoot: true, ", "runAsNonRoot: true, runAsUser: 0, ", AS_ROOT),
    (", seccompProfile: {type: RuntimeDefault}", "", AS_ROOT),
    ("{name: sts, ", "{name: sts, ports: [{containerPort: 8443, hostPort: 443}], ", ELSEWHERE),
    ("{name: sts, ", f"{{name: sts, livenessProbe: {{httpGet: {_FAR}}}, ", ELSEWHERE),
    ("{name: sts, ", f"{{name: sts, readinessProbe: {{tcpSocket: {_FAR}}}, ", ELSEWHERE),
    ("{name: sts, ", f"{{name: sts, startupProbe: {{httpGet: {_FAR}}}, ", ELSEWHERE),
    ("{name: sts, ", f"{{name: sts, lifecycle: {{preStop: {{httpGet: {_FAR}}}}}, ", ELSEWHERE),
    ("      containers:", "      shareProcessNamespace: true\n      containers:", "neither the host's namespaces"),
    ("      containers:", "      nodeName: master\n      containers:", "neither pass the scheduler by"),
    ("{name: sts, ", "{name: sts, resources: {limits: {devices.example/kvm: 1}}, ", "nor claim devices"),
    (
        "      containers:",
        "      resourceClaims: [{name: gpu, resourceClaimName: x}]\n      containers:",
        "nor claim devices",
    ),
]


@pytest.mark.parametrize(
    ("found", "put", "said"),
    DEPLOYMENT_ATTACKS,
    ids=[" ".join((put or f"no {found}").split()) for found, put, _ in DEPLOYMENT_ATTACKS],
)
def test_the_fence_refuses_the_operator_any_other_deployment(
    pods: str, kubectl: Kubectl, found: str, put: str, said: str
) -> None:
    eventually(lambda: said in _apply(kubectl, pods, found, put))


def test_the_fence_lets_the_operator_have_its_worker(pods: str, kubectl: Kubectl) -> None:
    assert "serverside-applied" in _apply(kubectl, pods)


def _node(name: str, account: str) -> str:
    """A node's Deployment, whose sidecar runs our image: not what is called a node counts, but whose token it is."""
    worker = f"containers: [{_WORKER}]"
    sidecar = f"initContainers: [{{name: tailscale, image: {IMAGE}, {_NOT_MORE}, {_SEEN}}}]"
    changed = WORKLOAD.replace(f"{worker}\n      volumes:", f"{sidecar}\n      {worker}\n{_OWN}")
    return _called(changed, name, account, "0")


def _called(manifest: str, name: str, account: str, ordinal: str) -> str:
    """The Deployment under another name and account, its pods labelled as one numbered replica of the same provider."""
    labels = _PODS.replace("component: sts", f"component: idp, tailseal.dev/ordinal: '{ordinal}'")
    changed = manifest.replace(_PODS, labels)
    return changed.replace("Name: corp-sts", f"Name: {account}").replace("name: corp-sts", f"name: {name}")


@pytest.mark.parametrize(
    ("name", "account", "said"),
    [
        ("corp-idp-0", "corp-idp-0", "serverside-applied"),
        ("corp-sts", "corp-sts", "may use the tokens of nodes' accounts only"),
        ("default", "default", "may write no Deployments but its workers'"),
        ("default-0", "default", "may write no Deployments but its workers'"),
        ("deployer-idp-0", "deployer-idp", "may use the tokens of nodes' accounts only"),
    ],
)
def test_the_operator_gets_no_token_of_another_account_through_a_node(
    pods: str, kubectl: Kubectl, name: str, account: str, said: str
) -> None:
    eventually(lambda: said in applied(kubectl, pods, _node(name, account)))


@pytest.mark.parametrize("claimed", [False, True], ids=["in a Secret", "on a disk"])
@pytest.mark.parametrize("by", ["authkey", "id-token"])
@pytest.mark.parametrize("mode", ["Serve", "Direct"])
def test_the_operator_runs_every_node_that_it_renders(
    pods: str,
    kubectl: Kubectl,
    mode: Literal["Serve", "Direct"],
    by: Literal["authkey", "id-token"],
    *,
    claimed: bool,
) -> None:
    image = yaml.safe_load((chart.CHART / "values.yaml").read_text())["tailscale"]["image"]
    node = Sidecar(image, mode, "idp", by, claimed=claimed, client_id="T1", audience="api.tailscale.com/T1")
    node = replace(node, resources={"limits": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}})
    rendered = deployment(Provider(pods, "corp", "uid"), Workload("idp", IMAGE, own=Own(0, file=True, sidecar=node)))
    assert "serverside-applied" in applied(kubectl, pods, json.dumps(rendered))
    (container,) = rendered["spec"]["template"]["spec"]["initContainers"]
    other = json.dumps(rendered).replace("ephemeral-storage", "devices.example/kvm").replace('"1Gi"', '"1"')
    assert "nor claim devices" in applied(kubectl, pods, other)
    if mode == "Serve":
        del container["securityContext"]["capabilities"]
        assert "no worker or node with capabilities" in applied(kubectl, pods, json.dumps(rendered))


def test_a_number_lends_a_worker_no_account_but_its_component_s(pods: str, kubectl: Kubectl) -> None:
    said = "only under the ServiceAccount of the same name"
    for name, account, ordinal, answer in (
        ("corp-idp-0", "corp-idp", "0", "serverside-applied"),
        ("deployer-idp", "deployer", "idp", said),
        ("deployer-idp-0", "deployer", "idp-0", said),
    ):
        assert answer in applied(kubectl, pods, _called(WORKLOAD, name, account, ordinal))


def test_the_operator_lets_no_other_account_take_a_node_s_place(pods: str, kubectl: Kubectl) -> None:
    kubectl("apply", "--server-side", "-f", "-", f"--namespace={pods}", stdin=_node("corp-idp-0", "corp-idp-0"))
    try:
        other = '{"spec":{"template":{"spec":{"serviceAccountName":"corp-idp"}}}}'
        merge = ("patch", "deployment/corp-idp-0", "--type=merge", f"--patch={other}")
        eventually(lambda: "may use the tokens of nodes' accounts only" in attempt(kubectl, pods, *merge))
    finally:
        kubectl("delete", "deployment/corp-idp-0", f"--namespace={pods}")


def test_the_fence_lets_the_operator_repair_what_somebody_else_spoiled(pods: str, kubectl: Kubectl) -> None:
    spoiled = WORKLOAD.replace("containers: [", "containers: [{name: spy, image: spy}, ").replace("0.1.0", "old")
    kubectl("apply", "--server-side", "-f", "-", f"--namespace={pods}", stdin=spoiled)
    try:
        hardened = '"securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}'
        half_way = f'{{"name":"sts","image":"tailseal:old","args":["sts"],{hardened}}}'
        half_way = f'{{"spec":{{"template":{{"spec":{{"containers":[{half_way}]}}}}}}}}'
        merge = ("patch", "deployment/corp-sts", "--type=merge", f"--patch={half_way}")
        assert "patched" in attempt(kubectl, pods, *merge)
        assert "serverside-applied" in _apply(kubectl, pods)
        foreign = '{"spec":{"template":{"spec":{"containers":[{"name":"sts","image":"another"}]}}}}'
        assert "may run no image but" in attempt(kubectl, pods, *merge[:3], f"--patch={foreign}")
    finally:
        kubectl("delete", "deployment/corp-sts", f"--namespace={pods}")


def test_the_fence_lets_the_operator_repair_a_label_that_somebody_took_off(pods: str, kubectl: Kubectl) -> None:
    space = f"--namespace={pods}"
    kubectl("apply", "-f", "-", stdin=OBJECTS.split("---")[1].replace(PROVIDERS, pods))
    uid = kubectl("get", "identityprovider/corp", space, "--output=jsonpath={.metadata.uid}")
    owner = f'{{apiVersion: tailseal.dev/v1alpha1, kind: IdentityProvider, name: corp, uid: "{uid}", controller: true}}'
    labels = "labels: {app.kubernetes.io/managed-by: tailseal, tailseal.dev/identity-provider: corp}"
    kubectl("apply", "--server-side", "-f", "-", space, stdin=WORKLOAD.replace(labels, f"ownerReferences: [{owner}]"))
    try:
        assert "serverside-applied" in _apply(kubectl, pods)
        assert "no Deployments but its workers'" in _apply(kubectl, pods, labels, "labels: {a: b}")
        kubectl("patch", "deployment/corp-sts", space, "--type=merge", '--patch={"metadata":{"ownerReferences":null}}')
        assert "no Deployments but its workers'" in _apply(kubectl, pods)
    finally:
        kubectl("delete", "deployment/corp-sts", space)


MESH = "name: mesh, image: registry.corp.example/mesh/proxy:1"
BARE = "name: bare, image: registry.corp.example/bare"
ALLOWED = [("mesh", "registry.corp.example/mesh/"), ("bare", "registry.corp.example/bare")]
LENT = "may let a sidecar see no Secret, no claim and no volume of a worker or node"


def _beside(sidecar: str, volume: str = "") -> str:
    """The Deployment with an allowed sidecar, and perhaps another volume."""
    changed = WORKLOAD.replace(f"[{_WORKER}]", f"[{_WORKER[:-1]}, {_SIGNS}}}, {{{sidecar}}}]")
    return changed + (f"      - {{name: m, {volume}}}\n" if volume else "")


_SIGNS = "volumeMounts: [{name: signing, mountPath: /etc/tailseal/bundle/signing}]"
_MOUNTS = f"{MESH}, volumeMounts: [{{name: m, mountPath: /m}}]"


_HOOK = "{preStop: {exec: {command: [proxy, drain]}}}"
_PROBED = "livenessProbe: {httpGet: {path: /, port: 80}}"


def _limited(context: str) -> str:
    return f"{MESH}, securityContext: {{{context}}}"


SIDECARS = [
    (MESH, "", "serverside-applied"),
    (_MOUNTS, "emptyDir: {}", "serverside-applied"),
    (_MOUNTS, "configMap: {name: m}", "serverside-applied"),
    (_MOUNTS, "projected: {sources: [{configMap: {name: m}}]}", "serverside-applied"),
    (f"{MESH}, env: [{{name: A, value: b}}]", "", "serverside-applied"),
    (f"{MESH}, env: [{{name: A, valueFrom: {{configMapKeyRef: {{name: a, key: b}}}}}}]", "", "serverside-applied"),
    (f"{MESH}, ports: [{{containerPort: 15090}}]", "", "serverside-applied"),
    (f"{MESH}, command: [proxy], workingDir: /opt, lifecycle: {_HOOK}", "", "serverside-applied"),
    (f"{MESH}, env: [{{name: PATH, value: /opt}}], envFrom: [{{configMapRef: {{name: a}}}}]", "", "serverside-applied"),
    (f"{MESH}, {_PROBED}", "", "serverside-applied"),
    (f"{MESH}, resources: {{limits: {{cpu: 1, memory: 1Gi, ephemeral-storage: 1Gi}}}}", "", "serverside-applied"),
    (f"{MESH}, resources: {{limits: {{devices.example/kvm: 1}}}}", "", "nor claim devices"),
    (_limited("allowPrivilegeEscalation: false, privileged: false"), "", "serverside-applied"),
    (_limited("runAsUser: 1337, capabilities: {drop: [ALL]}"), "", "serverside-applied"),
    (_limited("appArmorProfile: {type: RuntimeDefault}"), "", "serverside-applied"),
    (_limited("appArmorProfile: {type: Unconfined}"), "", UNCONFINED),
    (_limited("seLinuxOptions: {level: s0}"), "", UNCONFINED),
    (_limited("procMount: Default"), "", UNCONFINED),
    (_limited("runAsNonRoot: false"), "", AS_ROOT),
    (_limited("seccompProfile: {type: Unconfined}"), "", AS_ROOT),
    (_limited("seccompProfile: {type: Localhost, localhostProfile: x}"), "", AS_ROOT),
    (_limited("allowPrivilegeEscalation: true"), "", "privileged or can become so"),
    (f"{MESH}, ports: [{{containerPort: 80, hostPort: 80}}]", "", ELSEWHERE),
    (f"{MESH}, {_PROBED.replace('port', 'host: 192.0.2.1, port')}", "", ELSEWHERE),
    (_MOUNTS, "downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.name}}]}", "may mount nothing but"),
    (_MOUNTS, "projected: {sources: [{serviceAccountToken: {path: a}}]}", "may mount nothing but"),
    (_MOUNTS, "csi: {driver: secrets.example, readOnly: true}", "may mount nothing but"),
    (_MOUNTS, "azureFile: {secretName: corp-signing, shareName: a}", "may mount nothing but"),
    (_MOUNTS, "hostPath: {path: /}", "may mount nothing but"),
    (_MOUNTS, "secret: {secretName: corp-signing}", "may mount nothing but"),
    (_MOUNTS, "projected: {sources: [{secret: {name: corp-signing}}]}", LENT),
    (_MOUNTS, "persistentVolumeClaim: {claimName: corp-sts-state}", LENT),
    (
        f"{MESH}, volumeDevices: [{{name: m, devicePath: /m}}]",
        "persistentVolumeClaim: {claimName: corp-sts-state}",
        LENT,
    ),
    (f"{MESH}, {_SIGNS}", "", LENT),
    (f"{MESH}, env: [{{name: A, valueFrom: {{secretKeyRef: {{name: corp-signing, key: a}}}}}}]", "", LENT),
    (f"{MESH}, envFrom: [{{secretRef: {{name: corp-signing}}}}]", "", LENT),
    (f"{MESH}, securityContext: {{runAsUser: 0}}", "", AS_ROOT),
    (f"{MESH}, securityContext: {{capabilities: {{add: [NET_ADMIN]}}}}", "", "privileged or can become so"),
    (MESH.replace("name: mesh", "name: spy"), "", "may run no image but"),
    (MESH.replace("corp.example", "evil.example"), "", "may run no image but"),
    *((f"{BARE}{more}", "", "serverside-applied") for more in ("", ":1", "@sha256:0", "/proxy:1")),
    *((f"{BARE}{more}", "", "may run no image but") for more in ("evil/proxy:1", ".evil/proxy", "-evil:1", "2")),
]


@pytest.mark.parametrize(("sidecar", "volume", "said"), SIDECARS)
def test_an_allowed_sidecar_sees_files_of_its_own_and_configmaps_and_nothing_else(
    pods: str, kubectl: Kubectl, sidecar: str, volume: str, said: str
) -> None:
    beside = _beside(sidecar, volume)
    eventually(lambda: said in applied(kubectl, pods, beside))
    ours, present = (yaml.safe_load(manifest)["spec"]["template"]["spec"] for manifest in (WORKLOAD, beside))
    allowed = lending.is_allowed(present["containers"][1], ours, present, ALLOWED)
    assert allowed is (said == "serverside-applied"), "what is repaired and what the fence refuses is one"


def test_a_volume_that_an_allowed_sidecar_shares_with_the_worker_is_the_worker_s(pods: str, kubectl: Kubectl) -> None:
    shared = _beside(_MOUNTS, "emptyDir: {}").replace(_SIGNS, _SIGNS.replace("[", "[{name: m, mountPath: /run}, "))
    eventually(lambda: LENT in applied(kubectl, pods, shared))


def test_the_fence_lets_the_operator_repair_what_a_sidecar_should_not_see(pods: str, kubectl: Kubectl) -> None:
    spoiled = _beside(f"{MESH}, {_SIGNS}")
    kubectl("apply", "--server-side", "-f", "-", f"--namespace={pods}", stdin=spoiled)
    try:
        assert "serverside-applied" in applied(kubectl, pods, spoiled.replace("replicas: 0", "replicas: 1"))
        assert LENT in applied(kubectl, pods, spoiled.replace("name: corp-signing", "name: corp-tls"))
        assert "serverside-applied" in applied(kubectl, pods, WORKLOAD)
    finally:
        kubectl("delete", "deployment/corp-sts", f"--namespace={pods}")


def test_the_fence_lets_the_operator_repair_a_worker_that_somebody_let_out(pods: str, kubectl: Kubectl) -> None:
    """Applied by us, what others added is still there: it is taken out by a patch of its own."""
    spoiled = WORKLOAD.replace("runAsNonRoot: true", "runAsNonRoot: false").replace(
        "type: RuntimeDefault", "type: Unconfined"
    )
    spoiled = spoiled.replace("{name: sts, ", "{name: sts, ports: [{containerPort: 8443, hostPort: 443}], ")
    spoiled = spoiled.replace("      containers:", "      nodeName: master\n      containers:")
    spoiled = spoiled.replace("drop: [ALL]}", "drop: []}, appArmorProfile: {type: Unconfined}")
    kubectl("apply", "--server-side", "-f", "-", f"--namespace={pods}", stdin=spoiled)
    try:
        assert "serverside-applied" in _apply(kubectl, pods)
        more = '{"spec":{"template":{"spec":{"nodeName":"another"}}}}'
        merge = ("patch", "deployment/corp-sts", "--type=merge", "--dry-run=server", f"--patch={more}")
        assert "neither pass the scheduler by" in attempt(kubectl, pods, *merge)
    finally:
        kubectl("delete", "deployment/corp-sts", f"--namespace={pods}")
