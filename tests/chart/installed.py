"""What the tests of the installed chart share: names, manifests, and the operator's account asking by kubectl."""

from __future__ import annotations

import time
from collections.abc import Callable

from tailseal_dev import chart
from tailseal_dev.controlplane import ControlPlaneError

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
    '--set-json=worker.sidecars=[{"name":"mesh","image":"registry.corp.example/mesh/"}]',
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


def eventually(condition: Callable[[], bool], within: float = 60.0) -> None:
    """Wait until it comes true, which admission policies and rights do a moment after they are written."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.1)
