"""Deployments on the local node: real processes behind real objects of the real API server."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from tailseal_dev.controlplane import ControlPlane
from tailseal_dev.localnode.start import running
from tailseal_dev.ports import free_ports

pytestmark = pytest.mark.cluster

Kubectl = Callable[..., str]
SERVER = str(Path(__file__).parent / "file_server.py")
(EXPOSED,) = free_ports(1)
NAMESPACE = "local-node-test"


@pytest.fixture(scope="module")
def node(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    control_plane.kubectl("create", "namespace", NAMESPACE)
    directory = tmp_path_factory.mktemp("node")
    services = {f"{NAMESPACE}/web": EXPOSED}
    with running(control_plane.kubeconfig, directory, services=services, sync_period=3600):
        yield directory
    control_plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    control_plane.kubectl("delete", "node", "local")


@pytest.fixture
def web(node: Path, kubectl: Kubectl) -> Iterator[str]:
    """A Deployment of two, serving a Secret and an optional ConfigMap, behind a Service."""
    kubectl("create", "secret", "generic", "content", "--from-literal=x=1", "-n", NAMESPACE)
    kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(_deployment()))
    kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(_service()))
    kubectl("rollout", "status", "deployment/web", "-n", NAMESPACE, "--timeout=180s")
    yield NAMESPACE
    kubectl("delete", "deployment/web", "service/web", "secret/content", "-n", NAMESPACE)
    kubectl("delete", "configmap/more", "-n", NAMESPACE, "--ignore-not-found")
    kubectl("wait", "pod", "--all", "--for=delete", "-n", NAMESPACE, "--timeout=180s")


def _probe() -> dict[str, Any]:
    """One answer decides, and may take its time: only the file that says so makes a pod sick."""
    check = {"path": "/healthz", "port": "http"}
    return {"httpGet": check, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 60}


def _deployment() -> dict[str, Any]:
    probe = _probe()
    container = {
        "name": "web",
        "image": "none",
        "command": [sys.executable, SERVER],
        "args": ["$(POD_IP)", "8443", "/var/content"],
        "env": [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "ports": [{"name": "http", "containerPort": 8443}],
        "readinessProbe": probe,
        "volumeMounts": [{"name": "content", "mountPath": "/var/content"}],
    }
    sources: list[dict[str, Any]] = [
        {"secret": {"name": "content"}},
        {"configMap": {"name": "more", "optional": True}},
        {"serviceAccountToken": {"path": "token", "audience": "vault"}},
    ]
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
        "volumes": [{"name": "content", "projected": {"sources": sources}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod},
        },
    }


def _service() -> dict[str, Any]:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}


def _pods(kubectl: Kubectl) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(kubectl("get", "pods", "-n", NAMESPACE, "-o", "json"))["items"]
    return [pod for pod in listed if "deletionTimestamp" not in pod["metadata"]]


def _get(address: str, path: str, port: int = 8443) -> str:
    try:
        with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=60) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        error.close()
        return str(error.code)
    except OSError as error:
        return type(error).__name__


def _eventually(condition: Callable[[], Any], within: float = 180.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.05)


def _pid(pod: dict[str, Any]) -> int:
    return int(pod["status"]["containerStatuses"][0]["containerID"].removeprefix("process://"))


def test_a_deployment_becomes_available_each_pod_on_an_address_of_its_own(web: str, kubectl: Kubectl) -> None:
    first, second = _pods(kubectl)
    assert first["status"]["podIP"] != second["status"]["podIP"]
    for pod in (first, second):
        assert _get(pod["status"]["podIP"], "/x") == "1"
        assert _get(pod["status"]["podIP"], "/whoami") == f"{pod['metadata']['name']} {_pid(pod)}"


def test_a_changed_secret_is_projected_at_once_when_the_pod_is_annotated(web: str, kubectl: Kubectl) -> None:
    pod = _pods(kubectl)[0]
    kubectl("patch", "secret", "content", "-n", web, "--type=merge", "-p", '{"stringData": {"x": "2"}}')
    assert _get(pod["status"]["podIP"], "/x") == "1"
    kubectl("annotate", "pod", pod["metadata"]["name"], "-n", web, "poke=1")
    _eventually(lambda: _get(pod["status"]["podIP"], "/x") == "2")


def test_an_optional_source_appears_and_disappears_without_a_restart(web: str, kubectl: Kubectl) -> None:
    pod = _pods(kubectl)[0]
    address, name = pod["status"]["podIP"], pod["metadata"]["name"]
    assert _get(address, "/y") == "404"
    kubectl("create", "configmap", "more", "--from-literal=y=here", "-n", web)
    kubectl("annotate", "pod", name, "-n", web, "poke=1")
    _eventually(lambda: _get(address, "/y") == "here")
    kubectl("delete", "configmap", "more", "-n", web)
    kubectl("annotate", "pod", name, "-n", web, "poke=2", "--overwrite")
    _eventually(lambda: _get(address, "/y") == "404")
    assert _pid(_pods(kubectl)[0]) == _pid(pod)


def test_a_pod_has_the_token_that_it_asks_for(web: str, kubectl: Kubectl) -> None:
    pod = _pods(kubectl)[0]
    claims = jwt.decode(_get(pod["status"]["podIP"], "/token"), options={"verify_signature": False})
    assert (claims["aud"], claims["sub"]) == (["vault"], f"system:serviceaccount:{web}:default")
    assert claims["kubernetes.io"]["pod"]["name"] == pod["metadata"]["name"]


def test_a_crashed_process_is_started_again_and_counted(web: str, kubectl: Kubectl) -> None:
    name, address = _pods(kubectl)[0]["metadata"]["name"], _pods(kubectl)[0]["status"]["podIP"]
    _get(address, "/exit")

    def recovered() -> bool:
        (pod,) = [pod for pod in _pods(kubectl) if pod["metadata"]["name"] == name]
        status = pod["status"]["containerStatuses"][0]
        ended = status["lastState"].get("terminated", {}).get("exitCode")
        return bool(status["ready"] and status["restartCount"] == 1 and ended == 3)

    _eventually(recovered)
    assert _get(address, "/whoami").startswith(name)


def test_the_service_port_leads_to_ready_pods_only(web: str, kubectl: Kubectl) -> None:
    names = {pod["metadata"]["name"] for pod in _pods(kubectl)}

    def answering() -> set[str]:
        return {_get("127.0.0.1", "/whoami", EXPOSED).split()[0] for _ in range(6)}

    _eventually(lambda: answering() == names)
    kubectl("patch", "secret", "content", "-n", web, "--type=merge", "-p", '{"stringData": {"fail": "1"}}')
    sick = min(names)
    kubectl("annotate", "pod", sick, "-n", web, "poke=1")
    _eventually(lambda: answering() == names - {sick})


def test_a_missing_source_keeps_a_pod_waiting_and_says_for_what(web: str, kubectl: Kubectl) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "waits", "labels": {"app": "other"}},
        "spec": {
            **_deployment()["spec"]["template"]["spec"],
            "volumes": [{"name": "content", "secret": {"secretName": "absent"}}],
        },
    }
    kubectl("apply", "-n", web, "-f", "-", stdin=json.dumps(pod))
    _eventually(lambda: "'absent' not found" in kubectl("get", "pod", "waits", "-n", web, "-o", "yaml"))
    kubectl("create", "secret", "generic", "absent", "--from-literal=x=late", "-n", web)
    kubectl("wait", "pod/waits", "--for=condition=Ready", "-n", web, "--timeout=180s")
    kubectl("delete", "pod/waits", "secret/absent", "-n", web)


def test_a_pod_whose_liveness_probe_fails_is_started_again(web: str, kubectl: Kubectl) -> None:
    probe = _probe()
    template = _deployment()["spec"]["template"]["spec"]
    container = {
        **template["containers"][0],
        "livenessProbe": probe,
        "startupProbe": {**probe, "failureThreshold": 300},
    }
    spec = {**template, "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sick", "labels": {"app": "other"}}, "spec": spec}
    kubectl("apply", "-n", web, "-f", "-", stdin=json.dumps(pod))
    kubectl("wait", "pod/sick", "--for=condition=Ready", "-n", web, "--timeout=180s")
    kubectl("patch", "secret", "content", "-n", web, "--type=merge", "-p", '{"stringData": {"fail": "1"}}')
    kubectl("annotate", "pod/sick", "-n", web, "poke=1")
    path = "jsonpath={.status.containerStatuses[0].restartCount}"
    _eventually(lambda: int(kubectl("get", "pod/sick", "-n", web, "-o", path) or 0) > 0)
    kubectl("delete", "pod/sick", "-n", web)


def test_scaling_down_ends_processes_and_leaves_no_files(web: str, kubectl: Kubectl, node: Path) -> None:
    pods = _pods(kubectl)
    kubectl("scale", "deployment/web", "--replicas=0", "-n", web)
    kubectl("wait", "pod", "--all", "--for=delete", "-n", web, "--timeout=180s")
    _eventually(lambda: not any(Path(f"/proc/{_pid(pod)}").exists() for pod in pods))
    _eventually(lambda: not any((node / "pods" / pod["metadata"]["uid"]).exists() for pod in pods))


def test_the_node_reports_itself_ready_and_renews_its_lease(node: Path, kubectl: Kubectl) -> None:
    kubectl("wait", "node/local", "--for=condition=Ready", "--timeout=180s")
    assert kubectl("get", "lease", "local", "-n", "kube-node-lease", "-o", "jsonpath={.spec.holderIdentity}") == "local"


def test_pods_die_with_a_node_that_is_killed(control_plane: ControlPlane, tmp_path: Path, kubectl: Kubectl) -> None:
    name = "killed-node-test"
    kubectl("create", "namespace", name)
    pod = _deployment()["spec"]["template"]
    pod["spec"]["volumes"] = [{"name": "content", "emptyDir": {}}]
    pod["metadata"] |= {"name": "p"}
    pod["spec"]["nodeName"] = "doomed"
    with running(control_plane.kubeconfig, tmp_path, name="doomed") as process:
        _eventually(lambda: "default" in kubectl("get", "serviceaccounts", "-n", name))
        document = {"apiVersion": "v1", "kind": "Pod", **pod}
        kubectl("apply", "-n", name, "-f", "-", stdin=json.dumps(document))
        kubectl("wait", "pod/p", "--for=condition=Ready", "-n", name, "--timeout=180s")
        pid = _pid(json.loads(kubectl("get", "pod", "p", "-n", name, "-o", "json")))
        assert Path(f"/proc/{pid}").exists()
        os.kill(process.pid, 9)
        _eventually(lambda: not Path(f"/proc/{pid}").exists())
    kubectl("delete", "pod/p", "-n", name, "--force", "--grace-period=0")
    kubectl("delete", "node", "doomed")
    kubectl("delete", "namespace", name, "--wait=false")
