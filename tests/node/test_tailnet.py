"""Identity providers on a tailnet, in real pods: who calls is known, and nothing that is sent makes it another."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from fakes import idp
from node import mesh, ports
from node.inside import Party
from node.mesh import Login
from node.test_real_node import ACCOUNT, refused
from node.world import PROVIDERS, SPACE, World, measured, until
from tailseal_dev.controlplane import ControlPlaneError
from tailseal_dev.demo.caller import verify
from tailseal_dev.realnode import config
from tailseal_dev.tailnet import Tailnet

pytestmark = [pytest.mark.node, pytest.mark.helm, pytest.mark.tailnet]

EVERYTHING = {"v": 1, "allow": [{"action": ["*"], "resource": ["*"]}]}
FORGED = [
    part
    for header in (
        "X-Forwarded-For: ALICE",
        "X_Forwarded_For: ALICE",
        "X-Real-IP: ALICE",
        "Forwarded: for=ALICE",
        "Tailscale-User-Login: alice@example.com",
        "Tailscale_User_Login: alice@example.com",
        f"Tailscale-App-Capabilities: {json.dumps({'tailseal.dev/cap/idp': [EVERYTHING]})}",
    )
    for part in ("--header", header)
]
NEIGHBOUR = """
import json, ssl, sys, urllib.error, urllib.request
url, headers = sys.argv[1], json.loads(sys.argv[2])
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
try:
    answer = urllib.request.urlopen(urllib.request.Request(url, b"", headers), context=context, timeout=60)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, answer.read().decode()]))
"""
COMMANDS = """
import socket
for request in ("GET /localapi/v0/status", "POST /localapi/v0/logout", "PATCH /localapi/v0/prefs"):
    head = f"{request} HTTP/1.0\\r\\nHost: local-tailscaled.sock\\r\\nContent-Length: 2\\r\\n\\r\\n{{}}"
    with socket.socket(socket.AF_UNIX) as api:
        api.connect("%s")
        api.sendall(head.encode())
        print(api.recv(64).split()[1].decode())
"""


@pytest.fixture(scope="module")
def direct(world: World, net: tuple[Tailnet, mesh.Control]) -> Iterator[Login]:
    """A provider that ends TLS itself, under restricted Pod Security; what it keeps is in volumes."""
    login = Login(world, *net, "login", sts=True)
    login.apply()
    measured("IdentityProvider on a tailnet applied → its pod knows who calls", f"{login.up():.1f} s")
    yield login
    login.delete()


@pytest.fixture(scope="module")
def serve(world: World, net: tuple[Tailnet, mesh.Control]) -> Iterator[Login]:
    """A provider behind `tailscale serve`, applied where its pod is not admitted."""
    login = Login(world, *net, "served", "Serve")
    login.apply()
    yield login
    login.delete()
    _admit(world, "restricted")


def test_it_is_ready_and_status_names_its_node(world: World, direct: Login) -> None:
    world.kubectl("wait", "--for=condition=Ready", "identityprovider/login", SPACE, "--timeout=90s")
    until(lambda: _endpoints(direct).get("tailnet-0") == direct.issuer, "status names the node")
    listed = world.kubectl("get", "idp", "login", SPACE, "--no-headers").split()
    assert listed[:3] == ["login", "True", direct.issuer]
    assert {"TailnetJoined", "Restricted", "IssuerShared"}.isdisjoint(_conditions(direct))


def test_a_person_logs_in_and_the_tokens_verify_with_the_keys_that_are_served(direct: Login) -> None:
    given = direct.login("alice")
    claims = verify(given["id_token"], direct.jwks("alice"), issuer=direct.issuer, audience=mesh.CLIENT)
    assert (claims["sub"], claims["email"], claims["groups"]) == ("userid:1", "alice@example.com", ["eng"])
    assert direct.ask("alice", "/userinfo", "--header", f"Authorization: Bearer {given['access_token']}")[0] == 200
    token = json.loads(direct.issued("alice")[1])["token"]
    assert verify(token, direct.jwks("alice"), issuer=direct.issuer, audience=mesh.AUDIENCE)["sub"] == "userid:1"


def test_an_application_in_the_cluster_and_not_on_the_tailnet_asks_the_service(direct: Login, party: Party) -> None:
    place = f"https://login-idp.{PROVIDERS}.svc"
    assert _endpoints(direct)["idp"] == place
    status, given = party.ask(f"{place}/token", direct.code("alice"))
    assert status == 200, given
    keys = party.ask(f"{place}/.well-known/jwks.json")[1]
    claims = verify(given["id_token"], keys, issuer=direct.issuer, audience=mesh.CLIENT)
    assert claims["email"] == "alice@example.com"
    assert party.ask(f"{place}/userinfo", Authorization=f"Bearer {given['access_token']}")[0] == 200
    renewed = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"], "client_id": mesh.CLIENT}
    assert party.ask(f"{place}/token", renewed)[1]["id_token"]
    status, answer = party.ask(f"{place}/issue", {"audience": mesh.AUDIENCE})
    assert (status, answer["tailseal_reason"]) == (401, "NotFromTailnet")


@pytest.mark.parametrize("component", ["sts", "idp"])
def test_a_pod_that_is_not_on_the_tailnet_exchanges_its_own_token_at_each_service(
    direct: Login, party: Party, component: str
) -> None:
    place = f"https://login-{component}.{PROVIDERS}.svc"
    party.trust("login")
    until(lambda: party.exchange(place, "login")[0] == 200, "the pod's token is exchanged")
    keys, token = party.ask(f"{place}/.well-known/jwks.json")[1], party.exchange(place, "login")[1]["access_token"]
    claims = verify(token, keys, issuer=direct.issuer, audience=mesh.AUDIENCE)
    assert claims["sub"] == f"policy:{PROVIDERS}/shop-at-login"


def test_whom_nothing_is_granted_gets_nothing(direct: Login) -> None:
    assert _refused(direct.issued("bob")) == (403, "NoPolicyMatches")
    status, page = direct.ask("bob", f"/authorize?{_asked()}")
    assert status == 403
    assert "code=" not in page


def test_whatever_is_sent_nobody_becomes_another(world: World, direct: Login) -> None:
    alice = direct.device("alice").addresses[0]
    forged = [part.replace("ALICE", alice) for part in FORGED]
    assert _refused(direct.issued("bob", *forged)) == (403, "NoPolicyMatches")
    assert direct.issued("alice", *(part.replace("ALICE", "100.64.99.99") for part in FORGED))[0] == 200
    # From another pod, which is no node: it has the pod's address, and no way to its loopback.
    headers = dict(part.split(": ", 1) for part in forged if part != "--header")
    neighbour = world.pods("idp")[0]
    for address in (direct.pod()["status"]["podIP"], "login-idp"):
        place = f"{_service(world, address)}:443" if address == "login-idp" else f"{address}:8443"
        arguments = ("python", "-c", NEIGHBOUR, f"https://{place}/issue", json.dumps(headers))
        status, body = json.loads(world.kubectl("exec", neighbour, SPACE, "--container=idp", "--", *arguments))
        assert (status, json.loads(body)["tailseal_reason"]) == (401, "NotFromTailnet")


def test_of_all_ports_only_the_one_that_the_spec_names_is_the_provider(direct: Login) -> None:
    assert ("127.0.0.1", mesh.PORT) in ports.listening(direct)
    ports.only_the_provider(direct, mesh.PORT)


def test_the_worker_may_ask_the_node_and_not_command_it(direct: Login) -> None:
    assert direct.execute("python", "-c", COMMANDS % mesh.API).split() == ["200", "403", "403"]


def test_a_deleted_pod_comes_back_as_the_same_node_and_logins_go_on(direct: Login) -> None:
    given, node, former = direct.login("alice"), direct.net.headscale.nodes()["login"], direct.pod()
    started = time.monotonic()
    direct.world.kubectl("delete", "pod", former["metadata"]["name"], SPACE, "--wait=false")
    until(lambda: direct.pod().get("metadata", former["metadata"]) != former["metadata"], "a new pod", within=90)
    direct.up()
    measured("pod on a tailnet deleted → its successor knows who calls", f"{time.monotonic() - started:.1f} s")
    assert direct.net.headscale.nodes()["login"]["id"] == node["id"]
    assert len([name for name in direct.net.headscale.nodes() if name.startswith("login")]) == 1
    again = direct.redeem("alice", {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]})
    assert verify(again["id_token"], direct.jwks("alice"), issuer=direct.issuer, audience=mesh.CLIENT)
    assert [each["restartCount"] for each in direct.pod()["status"]["containerStatuses"]] == [0]


def test_a_node_that_dies_alone_comes_back_and_the_worker_stays(direct: Login) -> None:
    before = direct.pod()
    _kill(direct, "tailscale")
    started = time.monotonic()
    until(lambda: _restarts(direct)["tailscale"] == 1, "the kubelet starts it again", within=90)
    until(lambda: direct.issued("alice")[0] == 200, "it knows who calls", within=90)
    measured("the node in the pod killed → it knows who calls", f"{time.monotonic() - started:.1f} s")
    assert direct.pod()["metadata"]["uid"] == before["metadata"]["uid"]
    assert _restarts(direct)["idp"] == 0


REFUSED = {
    "another image for the node": ("initContainers/0/image", "evil:1", "may run no image"),
    "another account": ("serviceAccountName", "default", "only under the ServiceAccount of the same name"),
    "another claim": ("volumes/{state}/persistentVolumeClaim/claimName", "others", "its own claims"),
    "a privileged node": ("initContainers/0/securityContext", {"privileged": True}, "no container that is privileged"),
    "a node with rights": (
        "initContainers/0/securityContext/capabilities/add",
        ["NET_ADMIN"],
        "no container that is privileged",
    ),
    "a token for the node": ("automountServiceAccountToken", True, "nor a token for the API server"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_fence_lets_the_operator_write_its_nodes_and_nothing_more(direct: Login, what: str) -> None:
    path, value, complaint = REFUSED[what]
    spec = json.loads(direct.world.kubectl("get", "deployment/login-idp-0", SPACE, "--output=json"))["spec"]
    names = [volume["name"] for volume in spec["template"]["spec"]["volumes"]]
    place = f"/spec/template/spec/{path.format(state=names.index('tailscale-state'))}"
    change = [{"op": "add", "path": place, "value": value}]
    if path == "serviceAccountName":
        change.append({"op": "remove", "path": "/spec/template/spec/serviceAccount"})
    with pytest.raises(ControlPlaneError, match=complaint):
        _as_operator(direct, change)
    _as_operator(direct, [{"op": "add", "path": "/spec/minReadySeconds", "value": 1}])


def test_a_node_is_made_anew_by_deleting_its_claim_and_its_pod(world: World, direct: Login) -> None:
    given, headscale, claim = direct.login("alice"), direct.net.headscale, "login-idp-0-tailnet"
    former = headscale.nodes()["login"]["id"]
    headscale.delete("login")
    started = time.monotonic()
    world.kubectl("delete", f"persistentvolumeclaim/{claim}", SPACE, "--wait=false")
    world.kubectl("delete", "pods", SPACE, "--selector=tailseal.dev/identity-provider=login", "--wait=false")
    phase = ("get", f"persistentvolume/{claim}", "--output=jsonpath={.status.phase}")
    until(lambda: world.kubectl(*phase) == "Released", "the claim is gone", within=120)
    direct.renew(claim)
    direct.up()
    measured("a node's claim and pod deleted → a new node knows who calls", f"{time.monotonic() - started:.1f} s")
    assert headscale.nodes()["login"]["id"] != former
    # Whoever was logged in is looked for by the new node, and found.
    again = direct.redeem("alice", {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]})
    assert again["id_token"]


def test_behind_serve_status_says_what_the_namespace_must_admit_and_then_the_pod_comes_up(
    world: World, serve: Login
) -> None:
    until(lambda: "PodSecurity" in _conditions(serve).get("WorkersAvailable", ""), "the refusal is said", within=90)
    assert "baseline" in _conditions(serve)["Restricted"]
    _admit(world, "baseline")
    until(serve.is_ready, "the pod is ready", within=90)
    until(lambda: _endpoints(serve).get("tailnet-0") == serve.issuer, "status names the node", within=90)
    said = world.kubectl("logs", serve.pod()["metadata"]["name"], SPACE, "--container=tailscale")
    assert "not able to issue TLS certs" in said, "with Tailscale's it would now serve https"


def test_behind_serve_a_root_without_rights_hands_requests_on_through_a_socket(serve: Login) -> None:
    serve.execute(
        "tailscale",
        f"--socket={mesh.API}",
        "serve",
        "--bg",
        "--http=80",
        "unix:/run/tailnet/idp.sock",
        container="tailscale",
    )
    until(lambda: serve.knows("alice"), "it knows who calls", within=90)
    assert json.loads(serve.issued("alice")[1])["token"]
    alice = serve.device("alice").addresses[0]
    assert _refused(serve.issued("bob", *(part.replace("ALICE", alice) for part in FORGED))) == (403, "NoPolicyMatches")
    assert serve.login("alice")["id_token"]
    lines = serve.world.node.run("cat", f"/proc/{_process(serve, 'tailscale')}/status").splitlines()
    facts = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    assert (facts["Uid"][0], int(facts["CapEff"][0], 16), facts["NoNewPrivs"]) == ("0", 0, ["1"])
    assert (facts["CapBnd"], facts["Seccomp"]) == (["0" * 16], ["2"])


def test_behind_serve_of_all_ports_only_the_one_that_serve_was_told_is_the_provider(serve: Login) -> None:
    local = {port for address, port in ports.listening(serve) if address == "127.0.0.1"}
    assert local == set(), "nothing of ours is on loopback, where peers could come by themselves"
    ports.only_the_provider(serve, 80)


def test_behind_serve_a_worker_that_dies_alone_finds_its_socket_again(serve: Login) -> None:
    _kill(serve, "idp")
    until(lambda: _restarts(serve)["idp"] == 1, "the kubelet starts it again", within=90)
    until(lambda: serve.issued("alice")[0] == 200, "requests come through again", within=90)


def test_neither_rights_nor_fence_refused_the_operator_any_of_it(world: World) -> None:
    assert refused(world) == []


def _conditions(login: Login) -> dict[str, str]:
    return {each["type"]: each["message"] for each in _status(login).get("conditions", ())}


def _endpoints(login: Login) -> dict[str, str]:
    return {each["name"]: each["url"] for each in _status(login).get("endpoints", ())}


def _status(login: Login) -> dict[str, Any]:
    obj = json.loads(login.world.kubectl("get", f"identityprovider/{login.name}", SPACE, "--output=json"))
    status: dict[str, Any] = obj.get("status", {})
    return status


def _refused(answer: tuple[int, str]) -> tuple[int, str]:
    return answer[0], json.loads(answer[1])["tailseal_reason"]


def _asked() -> str:
    return urlencode(idp.authorization(client_id=mesh.CLIENT))


def _service(world: World, name: str) -> str:
    return world.kubectl("get", f"service/{name}", SPACE, "--output=jsonpath={.spec.clusterIP}")


def _admit(world: World, level: str) -> None:
    world.kubectl("label", "namespace", PROVIDERS, f"pod-security.kubernetes.io/enforce={level}", "--overwrite")


def _as_operator(login: Login, change: list[dict[str, Any]]) -> None:
    asked = ("--type=json", "--dry-run=server", f"--as={ACCOUNT}", f"--patch={json.dumps(change)}")
    login.world.kubectl("patch", f"deployment/{login.name}-idp-0", SPACE, *asked)


def _statuses(login: Login) -> dict[str, dict[str, Any]]:
    status = login.pod()["status"]
    return {each["name"]: each for each in (*status["initContainerStatuses"], *status["containerStatuses"])}


def _restarts(login: Login) -> dict[str, int]:
    return {name: each["restartCount"] for name, each in _statuses(login).items()}


def _id(login: Login, container: str) -> str:
    return str(_statuses(login)[container]["containerID"]).removeprefix("containerd://")


def _ctr(login: Login, *arguments: str) -> str:
    return login.world.node.run("ctr", f"--address={config.SOCKET}", "--namespace=k8s.io", "tasks", *arguments)


def _kill(login: Login, container: str) -> None:
    _ctr(login, "kill", "--signal=SIGKILL", _id(login, container))


def _process(login: Login, container: str) -> str:
    """Number of a container's first process, as the node counts."""
    return next(line.split()[1] for line in _ctr(login, "ls").splitlines() if line.startswith(_id(login, container)))
