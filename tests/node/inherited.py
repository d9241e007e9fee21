"""Objects of every kind that the former release made from scratch, and what another release must make of them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from node.keys import trusting
from node.releases import runs_everywhere
from node.world import PROVIDERS, SPACE, World, until
from tailseal.api import meta
from tailseal_dev import pki
from tailseal_dev.demo import manifests
from tailseal_dev.demo.caller import GRANT_TYPE, JWT_TYPE, kid_of, kids, verify
from tailseal_dev.issuer import SUBJECT

NAME: Final = "inherited"
ISSUER: Final = "https://inherited.example"
_KEYS: Final = 2
"""The one that signs, and its spare."""

WORKERS: Final = ("sts", "idp")
KINDS: Final = ("signingkey", "identityprovider", "trustpolicy", "oauthclient")
OBJECTS: Final = tuple(f"{kind}/{NAME}" for kind in KINDS)

MANIFEST: Final = f"""\
apiVersion: tailseal.dev/v1alpha1
kind: SigningKey
metadata: {{name: {NAME}, namespace: {PROVIDERS}}}
---
apiVersion: tailseal.dev/v1alpha1
kind: IdentityProvider
metadata: {{name: {NAME}, namespace: {PROVIDERS}}}
spec:
  issuer: {ISSUER}
  signingKeys: [{{name: {NAME}}}]
  tokens: {{accessTokenTTL: 1h}}
  sts: {{replicas: 1}}
  idp: {{replicas: 1}}
  serving: {{tls: {{secretRef: {{name: {NAME}-serving}}}}}}
---
apiVersion: tailseal.dev/v1alpha1
kind: OAuthClient
metadata: {{name: {NAME}, namespace: {PROVIDERS}}}
spec:
  identityProviderRef: {{name: {NAME}}}
  grantTypes: ["{GRANT_TYPE}"]
---
apiVersion: tailseal.dev/v1alpha1
kind: TrustPolicy
metadata: {{name: {NAME}, namespace: {PROVIDERS}}}
spec:
  identityProviderRef: {{name: {NAME}}}
  from:
    oidc:
      issuer: https://ci.example
      subject: {{exact: "{SUBJECT}"}}
      keys: {{jwks: %s}}
  grants:
  - {{name: billing, jwt: {{audiences: ["{manifests.AUDIENCE}"], ttl: 1h}}}}
"""
"""Every field is one that the former release knows; what is left out is what its defaults were."""

EDITS: Final[Mapping[str, Any]] = {
    "signingkey": {"rotation": {"stallAfter": "2h"}},
    "identityprovider": {"staleness": {"behind": "3m"}},
    "trustpolicy": {"from": {"oidc": {"maxAge": "2h"}}},
    "oauthclient": {"claims": ["tailnet"]},
}
"""Changes that roll no pod and no key."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """Of a service: a token, and the key set."""

    token: str = ""
    keys: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Inherited:
    """A provider with one replica of each service, its key, an application and a policy.

    Args:
        world: where they are.
    """

    world: World
    _job: str = ""
    _token: str = ""
    _kids: frozenset[str] = frozenset()
    _before: Mapping[str, str] = field(default_factory=dict)
    _secret: Mapping[str, str] = field(default_factory=dict)
    _revisions: list[int] = field(default_factory=list)
    _at: dict[str, str] = field(default_factory=dict)

    def make(self) -> None:
        """Apply them while the former release runs; what it gave is kept."""
        world = self.world
        certificate, key = world.server([ISSUER.removeprefix("https://"), *pki.LOOPBACK_NAMES], NAME)
        world.kubectl("create", "secret", "tls", f"{NAME}-serving", SPACE, f"--cert={certificate}", f"--key={key}")
        world.kubectl("label", "secret", f"{NAME}-serving", SPACE, "tailseal.dev/allow=true")
        world.kubectl("apply", "--filename=-", stdin=MANIFEST % json.dumps(world.ci.jwks))
        world.kubectl("wait", "--for=condition=Ready", *OBJECTS[:3], SPACE, "--timeout=180s")
        world.kubectl("wait", "--for=condition=Programmed", OBJECTS[3], SPACE, "--timeout=180s")
        for worker in WORKERS:
            address = world.kubectl("get", f"service/{NAME}-{worker}", SPACE, "--output=jsonpath={.spec.clusterIP}")
            self._at[worker] = f"127.0.0.1:{world.node.reach(address, 443)}"
        self._job = world.ci.token(ISSUER, iss="https://ci.example", exp=int(time.time()) + 4 * 3600)
        until(self._published, "both services publish the signer and its spare")
        self._token, self._kids = self._answers()[0].token, self._known()
        self._before, self._secret = self._identities(), self._credentials()
        self._revisions = self._rollouts()

    def hold(self, image: str) -> None:
        """Under the release of an image that was just changed to, all is as it was, and nothing was made anew."""
        until(lambda: runs_everywhere(self.world, image, NAME, len(WORKERS)), f"both run {image}", within=240)
        self.world.kubectl("wait", "--for=condition=Ready", *OBJECTS[:3], SPACE, "--timeout=180s")
        self.world.kubectl("wait", "--for=condition=Programmed", OBJECTS[3], SPACE, "--timeout=180s")
        for answer in self._answers():
            assert kids(answer.keys) == self._kids, "the keys that are published"
            assert kid_of(answer.token) == kid_of(self._token), "the key that signs"
            for token in (self._token, answer.token):
                verify(token, answer.keys, issuer=ISSUER, audience=manifests.AUDIENCE)
        assert self._known() == self._kids, "no key is new"
        assert self._credentials() == self._secret, "an application's secret stays"
        found = self._identities()
        assert {name: found.get(name) for name in self._before} == self._before, "nothing was made anew"
        self._revisions = [number + 1 for number in self._revisions]
        assert self._rollouts() == self._revisions, "each Deployment's pods are replaced once"

    def serve(self) -> None:
        """This release looks after them: what is edited is taken up, and what it can do that the former could not."""
        for kind, spec in EDITS.items():
            patch = json.dumps({"spec": spec})
            self.world.kubectl("patch", f"{kind}/{NAME}", SPACE, "--type=merge", f"--patch={patch}")
        until(lambda: all(map(self._taken_up, OBJECTS)), "what was edited is Ready, nothing is false", within=120)
        until(lambda: all(map(self._as_application, WORKERS)), "the application proves itself by its secret")
        assert self._rollouts() == self._revisions, "no pod was replaced"
        assert self._known() == self._kids, "no key is new"

    def delete(self) -> None:
        """Leave nothing of it behind, what outlives its object included."""
        self.world.kubectl("delete", *OBJECTS, SPACE, "--ignore-not-found", "--timeout=60s")
        secrets = (f"{NAME}-serving", meta.key_secret(NAME), meta.issuer_secret(NAME))
        named = [*(f"secret/{name}" for name in secrets), f"configmap/{meta.clients_config_map(NAME)}"]
        self.world.kubectl("delete", *named, SPACE, "--ignore-not-found")

    def _answers(self) -> list[_Answer]:
        """What each service gives now, waiting until all do."""
        found: list[_Answer] = []

        def granted() -> bool:
            found[:] = map(self._asked, WORKERS)
            return all(answer.token for answer in found)

        until(granted, "both services grant")
        return found

    def _asked(self, worker: str, client: tuple[str, str] | None = None) -> _Answer:
        """What a service gives for the CI job's token, to an application if it proves itself; nothing if it refuses."""
        form = {"grant_type": GRANT_TYPE, "subject_token": self._job, "subject_token_type": JWT_TYPE}
        place = f"https://{self._at[worker]}"
        with httpx.Client(verify=trusting(self.world.ca), timeout=60, trust_env=False, auth=client) as http:
            try:
                answer = http.post(f"{place}/token", data=form | {"audience": manifests.AUDIENCE})
                keys = http.get(f"{place}/.well-known/jwks.json")
            except httpx.HTTPError:  # its only pod is just being replaced
                return _Answer()
        if {answer.status_code, keys.status_code} != {httpx.codes.OK}:
            return _Answer()
        return _Answer(answer.json()["access_token"], keys.json())

    def _as_application(self, worker: str) -> bool:
        """Whether the application is granted the same, and the token says so."""
        answer = self._asked(worker, (self._secret["client_id"], self._secret["client_secret"]))
        if not answer.token:
            return False
        claims = verify(answer.token, answer.keys, issuer=ISSUER, audience=manifests.AUDIENCE)
        return bool(claims["client_id"] == self._secret["client_id"])

    def _published(self) -> bool:
        known = self._known()
        return len(known) == _KEYS and all(kids(answer.keys) == known for answer in self._answers())

    def _known(self) -> frozenset[str]:
        """Ids of the keys that the SigningKey has."""
        return frozenset(key["keyID"] for key in self._object(OBJECTS[0])["status"]["keys"])

    def _credentials(self) -> dict[str, str]:
        """What the application's Secret holds of who it is."""
        data = self._object(f"secret/{meta.client_secret(NAME)}")["data"]
        return {name: base64.b64decode(data[name]).decode() for name in ("client_id", "client_secret")}

    def _identities(self) -> dict[str, str]:
        """The uid of each object that is kept for them, by kind and name."""
        listed = self.world.kubectl("get", "deployments,services,secrets,serviceaccounts", SPACE, "--output=json")
        found = (item for item in json.loads(listed)["items"] if item["metadata"]["name"].startswith(NAME))
        return {f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["uid"] for item in found}

    def _rollouts(self) -> list[int]:
        """How often each Deployment's pods were replaced, and one."""
        found = (self._object(f"deployment/{meta.workload(NAME, worker)}") for worker in WORKERS)
        return [int(item["metadata"]["annotations"]["deployment.kubernetes.io/revision"]) for item in found]

    def _taken_up(self, name: str) -> bool:
        """Whether an object's present generation is Ready, and no condition says that something is amiss."""
        found = self._object(name)
        said = {each["type"]: each["status"] for each in found["status"]["conditions"]}
        current = found["status"]["observedGeneration"] == found["metadata"]["generation"]
        return current and said["Ready"] == "True" and "False" not in said.values()

    def _object(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.world.kubectl("get", name, SPACE, "--output=json"))
        return found
