"""What the tests of the installed chart share: names, manifests, and the operator's account asking by kubectl."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tailseal_dev import chart, process
from tailseal_dev.controlplane import ControlPlane, ControlPlaneError
from tailseal_dev.ports import free_ports

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
    '--set-json=worker.sidecars[0]={"name":"mesh","image":"registry.corp.example/mesh/"}',
    '--set-json=worker.sidecars[1]={"name":"bare","image":"registry.corp.example/bare"}',
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


def attempt(kubectl: Kubectl, namespace: str, *arguments: str, stdin: str = "") -> str:
    """What kubectl says to the operator's account, refusal or not."""
    try:
        return kubectl(*arguments, f"--namespace={namespace}", f"--as={ACCOUNT}", stdin=stdin)
    except ControlPlaneError as error:
        return str(error)


def applied(kubectl: Kubectl, namespace: str, manifest: str) -> str:
    """What kubectl says when the operator's account applies that over whatever is there, in a dry run."""
    flags = ("--server-side", "--force-conflicts", "--dry-run=server", "-f", "-")
    return attempt(kubectl, namespace, "apply", *flags, stdin=manifest)


@contextlib.contextmanager
def operator_as_deployed(plane: ControlPlane, log: Path) -> Iterator[Path]:
    """The operator told what its Deployment tells it, under the account that it names; the file is its log."""
    space = f"--namespace={chart.NAMESPACE}"
    pod = json.loads(plane.kubectl("get", "deployment/tailseal-operator", space, "--output=jsonpath={..template.spec}"))
    token = plane.kubectl("create", "token", pod["serviceAccountName"], space).strip()
    (port,) = free_ports(1)
    told = [text for text in pod["containers"][0]["args"] if not text.startswith("--health=")]
    access = [f"--kubeconfig={plane.kubeconfig_with_token('deployed', token)}", f"--health=127.0.0.1:{port}"]
    started = process.start([sys.executable, "-m", "tailseal", *told, *access], log, dict(os.environ))
    try:
        yield log
    finally:
        process.stop(started, grace=5)


def refused(plane: ControlPlane, log: Path) -> list[str]:
    """What the operator's account was refused, by rights or fences, but for its questions whether these stand."""
    said = [line for line in log.read_text().splitlines() if "Forbidden" in line]
    return said + [
        f"{event['verb']} {event['requestURI']}"
        for event in plane.audit()
        if event["user"]["username"] == ACCOUNT
        and event["responseStatus"].get("code") == 403
        and "dryRun" not in event["requestURI"]
    ]


@contextlib.contextmanager
def fenced(kubectl: Kubectl, namespace: str, pods: str) -> Iterator[str]:
    """A namespace with these pods, one of them `ours`: RBAC allows the operator all, only the fence refuses."""
    kubectl("create", "namespace", namespace)
    eventually(lambda: "default" in kubectl("get", "serviceaccounts", f"--namespace={namespace}"))
    kubectl("apply", "-f", "-", f"--namespace={namespace}", stdin=pods)
    account = f"--serviceaccount={chart.NAMESPACE}:tailseal-operator"
    kubectl("create", "rolebinding", "all", "--clusterrole=cluster-admin", account, f"--namespace={namespace}")
    probe = ("probe=1", "--dry-run=server")  # what was written once would be no change any more
    eventually(lambda: "may change no annotation" in attempt(kubectl, namespace, "annotate", "pod/ours", *probe))
    yield namespace
    kubectl("delete", "namespace", namespace, "--wait=false")


def eventually(condition: Callable[[], bool], within: float = 180.0) -> None:
    """Wait until it comes true, which admission policies and rights do a moment after they are written."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.1)
