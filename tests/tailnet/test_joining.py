"""How a provider's node joins: Tailscale's own containerboot in the environment that we render, with folders moved.

headscale has neither federation nor, in this release, OAuth clients: a stand-in before it checks token and secret as
Tailscale does, and gives out a key of headscale's.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from fakes.tailscale import FEDERATED_ID, SECRET
from tailseal.api import meta
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.cluster.port import Ref
from tailseal.domain.render.common import Provider
from tailseal.domain.render.sidecar import AUTH_FILE, SERVE_SOCKET, Sidecar, container, serve_config
from tailseal.reconcile.identityprovider.tailnet import joining
from tailseal_dev import process
from tailseal_dev.cache import ensure
from tailseal_dev.tailnet import Tailnet
from tailseal_dev.tailnet.net import Member

pytestmark = pytest.mark.tailnet
WITHIN = 180.0
CLUSTER = "https://oidc.cluster.example"
SUBJECT = "system:serviceaccount:identity:login-idp-0"
AUDIENCE = f"api.tailscale.com/{FEDERATED_ID}"
PORT = 8470
ROOT = Path(__file__).parents[2]
GIVEN = ("/etc/tailscale/identity", "/etc/tailscale/auth", "/etc/tailscale/serve")
"""Folders of what the node is given."""

SERVICE, HOST = "svc:login", "login.tn.test"


@dataclass(frozen=True)
class Cluster:
    """Who signs ServiceAccounts' tokens."""

    key: rsa.RSAPrivateKey

    def token(self, **claims: Any) -> str:  # noqa: ANN401 - whatever a claim is
        """As the kubelet puts it into the node's container."""
        now = int(time.time())
        content = {"iss": CLUSTER, "sub": SUBJECT, "aud": [AUDIENCE], "iat": now, "exp": now + 3600, "jti": "1"}
        return jwt.encode(content | claims, self.key, algorithm="RS256", headers={"kid": "cluster"})

    @property
    def jwks(self) -> dict[str, Any]:
        """What Tailscale fetches from the cluster's issuer."""
        public: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [public | {"kid": "cluster"}]}


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster(rsa.generate_private_key(65537, 2048))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def before(net: Tailnet, stack: ExitStack, folder: Path, cluster: Cluster) -> Path:
    """The stand-in, up; the file in which it says what it was asked."""
    identity = {"issuer": CLUSTER, "subject": SUBJECT, "audience": AUDIENCE, "jwks": cluster.jwks}
    identity |= {"scopes": ["auth_keys"], "tags": ["tag:idp"]}
    key = net.key(Member("federated", tags=("tag:idp",)))
    file = folder / "front.json"
    file.write_text(json.dumps({"identity": identity, "client": FEDERATED_ID, "tags": ["tag:idp"], "key": key}))
    argv = [sys.executable, str(ROOT / "tests/tailnet/front.py"), str(PORT), "8443", str(file)]
    front = net.space.start(argv, folder / "front.log", {"PYTHONPATH": str(ROOT / "operator"), "PATH": "/usr/bin:/bin"})
    stack.callback(process.stop, front)
    until(lambda: "ready" in process.tail(folder / "front.log"), "the stand-in is up")
    return file.with_suffix(".asked")


def boots(net: Tailnet, stack: ExitStack, folder: Path, sidecar: Sidecar) -> Path:
    """Start containerboot as in a pod; its log."""
    programs = f"{ensure('containerboot')}:{ensure('tailscale')}"
    moved = {place: str(folder / place[1:].replace("/", "-")) for place in ("/var/lib/tailscale", "/run/tailscale")}
    env = environment(sidecar, {"$(POD_IP)": "127.0.0.1", **dict.fromkeys(GIVEN, str(folder)), **moved})
    for place in moved.values():
        Path(place).mkdir(exist_ok=True)
    ours = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(folder), "TS_DEBUG_USE_DERP_HTTP": "true"}
    ours |= {"TS_NO_LOGS_NO_SUPPORT": "true", "TS_DISABLE_PORTMAPPER": "1", "TS_TAILSCALED_EXTRA_ARGS": "--port=0"}
    log = folder / "containerboot.log"
    # A process namespace of its own: what containerboot started ends with it, as in a container.
    argv = ["unshare", "--pid", "--fork", "--kill-child", "containerboot"]
    stack.callback(process.stop, net.space.start(argv, log, env | ours))
    return log


def environment(sidecar: Sidecar, moved: Mapping[str, str]) -> dict[str, str]:
    """What the container is told, for another place."""
    found = {
        entry["name"]: entry.get("value", "127.0.0.1") for entry in container("login", sidecar, 0, alone=True)["env"]
    }
    for former, place in moved.items():
        found = {name: value.replace(former, place) for name, value in found.items()}
    return found


def federated(**changes: Any) -> Sidecar:  # noqa: ANN401
    given: dict[str, Any] = {
        "image": "none",
        "mode": "Direct",
        "hostname": "federated",
        "by": "id-token",
        "login_server": f"http://127.0.0.1:{PORT}",
        "tags": ["tag:idp"],
        "port": 8444,
        "claimed": True,
        "client_id": FEDERATED_ID,
        "audience": AUDIENCE,
    }
    return Sidecar(**given | changes)


def by_client() -> Sidecar:
    return federated(by="client-secret", client_id="", audience="")


class Holding:
    """The objects of a cluster where somebody has stored the secret of an OAuth client, and nothing else is."""

    def __init__(self, secret: str) -> None:
        data = {"client_secret": base64.b64encode(secret.encode()).decode()}
        self._secret = {"metadata": {"labels": {meta.ALLOW_LABEL: "true"}}, "data": data}

    def get(self, ref: Ref) -> dict[str, Any] | None:
        return self._secret if ref.name == "client" else None


def store(folder: Path, secret: str) -> None:
    """What the operator mounts in the node, with one more word: else it would ask Tailscale itself."""
    auth = {"oauthClientSecretRef": {"name": "client"}}
    spec = {
        "issuer": "https://login.tn.test",
        "signingKeys": [{"name": "corp"}],
        "tailnet": {"mode": "Direct", "port": 8444, "auth": auth, "tags": ["tag:idp"]},
    }
    given = joining(Holding(secret), "identity", "login", IdentityProviderSpec.model_validate(spec))
    assert given is not None
    (folder / AUTH_FILE).write_bytes(given.files[AUTH_FILE] + f"&baseURL=http://127.0.0.1:{PORT}".encode())


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline, f"still waiting until {what}"
        time.sleep(0.05)


def test_a_node_joins_by_its_service_accounts_token_and_nothing_that_is_stored(
    tailnet: Tailnet, stack: ExitStack, tmp_path: Path, cluster: Cluster
) -> None:
    asked = before(tailnet, stack, tmp_path, cluster)
    token = cluster.token()
    (tmp_path / "token").write_text(token)
    log = boots(tailnet, stack, tmp_path, federated())
    until(asked.exists, "it asks")
    until(lambda: json.loads(asked.read_text())["keys"], "it is given a key")
    seen = json.loads(asked.read_text())
    assert [what for what, _ in seen["asked"]] == ["exchange", "key"]
    assert seen["assertions"][0]["sub"] == SUBJECT
    made = seen["asked"][1][1]["capabilities"]["devices"]["create"]
    assert made == {"reusable": False, "ephemeral": False, "preauthorized": True, "tags": ["tag:idp"]}
    # The key is headscale's and good; with a key it lets no node ask for tags, which Tailscale's insists on.
    until(lambda: "requested tags" in log.read_text(), "headscale has looked at the key and refuses the tags")
    assert token not in log.read_text()


@pytest.mark.parametrize(
    "claims",
    [{"aud": ["https://kubernetes.default.svc"]}, {"sub": "system:serviceaccount:identity:default"}, {"exp": 1}],
    ids=["another audience", "another account", "expired"],
)
def test_with_a_token_that_is_not_for_it_a_node_is_refused_and_says_so(
    tailnet: Tailnet, stack: ExitStack, tmp_path: Path, cluster: Cluster, claims: dict[str, Any]
) -> None:
    asked = before(tailnet, stack, tmp_path, cluster)
    token = cluster.token(**claims)
    (tmp_path / "token").write_text(token)
    log = boots(tailnet, stack, tmp_path, federated())
    until(lambda: "token exchange failed with status 403" in log.read_text(), "the node says that it is refused")
    assert json.loads(asked.read_text())["keys"] == 0
    assert token not in log.read_text()


def test_a_node_joins_by_an_oauth_clients_secret_with_a_key_that_lasts(
    tailnet: Tailnet, stack: ExitStack, tmp_path: Path, cluster: Cluster
) -> None:
    asked = before(tailnet, stack, tmp_path, cluster)
    store(tmp_path, SECRET)
    log = boots(tailnet, stack, tmp_path, by_client())
    until(lambda: asked.exists() and json.loads(asked.read_text())["keys"], "it is given a key")
    (_, form), (_, wish) = json.loads(asked.read_text())["asked"][:2]
    assert form == {"grant_type": "client_credentials"}
    made = wish["capabilities"]["devices"]["create"]
    assert made == {"reusable": False, "ephemeral": False, "preauthorized": True, "tags": ["tag:idp"]}
    # As with federation: the key is good, and headscale lets no node that brings one ask for tags.
    until(lambda: "requested tags" in log.read_text(), "headscale has looked at the key and refuses the tags")
    assert SECRET not in log.read_text()


def test_with_a_secret_that_is_nobodys_a_node_is_refused_and_says_so(
    tailnet: Tailnet, stack: ExitStack, tmp_path: Path, cluster: Cluster
) -> None:
    asked = before(tailnet, stack, tmp_path, cluster)
    store(tmp_path, f"{SECRET}-former")
    log = boots(tailnet, stack, tmp_path, by_client())
    until(
        lambda: '"invalid_client" "invalid client credentials"' in log.read_text(), "the node says that it is refused"
    )
    assert json.loads(asked.read_text())["keys"] == 0
    assert SECRET not in log.read_text()


def test_nodes_serve_and_advertise_the_service_that_they_answer_for_together(
    tailnet: Tailnet, stack: ExitStack, tmp_path: Path
) -> None:
    shared = Sidecar("none", "Serve", "shared", "authkey", "http://127.0.0.1:8443", service=SERVICE, host=HOST)
    (tmp_path / AUTH_FILE).write_text(tailnet.key(Member("shared", tags=("tag:idp",))))
    (tmp_path / "serve.json").write_text(serve_config(Provider("ns", "login", "uid"), shared)["data"]["serve.json"])
    boots(tailnet, stack, tmp_path, replace(shared, claimed=True))

    def asked(*command: str) -> dict[str, Any]:
        socket = f"--socket={tmp_path / 'run-tailscale' / 'tailscaled.sock'}"
        result = tailnet.space.run([str(ensure("tailscale") / "tailscale"), socket, *command])
        found: dict[str, Any] = json.loads(result.stdout) if result.returncode == 0 else {}
        return found

    until(lambda: asked("debug", "prefs").get("AdvertiseServices") == [SERVICE], "it advertises the Service")
    stack.callback(tailnet.headscale.delete, "shared")
    (served,) = asked("serve", "status", "--json")["Services"].values()
    assert served["TCP"] == {"443": {"HTTPS": True}}
    assert served["Web"] == {f"{HOST}:443": {"Handlers": {"/": {"Proxy": f"unix:{SERVE_SOCKET}"}}}}
