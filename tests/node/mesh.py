"""A tailnet around the real node: its control server on the node, a person's device, a stranger's, and manifests."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from fakes import idp
from node.world import PROVIDERS, SPACE, World, until
from tailseal_dev import pki
from tailseal_dev.realnode import config, images
from tailseal_dev.tailnet import Node, Tailnet
from tailseal_dev.tailnet.headscale import DOMAIN, Control
from tailseal_dev.tailnet.net import Member, User
from tailseal_dev.tailnet.space import Held

PORT: Final = 8444
CLIENT: Final = "app"
AUDIENCE: Final = "https://billing.example"
API: Final = "/run/tailscale/tailscaled.sock"
_BUSY: Final = {0, 502, 503}
"""Two busy nodes do not find each other in time, nor a busy tailscaled its tongue."""

_BUSY_TIMES: Final = 5
_CONTROL_PORT: Final = 8440
_CAPABILITY: Final = "tailseal.dev/cap/idp"
_CLASS: Final = "by-hand"

POLICY: Final[Mapping[str, Any]] = {
    "groups": {"group:eng": ["alice@example.com"]},
    "tagOwners": {"tag:idp": ["alice@example.com"]},
    "grants": [
        # Every port: whatever is shut is shut by the pod, and not by the policy file.
        {"src": ["autogroup:member"], "dst": ["tag:idp"], "ip": ["*"]},
        {"src": ["autogroup:member"], "dst": ["autogroup:member"], "ip": ["tcp:9"]},
        {
            "src": ["group:eng"],
            "dst": ["tag:idp"],
            "app": {
                _CAPABILITY: [
                    {
                        "v": 1,
                        "allow": [{"action": ["login"], "resource": ["*"]}],
                        "claims": {"groups": ["eng"]},
                        "scopes": ["offline_access"],
                    }
                ]
            },
        },
    ],
}
STORAGE: Final = f"""\
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: {_CLASS}}}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
"""


def control(directory: Path) -> tuple[Control, bytes]:
    """Where the control server will be, and the authority that vouches for it."""
    authority = pki.Authority("tailseal-node-tailnet")
    ca = directory / "ca.crt"
    ca.write_bytes(authority.certificate)
    certificate = authority.server([config.ADDRESS]).write(directory, "headscale")
    return Control(config.ADDRESS, _CONTROL_PORT, certificate, ca), authority.certificate


def issuer(name: str) -> str:
    """Of a provider in mode `Direct`."""
    return f"https://{name}.{DOMAIN}:{PORT}"


def around(world: World, directory: Path, policy: Mapping[str, Any] = POLICY) -> tuple[Tailnet, Control]:
    """The tailnet, not up yet; the image of its nodes is on the node."""
    place, ca = control(directory)
    world.node.load(images.sidecar(ca, directory))
    users = [User("alice", "alice@example.com", "Alice Ä"), User("bob", "bob@example.com")]
    members = [Member("alice", "alice"), Member("bob", "bob")]
    return Tailnet(users, members, policy, Held(world.node.pid), place), place


@dataclass(frozen=True, slots=True)
class Login:
    """An identity provider on the tailnet, called as its node is.

    Args:
        world: where its pods are.
        net: the tailnet.
        place: the tailnet's control server.
        name: of the provider and its node.
        mode: `Direct` or `Serve`.
        volumes: with `Direct`: whether it keeps things in volumes.
        sts: whether it has a token service beside, which is no node.
    """

    world: World
    net: Tailnet
    place: Control
    name: str
    mode: str = "Direct"
    volumes: bool = True
    sts: bool = False

    @property
    def issuer(self) -> str:
        """Where people come."""
        return issuer(self.name) if self.mode == "Direct" else f"https://{self.name}.{DOMAIN}"

    @property
    def base(self) -> str:
        """Where this tailnet lets people come: it has no certificates for `serve`."""
        return self.issuer if self.mode == "Direct" else f"http://{self.name}.{DOMAIN}"

    def apply(self) -> None:
        """Make it, with its client, its policy and the volumes that it keeps things in."""
        world = self.world
        key = self.net.key(Member(self.name, tags=("tag:idp",)))
        self._secret("generic", f"{self.name}-joins", f"--from-literal=authkey={key}")
        if self.mode == "Direct" and self.volumes:
            self._volumes()
        if self.mode == "Direct":
            inside = (f"{self.name}-{component}.{PROVIDERS}.svc" for component in ("sts", "idp"))
            certificate, private = world.server([f"{self.name}.{DOMAIN}", *inside], self.name)
            self._secret("tls", f"{self.name}-serving", f"--cert={certificate}", f"--key={private}")
        world.kubectl("apply", "--filename=-", stdin=self.manifest())

    def manifest(self) -> str:
        """The provider, as its page shows it, and who may do what."""
        kept = f"volume: {{size: 16Mi, storageClassName: {_CLASS}}}" if self.mode == "Direct" and self.volumes else ""
        return f"""\
apiVersion: tailseal.dev/v1alpha1
kind: IdentityProvider
metadata: {{name: {self.name}, namespace: {PROVIDERS}}}
spec:
  issuer: {self.issuer}
  signingKeys: [{{name: corp}}]
  sts: {{enabled: {json.dumps(self.sts)}, replicas: 1}}
  idp: {{replicas: 1}}
  tailnet:
    mode: {self.mode}
    {f"port: {PORT}" if self.mode == "Direct" else ""}
    loginServer: {self.place.url}
    auth: {{authKeySecretRef: {{name: {self.name}-joins}}}}
    {kept}
  storage: {{type: SQLite{f", sqlite: {{{kept}}}" if kept else ""}}}
  {f"serving: {{tls: {{secretRef: {{name: {self.name}-serving}}}}}}" if self.mode == "Direct" else ""}
---
apiVersion: tailseal.dev/v1alpha1
kind: OAuthClient
metadata: {{name: {self.name}-app, namespace: {PROVIDERS}}}
spec:
  identityProviderRef: {{name: {self.name}}}
  clientID: {CLIENT}
  type: Public
  redirectURIs: ["{idp.CALLBACK}"]
---
apiVersion: tailseal.dev/v1alpha1
kind: TrustPolicy
metadata: {{name: {self.name}-people, namespace: {PROVIDERS}}}
spec:
  identityProviderRef: {{name: {self.name}}}
  from: {{tailnet: {{users: [alice@example.com]}}}}
  grants:
  - {{name: billing, jwt: {{audiences: ["{AUDIENCE}"], ttl: 1m}}}}
"""

    def delete(self) -> None:
        """Leave nothing of it behind."""
        named = [f"identityprovider/{self.name}", f"oauthclient/{self.name}-app", f"trustpolicy/{self.name}-people"]
        self.world.kubectl("delete", *named, SPACE, "--ignore-not-found", "--wait=false")
        secrets = [f"secret/{self.name}-{what}" for what in ("joins", "serving", "idp-0-tailnet")]
        claims = [f"persistentvolumeclaim/{self.name}-idp-0-{what}" for what in ("state", "tailnet")]
        self.world.kubectl("delete", *secrets, *claims, SPACE, "--ignore-not-found", "--wait=false")

    def pod(self) -> dict[str, Any]:
        """Its pod that is not ending; nothing while there is none."""
        selector = f"--selector=tailseal.dev/identity-provider={self.name},app.kubernetes.io/component=idp"
        listed = json.loads(self.world.kubectl("get", "pods", SPACE, selector, "--output=json"))["items"]
        found = [pod for pod in listed if "deletionTimestamp" not in pod["metadata"]]
        return found[0] if found else {}

    def is_ready(self) -> bool:
        """Whether its pod is."""
        conditions = self.pod().get("status", {}).get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def execute(self, *command: str, container: str = "idp") -> str:
        """Run a command in a container of its pod; what it printed."""
        name = self.pod()["metadata"]["name"]
        return self.world.kubectl("exec", name, SPACE, f"--container={container}", "--", *command)

    def ask(self, who: str, path: str, *arguments: str, base: str = "") -> tuple[int, str]:
        """Status and body that a device gets; 0 where it gets no answer, which is asked for again but elsewhere."""
        extra = ("--cacert", str(self.world.ca), "--write-out", "\n%{http_code}", *arguments)
        for _ in range(1 if base else _BUSY_TIMES):
            result = self.device(who).curl(f"{base or self.base}{path}", *extra)
            body, _, status = result.stdout.rpartition("\n")
            if int(status or 0) not in _BUSY:
                break
        return int(status or 0), body

    def device(self, who: str) -> Node:
        """The node of a person."""
        return self.net.nodes[who]

    def issued(self, who: str, *arguments: str, base: str = "") -> tuple[int, str]:
        """Status and body of asking for a token as whoever calls."""
        return self.ask(who, "/issue", "--request", "POST", *arguments, base=base)

    def knows(self, who: str) -> bool:
        """Whether it knows who calls: a node that has just come up has to hear of its peers."""
        return self.issued(who)[0] in {200, 403}

    def login(self, who: str) -> dict[str, Any]:
        """The tokens that an application gets for a person who says yes in a browser."""
        return self.redeem(who, self.code(who))

    def code(self, who: str) -> dict[str, str]:
        """What an application sends to have them."""
        query = urlencode(idp.authorization(client_id=CLIENT, scope="openid email groups offline_access"))
        status, page = self.ask(who, f"/authorize?{query}", "--include")
        assert status == 200, page
        cookies = "; ".join(re.findall(r"(?im)^set-cookie: ([^;\r]*)", page))
        action, fields = idp.form(httpx.Response(200, text=page))
        sent = ["--header", f"Cookie: {cookies}", "--header", f"Origin: {self.issuer}", "--include"]
        sent += ["--data", urlencode(fields | {"answer": "yes"})]
        status, answer = self.ask(who, urlsplit(action).path, *sent)
        assert status == 303, answer
        (location,) = re.findall(r"(?im)^location: (\S*)", answer)
        code = parse_qs(urlsplit(location).query)["code"][0]
        sent_on = {"grant_type": "authorization_code", "code": code, "redirect_uri": idp.CALLBACK}
        return sent_on | {"client_id": CLIENT, "code_verifier": idp.VERIFIER}

    def redeem(self, who: str, data: Mapping[str, str]) -> dict[str, Any]:
        """What the token endpoint answers."""
        found: dict[str, Any] = json.loads(
            self.ask(who, "/token", "--data", urlencode({"client_id": CLIENT, **data}))[1]
        )
        return found

    def jwks(self, who: str) -> dict[str, Any]:
        """The provider's keys."""
        found: dict[str, Any] = json.loads(self.ask(who, "/.well-known/jwks.json")[1])
        return found

    def up(self, within: float = 60) -> float:
        """Wait until its pod is ready and knows the devices; the seconds that it took."""
        seconds = until(self.is_ready, f"{self.name} is ready", within=within)
        return seconds + until(
            lambda: all(map(self.knows, ("alice", "bob"))), f"{self.name} knows who calls", within=30
        )

    def renew(self, claim: str) -> None:
        """An empty volume for a claim that was deleted, as a cluster would make one."""
        self.world.node.run("sh", "-c", f"rm -rf /var/lib/kept/{claim}/*")
        freed = [{"op": "remove", "path": f"/spec/claimRef/{field}"} for field in ("uid", "resourceVersion")]
        self.world.kubectl("patch", f"persistentvolume/{claim}", "--type=json", f"--patch={json.dumps(freed)}")

    def _secret(self, kind: str, name: str, *content: str) -> None:
        self.world.kubectl("create", "secret", kind, name, SPACE, *content)
        self.world.kubectl("label", "secret", name, SPACE, "tailseal.dev/allow=true")

    def _volumes(self) -> None:
        """A cluster makes these itself; a node alone has to be told of a folder for each claim."""
        for what in ("state", "tailnet"):
            claim = f"{self.name}-idp-0-{what}"
            folder = f"/var/lib/kept/{claim}"
            self.world.node.run("mkdir", "-p", folder)
            self.world.kubectl("apply", "--filename=-", stdin=f"{STORAGE}---\n{_volume(claim, folder)}")


def _volume(claim: str, folder: str) -> str:
    return f"""\
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {claim}}}
spec:
  capacity: {{storage: 16Mi}}
  accessModes: [ReadWriteOnce]
  storageClassName: {_CLASS}
  claimRef: {{namespace: {PROVIDERS}, name: {claim}}}
  local: {{path: {folder}}}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{config.NODE}]}}]
"""
