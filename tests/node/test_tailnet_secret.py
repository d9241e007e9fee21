"""A node of the tailnet that keeps its identity in a Secret: it stays who it is; its token is good for nothing else.

And what becomes of its pod while the tailnet does not have it.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from node import mesh
from node.keys import trusting
from node.mesh import Login
from node.table import FULL
from node.test_real_node import refused
from node.test_tailnet import _conditions, _kill, _restarts
from node.world import PROVIDERS, SERVING_PORT, SPACE, SYSTEM, World, measured, until
from tailseal.oauth import code as codes
from tailseal.reconcile.identityprovider.status import MANAGER
from tailseal_dev.controlplane import ControlPlaneError
from tailseal_dev.demo.caller import verify
from tailseal_dev.tailnet import Tailnet

pytestmark = [pytest.mark.node, pytest.mark.helm, pytest.mark.tailnet]

SECRET = "kept-idp-0-tailnet"
NODE = f"system:serviceaccount:{PROVIDERS}:kept-idp-0"
TOKENS = ("/var/run/secrets/kubernetes.io/serviceaccount/token", "/etc/tailscale/auth/auth")


@pytest.fixture(scope="module")
def kept(world: World, net: tuple[Tailnet, mesh.Control]) -> Iterator[Login]:
    """A provider without any volume, under restricted Pod Security."""
    login = Login(world, *net, "kept", volumes=False)
    login.apply()
    login.up()
    yield login
    login.delete()


def test_a_node_writes_who_it_is_into_the_secret_that_the_operator_made(kept: Login) -> None:
    secret = _secret(kept)
    data = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    assert {"_machinekey", "_current-profile", "_profiles", "device_id"} <= data.keys()
    assert data["device_fqdn"].rstrip(".") == f"kept.{mesh.DOMAIN}"
    fields = {entry["manager"]: entry["fieldsV1"] for entry in secret["metadata"]["managedFields"]}
    assert "f:data" not in fields[MANAGER]
    measured("keys of a node's Secret", ", ".join(sorted(data)))


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        (f"get secret/{SECRET}", True),
        (f"update secret/{SECRET}", True),
        (f"patch secret/{SECRET}", True),
        (f"delete secret/{SECRET}", False),
        ("get secret/kept-signing", False),
        ("get secret/kept-joins", False),
        ("list secrets", False),
        ("create secrets", False),
        ("get pods", False),
        ("create events", False),
        ("create serviceaccounts --subresource=token", False),
    ],
)
def test_its_account_may_read_and_write_that_secret_and_nothing_else(kept: Login, asked: str, *, allowed: bool) -> None:
    question = ("auth", "can-i", *asked.split(), SPACE, f"--as={NODE}")
    if allowed:
        assert kept.world.kubectl(*question).strip() == "yes"
    else:
        with pytest.raises(ControlPlaneError):  # "no" is a failure of kubectl
            kept.world.kubectl(*question)


def test_only_the_node_has_the_token(kept: Login) -> None:
    script = f"import os; print([os.path.exists(path) for path in {TOKENS!r}])"
    assert kept.execute("python", "-c", script).strip() == "[False, False]"
    spec = kept.pod()["spec"]
    mounted = {
        container["name"]: {mount["name"] for mount in container["volumeMounts"]}
        for container in (*spec["initContainers"], *spec["containers"])
    }
    assert {name for name, volumes in mounted.items() if "tailscale-token" in volumes} == {"tailscale"}


def test_nothing_that_it_keeps_is_told_to_anybody(kept: Login) -> None:
    world, pod = kept.world, kept.pod()["metadata"]["name"]
    state = b"\n".join(base64.b64decode(value) for value in _secret(kept)["data"].values()).decode()
    private = set(re.findall(r"privkey:[0-9a-f]{64}", state))
    assert len(private) >= 2, "of the machine and of the node"
    said = [world.kubectl("logs", pod, SPACE, f"--container={name}") for name in ("idp", "tailscale")]
    operator = ("logs", "--selector=app.kubernetes.io/name=tailseal", f"--namespace={SYSTEM}", "--tail=-1")
    said += [world.kubectl(*operator), world.kubectl("get", "events", "--all-namespaces", "--output=json")]
    said.append(world.kubectl("get", "identityprovider/kept", SPACE, "--output=json"))
    assert all(len(text) > 100 for text in said)
    for key in private:
        assert not [text for text in said if key in text or key.removeprefix("privkey:") in text]


def test_a_new_pod_is_the_same_node(kept: Login) -> None:
    former, node = kept.pod(), kept.net.headscale.nodes()["kept"]["id"]
    kept.world.kubectl("delete", "pod", former["metadata"]["name"], SPACE, "--wait=false")
    until(lambda: _uid(kept.pod()) not in {"", _uid(former)}, "a new pod", within=60)
    kept.up()
    assert kept.net.headscale.nodes()["kept"]["id"] == node
    assert len([name for name in kept.net.headscale.nodes() if name.startswith("kept")]) == 1
    assert [each["restartCount"] for each in kept.pod()["status"]["initContainerStatuses"]] == [0]


def test_without_its_secret_it_is_a_new_node(kept: Login) -> None:
    headscale, former = kept.net.headscale, kept.pod()
    node = headscale.nodes()["kept"]["id"]
    headscale.delete("kept")
    kept.world.kubectl("delete", f"secret/{SECRET}", SPACE)
    until(lambda: _exists(kept), "the operator makes the Secret anew", within=60)
    kept.world.kubectl("delete", "pod", former["metadata"]["name"], SPACE, "--wait=false")
    until(lambda: _uid(kept.pod()) not in {"", _uid(former)}, "a new pod", within=60)
    kept.up(within=120)
    assert headscale.nodes()["kept"]["id"] != node


def test_a_node_that_does_not_find_its_control_server_makes_its_pod_unready_until_it_does(kept: Login) -> None:
    """One that is there goes on with what it heard last; one that starts has heard nothing."""
    since, code, held, address = time.monotonic(), kept.code("alice"), _held(kept), _address(kept)
    kept.net.headscale.stop()
    try:
        assert kept.is_ready()
        _kill(kept, "tailscale")
        until(lambda: _restarts(kept)["tailscale"] == 1, "the kubelet starts it again", within=90)
        _is_out(kept, address, {since + codes.SECONDS: code, float("inf"): held})
    finally:
        kept.net.headscale.start()
    seconds = _is_back(kept, held)
    seen = "unready; code and refresh token 503, keys served; then the login goes on"
    measured("a node restarted without its control server; that is back → ready, knows who calls", seen, "", seconds)


@pytest.mark.skipif(not FULL, reason="the kubelet waits longer before each of a container's starts")
def test_a_node_that_is_expired_makes_its_pod_unready_until_it_may_join_again(kept: Login) -> None:
    """headscale lets no expired node in, whatever key it brings: it has to be removed there first."""
    since, code, held, address = time.monotonic(), kept.code("alice"), _held(kept), _address(kept)
    kept.net.headscale.expire("kept")
    _is_out(kept, address, {since + codes.SECONDS: code, float("inf"): held})
    kept.net.headscale.delete("kept")
    seconds = _is_back(kept, held)
    seen = "unready; code and refresh token 503, keys served; then the login goes on"
    measured("a node expired; removed at the control server → it joins again, knows who calls", seen, "", seconds)


def test_neither_rights_nor_fence_refused_the_operator_any_of_it(world: World, kept: Login) -> None:
    assert refused(world) == []


def _held(login: Login) -> dict[str, str]:
    """What an application sends to go on with alice's login."""
    given = login.login("alice")
    return {"grant_type": "refresh_token", "refresh_token": given["refresh_token"], "client_id": mesh.CLIENT}


def _address(login: Login) -> str:
    """Where the worker is reached without the tailnet."""
    return f"https://127.0.0.1:{login.world.node.reach(login.pod()['status']['podIP'], SERVING_PORT)}"


def _is_out(login: Login, address: str, grants: Mapping[float, dict[str, str]]) -> None:
    """Its pod is unready, status says why, and whatever needs somebody's identity has to be asked for later.

    Grants are by when they end: a slow machine may take longer than a code lives.
    """
    until(lambda: not login.is_ready(), "the pod is not ready", within=90)
    until(lambda: "TailnetJoined" in _conditions(login), "status says why", within=90)
    trusted = trusting(login.world.ca)
    for ends, data in grants.items():
        answer = httpx.post(f"{address}/token", data=data, verify=trusted, trust_env=False)
        if time.monotonic() < ends:
            assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    assert httpx.get(f"{address}/.well-known/jwks.json", verify=trusted, trust_env=False).status_code == 200
    assert login.issued("alice", "--max-time", "3", base=login.base)[0] in {0, 502, 503}
    assert not login.is_ready()


def _is_back(login: Login, held: dict[str, str]) -> float:
    """Its pod is ready, callers are known, and the login that was there goes on; the seconds that it took."""
    seconds = login.up(within=300)
    again = login.redeem("alice", held)
    claims = verify(again["id_token"], login.jwks("alice"), issuer=login.issuer, audience=mesh.CLIENT)
    assert claims["sub"] == "userid:1"
    until(lambda: "TailnetJoined" not in _conditions(login), "status has nothing to say", within=90)
    assert _restarts(login)["idp"] == 0
    return seconds


def _secret(login: Login) -> dict[str, Any]:
    asked = ("get", f"secret/{SECRET}", SPACE, "--output=json", "--show-managed-fields")
    found: dict[str, Any] = json.loads(login.world.kubectl(*asked))
    return found


def _exists(login: Login) -> bool:
    return bool(login.world.kubectl("get", f"secret/{SECRET}", SPACE, "--ignore-not-found"))


def _uid(pod: dict[str, Any]) -> str:
    return str(pod.get("metadata", {}).get("uid", ""))
