"""The fence around Deployments, attacked by who would run something else in them: our images are workers and nodes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any, Final

import pytest
import yaml

from chart.installed import IMAGE, Kubectl, applied, attempt, eventually, fenced
from chart.test_fences_deployments import POD
from tailseal.domain.render.common import Provider
from tailseal.domain.render.deployment import Own, Workload, deployment
from tailseal.domain.render.sidecar import Sidecar
from tailseal_dev import chart

pytestmark = [pytest.mark.cluster, pytest.mark.helm, pytest.mark.usefixtures("helm")]

Deployment = dict[str, Any]
PROVIDER: Final = Provider("chart-fence-running", "corp", "uid")
NODE: Final = Sidecar(
    image=yaml.safe_load((chart.CHART / "values.yaml").read_text())["tailscale"]["image"],
    mode="Serve",
    hostname="idp",
    by="client-secret",
    client_id="T1",
    audience="api.tailscale.com/T1",
)
SERVER: Final = "https://control.corp.example:8443/tailnet/ü?of=a&by=$b"
ASKED: Final[dict[str, Any]] = {
    "tls": True,
    "labels": {"app.kubernetes.io/name": "postgres", "team": "trust"},
    "node_selector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule"}],
    "resources": {"limits": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}},
    "log_level": "debug",
    "pull_secrets": ["pull"],
}
"""All that a spec and the installation may say of a worker."""


@pytest.fixture(scope="module")
def space(installed: str, kubectl: Kubectl) -> Iterator[str]:
    """Where the operator's account may do everything but for the fences."""
    with fenced(kubectl, PROVIDER.namespace, POD) as namespace:
        shell = json.dumps(_change(_node(), f"{WORKER}.command", ["/bin/sh"]))
        eventually(lambda: RUNS in applied(kubectl, namespace, shell))
        yield namespace


def _answers(kubectl: Kubectl, space: str, manifests: list[Deployment]) -> list[str]:
    """What kubectl says of each of them, in one question: they are told apart by their names."""
    said = applied(kubectl, space, json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))
    names = [manifest["metadata"]["name"] for manifest in manifests]
    return [next((line for line in said.splitlines() if re.search(rf"\b{name}\b(?!-)", line)), said) for name in names]


def _nodes() -> Iterator[Sidecar]:
    """One of each kind, every other one with all that a spec can say of it."""
    kinds = product(("Serve", "Direct"), ("authkey", "client-secret", "id-token"), (False, True))
    for number, (mode, by, claimed) in enumerate(kinds):
        node = replace(NODE, mode=mode, by=by, claimed=claimed, port=0 if mode == "Serve" else 8444)
        server, tags = SERVER if number % 3 else "", ("tag:a-1", "tag:B") if number % 2 else ()
        yield replace(node, login_server=server, tags=tags, resources=ASKED["resources"] if number % 2 else {})
    yield replace(NODE, service="svc:idp", host="idp.tail.example", funnel=True)


def _rendered(asked: dict[str, Any]) -> Iterator[Deployment]:
    """Each kind of worker and node that the operator may want."""
    yield from (deployment(PROVIDER, Workload(name, IMAGE, 1, **asked)) for name in ("sts", "idp"))
    last = 0
    for last, node in enumerate(_nodes(), 1):
        own = Own(last, file=asked != {}, claimed=last % 2 > 0, sidecar=node)
        yield deployment(PROVIDER, Workload("idp", IMAGE, own=own, **asked))
    yield deployment(PROVIDER, Workload("idp", IMAGE, own=Own(last + 1, file=True, claimed=asked != {}), **asked))


def test_the_operator_may_write_every_deployment_that_it_renders(space: str, kubectl: Kubectl) -> None:
    for asked in ({}, ASKED):
        answers = _answers(kubectl, space, list(_rendered(asked)))
        assert [answer for answer in answers if "serverside-applied" not in answer] == []


RUNS = "may run its images as workers and nodes only, by no command, probe or hook of its own"
TOLD = "no variables that change what they run, and none from Secrets"
OVERLAID = "may mount nothing over the files of its images"
LED = "may choose neither the runtime nor the scheduler, nor what names lead to"
WHOSE = "may mount no Secrets but those that it writes for the worker"
POSES = "may run no pods without the labels of a worker"
WORKER, ITS_NODE = "spec.template.spec.containers.0", "spec.template.spec.initContainers.0"
PODS = "spec.template.spec"
LABELS = "spec.template.metadata.labels"
SHELL = {"exec": {"command": ["/bin/sh", "-c", "cat /etc/tailseal/bundle/signing/*"]}}
THEIRS = {"secretKeyRef": {"name": "db", "key": "password"}}

ATTACKS: list[tuple[str, Any, str]] = [
    *((f"{one}.command", ["/bin/sh"], RUNS) for one in (WORKER, ITS_NODE)),
    *((f"{one}.workingDir", "/run/tailseal", RUNS) for one in (WORKER, ITS_NODE)),
    *((f"{WORKER}.args", args, RUNS) for args in (None, ["operator"], ["--debug", "idp"], ["$(A)"])),
    (f"{ITS_NODE}.args", ["/bin/sh"], RUNS),
    *((f"{ITS_NODE}.{probe}Probe", SHELL, RUNS) for probe in ("liveness", "readiness", "startup")),
    *((f"{WORKER}.{probe}Probe", SHELL, RUNS) for probe in ("liveness", "readiness", "startup")),
    *((f"{one}.lifecycle", {hook: SHELL}, RUNS) for one in (WORKER, ITS_NODE) for hook in ("postStart", "preStop")),
    *(
        (f"{WORKER}.env.+", {"name": name, "value": "/run/tailseal"}, TOLD)
        for name in ("PATH", "PYTHONPATH", "PYTHONSTARTUP", "LD_PRELOAD", "GCONV_PATH", "OPENSSL_CONF")
    ),
    *(
        (f"{ITS_NODE}.env.+", {"name": name, "value": "/tmp/x"}, TOLD)
        for name in ("PATH", "TS_TAILSCALED_EXTRA_ARGS", "TS_EXPERIMENTAL_VERSIONED_CONFIG_DIR", "TS_DEST_IP")
    ),
    *(
        (f"{ITS_NODE}.env.+", {"name": "TS_EXTRA_ARGS", "value": value}, TOLD)
        for value in (
            "--ssh",
            "--login-server=https://a.example --ssh",
            "--login-server=https://a.example\u00a0--ssh",
            "--login-server=https://a.example\u0085--ssh",
            "--login-server=https://a.example\v--ssh",
            "--advertise-tags=tag:a --ssh",
            "--login-server=$(POD_IPS)",
        )
    ),
    (f"{ITS_NODE}.env.+", {"name": "TS_EXTRA_ARGS", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}, TOLD),
    *((f"{one}.env.+", {"name": "A", "valueFrom": THEIRS}, TOLD) for one in (WORKER, ITS_NODE)),
    *(
        (f"{one}.envFrom", [{kind: {"name": "a"}}], TOLD)
        for one in (WORKER, ITS_NODE)
        for kind in ("secretRef", "configMapRef")
    ),
    *(
        (f"{one}.volumeMounts.+", {"name": "run", "mountPath": path}, OVERLAID)
        for one in (WORKER, ITS_NODE)
        for path in ("/", "/opt", "/opt/tailseal/lib", "/usr/local/bin", "/etc", "/run/../opt/tailseal", "opt")
    ),
    (f"{ITS_NODE}.volumeMounts.+", {"name": "run", "mountPath": "/etc/tailscale"}, OVERLAID),
    (f"{PODS}.runtimeClassName", "unconfined", LED),
    (f"{PODS}.schedulerName", "theirs", LED),
    (f"{PODS}.hostAliases", [{"ip": "192.0.2.1", "hostnames": ["api.example"]}], LED),
    *((f"{PODS}.dnsConfig", {name: ["192.0.2.1"]}, LED) for name in ("nameservers", "searches")),
    *((f"{PODS}.volumes.0.projected.sources.0.secret.name", name, WHOSE) for name in ("db", "corp-issuer", "db-tls")),
    (f"{LABELS}.app~kubernetes~io/managed-by", "Helm", POSES),
    (f"{LABELS}.tailseal~dev/identity-provider", "other", POSES),
    *((f"{LABELS}.app~kubernetes~io/component", name, POSES) for name in ("operator", "sts", "primary", None)),
]
"""Each by the place, what to put there (at `+`: beside what is there), and what the fence says."""


def _node(number: int = 0) -> Deployment:
    """A node's Deployment, of nobody: what its owner does not have is taken away."""
    made = deployment(PROVIDER, Workload("idp", IMAGE, 0, own=Own(number, sidecar=NODE)))
    del made["metadata"]["ownerReferences"]
    return made


def _change(changed: Deployment, path: str, value: object) -> Deployment:
    """Change one thing in it; its selector follows its labels."""
    place: Any = changed
    *steps, last = path.split(".")
    for step in steps:
        place = place[int(step)] if isinstance(place, list) else place[step]
    if last == "+":
        place[:] = [entry for entry in place if entry.get("name") != value["name"] or "mountPath" in entry]  # type: ignore[index]
        place.append(value)
    elif value is None:
        del place[last.replace("~", ".")]
    else:
        place[last.replace("~", ".")] = value
    changed["spec"]["selector"] = {"matchLabels": changed["spec"]["template"]["metadata"]["labels"]}
    return changed


def test_the_operator_may_have_its_images_do_nothing_else(space: str, kubectl: Kubectl) -> None:
    changed = [_change(_node(number), path, value) for number, (path, value, _) in enumerate(ATTACKS)]
    answers = _answers(kubectl, space, changed)
    passed = [(*attack, answer) for attack, answer in zip(ATTACKS, answers, strict=True) if attack[2] not in answer]
    assert passed == []


ALLOWED: list[tuple[str, Any]] = [
    (f"{WORKER}.env.+", {"name": "HTTPS_PROXY", "value": "http://proxy.example"}),
    (f"{WORKER}.volumeMounts.+", {"name": "run", "mountPath": "/etc/ssl/certs"}),
    (f"{PODS}.dnsConfig", {"options": [{"name": "ndots", "value": "1"}]}),
    (f"{PODS}.schedulerName", "default-scheduler"),
    (f"{PODS}.affinity", {"podAntiAffinity": {}}),
    (f"{LABELS}.cost-center", "42"),
]


def test_what_policies_of_a_cluster_put_into_every_deployment_keeps_no_worker_from_being_made(
    space: str, kubectl: Kubectl
) -> None:
    answers = _answers(kubectl, space, [_change(_node(number), *each) for number, each in enumerate(ALLOWED)])
    assert [answer for answer in answers if "serverside-applied" not in answer] == []


SPOILED: list[tuple[str, Any]] = [
    (f"{WORKER}.command", ["/bin/sh"]),
    (f"{WORKER}.readinessProbe", SHELL),
    (f"{WORKER}.env.+", {"name": "PYTHONPATH", "value": "/run"}),
    (f"{WORKER}.envFrom", [{"configMapRef": {"name": "a"}}]),
    (f"{WORKER}.volumeMounts.+", {"name": "run", "mountPath": "/opt"}),
    (f"{PODS}.runtimeClassName", "gvisor"),
    (f"{PODS}.schedulerName", "theirs"),
    (f"{PODS}.hostAliases", [{"ip": "192.0.2.1", "hostnames": ["a"]}]),
    (f"{PODS}.dnsConfig", {"nameservers": ["192.0.2.1"]}),
    (f"{PODS}.volumes.0.projected.sources.0.secret.name", "db"),
    (f"{LABELS}.app~kubernetes~io/component", "primary"),
]


def test_what_somebody_else_put_there_is_in_no_write_s_way(space: str, kubectl: Kubectl) -> None:
    there = _node()
    for path, value in SPOILED:
        _change(there, path, value)
    name, here = "deployment/corp-idp-0", f"--namespace={space}"
    kubectl("apply", "--server-side", "-f", "-", here, stdin=json.dumps(there))
    try:

        def patched(spec: object) -> str:
            patch = f"--patch={json.dumps({'spec': spec})}"
            return attempt(kubectl, space, "patch", name, "--type=merge", "--dry-run=server", patch)

        assert "patched" in patched({"minReadySeconds": 1})
        wanted = _node()["spec"]["template"]["spec"]
        whole = {**dict.fromkeys(there["spec"]["template"]["spec"]), **wanted}
        assert "patched" in patched({"template": {"spec": whole}})
        for path, said in ((f"{WORKER}.command", RUNS), (f"{PODS}.runtimeClassName", LED)):
            more = _change(json.loads(json.dumps(there)), path, "other" if path.startswith(PODS + ".r") else ["other"])
            assert said in patched({"template": {"spec": more["spec"]["template"]["spec"]}})
    finally:
        kubectl("delete", name, here)
