"""A pod of some team in the cluster, as any: no node of a tailnet, no way from outside, and an account of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from node.world import PROVIDERS, SPACE, World
from tailseal_dev.demo import manifests
from tailseal_dev.demo.caller import GRANT_TYPE, JWT_TYPE

TEAM: Final = "shop"
_ACCOUNT: Final = "deployer"
_TOKENS: Final = "/var/run/secrets/tokens"
_AUTHORITY: Final = "/etc/corp/ca.crt"

_ASK: Final = f"""
import json, ssl, sys, urllib.error, urllib.parse, urllib.request
url, form, headers = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
form = {{name: open(value[1:]).read() if value[0] == "@" else value for name, value in form.items()}}
request = urllib.request.Request(url, urllib.parse.urlencode(form).encode() or None, headers)
context = ssl.create_default_context(cafile="{_AUTHORITY}")
try:
    answer = urllib.request.urlopen(request, context=context, timeout=60)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, json.load(answer)]))
"""


@dataclass(frozen=True, slots=True)
class Party:
    """What the pod asks, each time by names and with the certificate checked.

    Args:
        world: the cluster.
        image: any with Python.
        issuers: of the providers that it has tokens for, by their names.
    """

    world: World
    image: str
    issuers: Mapping[str, str]

    def begin(self) -> None:
        """Make it; returns when it runs."""
        kubectl = self.world.kubectl
        kubectl("create", "namespace", TEAM)
        kubectl("label", "namespace", TEAM, "pod-security.kubernetes.io/enforce=restricted")
        kubectl("create", "serviceaccount", _ACCOUNT, f"--namespace={TEAM}")
        kubectl("create", "configmap", "corp-ca", f"--namespace={TEAM}", f"--from-file=ca.crt={self.world.ca}")
        kubectl("apply", "--filename=-", stdin=json.dumps(self._pod()))
        kubectl("wait", f"pod/{TEAM}", f"--namespace={TEAM}", "--for=condition=Ready", "--timeout=120s")

    def end(self) -> None:
        """Leave nothing of it behind."""
        policies = [f"trustpolicy/{_policy(provider)}" for provider in self.issuers]
        self.world.kubectl("delete", *policies, SPACE, "--ignore-not-found")
        self.world.kubectl("delete", "namespace", TEAM, "--wait=false")

    def ask(self, url: str, form: Mapping[str, str] | None = None, **headers: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON of an answer; with a form it is posted, where `@FILE` stands for what a file holds."""
        arguments = ("python", "-c", _ASK, url, json.dumps(form or {}), json.dumps(headers))
        status, body = json.loads(self.world.kubectl("exec", TEAM, f"--namespace={TEAM}", "--", *arguments))
        return status, body

    def exchange(self, place: str, provider: str) -> tuple[int, dict[str, Any]]:
        """Exchange the pod's own token for one of a provider that is asked at some place."""
        form = {"grant_type": GRANT_TYPE, "subject_token_type": JWT_TYPE, "audience": manifests.AUDIENCE}
        return self.ask(f"{place}/token", {**form, "subject_token": f"@{_TOKENS}/{provider}"})

    def trust(self, provider: str) -> None:
        """Have a provider trust the pod, by the keys that the API server publishes."""
        published = json.loads(self.world.kubectl("get", "--raw=/.well-known/openid-configuration"))
        keys = json.loads(self.world.kubectl("get", "--raw=/openid/v1/jwks"))
        self.world.kubectl(
            "apply",
            "--filename=-",
            stdin=f"""\
apiVersion: tailseal.dev/v1alpha1
kind: TrustPolicy
metadata: {{name: {_policy(provider)}, namespace: {PROVIDERS}}}
spec:
  identityProviderRef: {{name: {provider}}}
  from:
    kubernetes:
      issuer: {published["issuer"]}
      namespaces: [{TEAM}]
      serviceAccounts: [{_ACCOUNT}]
      boundTo: Pod
      keys: {{jwks: {json.dumps(keys)}}}
  grants:
  - {{name: billing, jwt: {{audiences: ["{manifests.AUDIENCE}"]}}}}
""",
        )

    def _pod(self) -> dict[str, Any]:
        tokens = [
            {"serviceAccountToken": {"audience": issuer, "path": provider}} for provider, issuer in self.issuers.items()
        ]
        container = {
            "name": TEAM,
            "image": self.image,
            "command": ["python", "-c", "import signal; signal.pause()"],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [
                {"name": "tokens", "mountPath": _TOKENS},
                {"name": "corp-ca", "mountPath": _AUTHORITY.rpartition("/")[0]},
            ],
        }
        security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
        spec = {
            "serviceAccountName": _ACCOUNT,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": security,
            "containers": [container],
            "volumes": [
                {"name": "tokens", "projected": {"sources": tokens}},
                {"name": "corp-ca", "configMap": {"name": "corp-ca"}},
            ],
        }
        metadata = {"name": TEAM, "namespace": TEAM}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _policy(provider: str) -> str:
    return f"{TEAM}-at-{provider}"
