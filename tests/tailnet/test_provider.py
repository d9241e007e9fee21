"""The identity provider on a real tailnet: tokens for nodes that call, and keys with which new nodes join."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from fakes import bundles, exchange, idp, oauthclients
from tailnet import world
from tailseal.domain.bundle import build
from tailseal.domain.bundle.model import HeadscaleUpstream, PolicyRecord, Settings, Upstream
from tailseal.domain.policy.grants import AUTH_KEY
from tailseal_dev import process
from tailseal_dev.tailnet import Node, Tailnet
from tailseal_dev.tailnet.headscale import URL, TailnetError
from tailseal_dev.tailnet.net import Member

pytestmark = pytest.mark.tailnet
ROOT = Path(__file__).parents[2]
BILLING, WIKI = "https://billing.corp.example", "https://wiki.corp.example"
PORT = 9443
WITHIN = 30.0


def policy(name: str, source: dict[str, Any], **grant: Any) -> PolicyRecord:  # noqa: ANN401 - as in a manifest
    spec = {"identityProviderRef": {"name": "corp"}, "from": source, "grants": [{"name": "g", **grant}]}
    return PolicyRecord(namespace="identity", name=name, uid=f"uid-{name}", generation=1, spec=spec)


def of_ci(**grant: Any) -> PolicyRecord:  # noqa: ANN401
    """Trusts jobs of a CI system whose keys stand in the policy."""
    keys = {"jwks": {"keys": [exchange.jwk(exchange.rsa_key("foreign"), "f1", "RS256")]}}
    return policy(
        "ci", {"oidc": {"issuer": exchange.FOREIGN, "subject": {"exact": "repo:acme/app"}, "keys": keys}}, **grant
    )


POLICIES = (
    policy("people", {"tailnet": {"users": ["*@example.com"]}}, jwt={"audiences": [BILLING, WIKI], "ttl": "5m"}),
    policy("machines", {"tailnet": {"tags": ["tag:ci"]}}, jwt={"audiences": [BILLING], "ttl": "5m"}),
    policy(
        "readers",
        {"tailnet": {"capability": {"action": "login", "resource": "client/grafana"}}},
        jwt={"audiences": ["https://grafana.corp.example"], "ttl": "5m"},
    ),
    of_ci(tailscaleAuthKey={"upstream": "hs", "tags": ["tag:ci"], "ephemeral": True, "expiry": "2m"}),
)


class Provider:
    """The running provider, by the command that a pod runs.

    Args:
        tailnet: that it is part of.
        directory: short, as a socket's path is.
        mode: `Serve` or `Direct`.
    """

    def __init__(self, tailnet: Tailnet, directory: Path, mode: str) -> None:
        self.tailnet, self.node, self.mode = tailnet, tailnet.nodes["idp"], mode
        self.base = f"http://{self.node.host}" + ("" if mode == "Serve" else ":8080")
        self.log, self.bundle = directory / "provider.log", bundles.Mounted(directory / "bundle")
        self.settings = Settings(
            issuer=exchange.OURS,
            namespace="identity",
            name="corp",
            token_endpoint=f"{exchange.OURS}/token",
            subject_audiences=(exchange.OURS,),
            upstreams=(Upstream(name="hs", headscale=HeadscaleUpstream(api_url=URL, credential="hs")),),
            open_hosts=("127.0.0.1",),
            state="SQLite",
        )
        self.bundle.project("signing", idp.signing(exchange.OURS))
        clients = build.clients([oauthclients.record(scopes=["openid", "offline_access"])])[0]
        shards = build.shards(POLICIES).files
        self.bundle.project("policies", build.policies_volume(self.settings, shards, clients))
        key = tailnet.headscale.json("apikeys", "create", "--expiration", "1h")
        self.bundle.project("credentials", {"hs.api_key": key.encode()})
        (directory / "state").mkdir()
        place = f"unix:{directory}/idp.sock" if mode == "Serve" else "127.0.0.1:8080"
        argv = [sys.executable, "-m", "tailseal", "idp", f"--bundle={self.bundle.directory}", f"--tailnet={place}"]
        argv += [f"--localapi={self.node.socket}", f"--listen=127.0.0.1:{PORT}", f"--management=127.0.0.1:{PORT + 1}"]
        argv += [f"--state={directory}/state", f"--socket={directory}/explain.sock"]
        self.running = tailnet.space.start(argv, self.log, os.environ | {"PYTHONPATH": str(ROOT / "operator")})
        deadline = time.monotonic() + WITHIN
        while '"listening"' not in self.log.read_text():
            assert self.running.poll() is None, process.tail(self.log)
            assert time.monotonic() < deadline, process.tail(self.log)
            time.sleep(0.05)
        if mode == "Serve":
            self.node.tailscale("serve", "--bg", "--http=80", f"unix:{directory}/idp.sock")

    def stop(self) -> None:
        if self.mode == "Serve":
            self.node.tailscale("serve", "reset")
        process.stop(self.running)

    def decisions(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if str(line.get("type", "")).startswith("dev.tailseal.exchange.")]

    def asked(self, node: Node, path: str, *arguments: str) -> tuple[int, str]:
        """Status and body, as a program on the node sees them."""
        for _ in range(5):  # two busy nodes may not find each other in time, nor a busy tailscaled its tongue
            result = node.curl(f"{self.base}{path}", "--write-out", "\n%{http_code}", *arguments)
            body, _, status = result.stdout.rpartition("\n")
            if result.returncode == 0 and "TailscaledSlow" not in self._last_line():
                return int(status), body
        raise AssertionError(f"{node.name} got no answer: {result.stdout}{result.stderr}{self.log.read_text()}")

    def _last_line(self) -> str:
        return self.log.read_text().rstrip().rpartition("\n")[2]

    def token(self, node: Node, *arguments: str) -> dict[str, Any]:
        """The claims of the token that a node gets, verified with the keys that it is told."""
        status, body = self.asked(node, "/issue", "--request", "POST", *arguments)
        assert status == 200, body + self.log.read_text()
        keys = KeySet.import_key_set(json.loads(self.asked(node, "/.well-known/jwks.json")[1]))
        found: dict[str, Any] = jwt.decode(json.loads(body)["token"], keys, algorithms=["ES256", "RS256"]).claims
        return found


@pytest.fixture(scope="module", params=["Serve", "Direct"])
def provider(tailnet: Tailnet, request: pytest.FixtureRequest) -> Iterator[Provider]:
    directory = Path(tempfile.mkdtemp(prefix="provider-"))
    running = Provider(tailnet, directory, request.param)
    yield running
    running.stop()
    shutil.rmtree(directory)


def test_a_node_of_a_person_gets_a_token_for_what_a_policy_says(provider: Provider) -> None:
    alice = provider.tailnet.nodes["alice"]
    assert provider.token(alice, "--data", f"audience={WIKI}")["aud"] == WIKI
    found = provider.token(alice, "--data", "policy=identity/people")
    assert (found["sub"], found["user"], found["display_name"]) == ("userid:1", "alice@example.com", "Alice Ä")
    assert found["aud"] == [BILLING, WIKI]
    assert found["exp"] - found["iat"] == 300
    assert (decision := provider.decisions()[-1])["id"] == found["jti"]
    assert (decision["subject"], decision["data"]["policy"]) == ("userid:1", "identity/people")


def test_a_machine_gets_one_as_itself_and_whom_nothing_means_gets_none(provider: Provider) -> None:
    found = provider.token(provider.tailnet.nodes["ci"])
    stable_id = provider.tailnet.headscale.nodes()["ci"]["id"]
    assert (found["sub"], found["node"], found["tags"]) == (f"node:{stable_id}", "ci.tn.test", ["tag:ci"])
    assert "user" not in found
    status, body = provider.asked(provider.tailnet.nodes["bob"], "/issue", "--request", "POST")
    assert (status, json.loads(body)["error"]) == (403, "access_denied")


FORGED = [
    part
    for header in (
        "X-Forwarded-For: 100.64.99.99",
        "X_Forwarded_For: 100.64.99.99",
        "Tailscale-User-Login: root@example.com",
        f"Tailscale-App-Capabilities: {json.dumps({world.CAPABILITY: [world.login_to('grafana')]})}",
    )
    for part in ("--header", header)
]


def test_whatever_a_caller_sends_they_are_who_they_are(provider: Provider) -> None:
    asked = ["--request", "POST", *FORGED]
    assert provider.asked(provider.tailnet.nodes["bob"], "/issue", *asked)[0] == 403
    assert provider.token(provider.tailnet.nodes["ci"], *FORGED)["tags"] == ["tag:ci"]
    neighbour = ["curl", "--silent", "--noproxy", "*", *asked, f"http://127.0.0.1:{PORT}/issue"]
    assert json.loads(provider.tailnet.space.run(neighbour).stdout)["error"] == "access_denied"


_RAW = """
import socket, sys
port, host, first = int(sys.argv[1]), sys.argv[2], sys.argv[3]
with socket.create_connection(("127.0.0.1", port), 10) as raw:
    raw.sendall(f"CONNECT {host} HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n".encode())
    assert b" 200 " in raw.recv(4096)
    request = f"POST /issue HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\nContent-Length: 0\\r\\n\\r\\n"
    raw.sendall(first.encode() + request.encode())
    print(b"".join(iter(lambda: raw.recv(4096), b"")).decode())
"""


def test_who_says_by_the_proxy_protocol_who_they_are_is_not_heard(provider: Provider) -> None:
    ci, bob = (provider.tailnet.nodes[name] for name in ("ci", "bob"))

    where = f"{provider.node.host}:{80 if provider.mode == 'Serve' else 8080}"

    def said(node: Node, first: str) -> str:
        argv = [sys.executable, "-c", _RAW, str(node.proxy), where, first]
        result = subprocess.run(node.inside(*argv), capture_output=True, text=True, check=False, timeout=30)
        return result.stdout + result.stderr

    assert '"token"' in said(ci, ""), "as it is without that line"
    for node in (ci, bob):
        answer = said(node, f"PROXY TCP4 {ci.addresses[0]} {provider.node.addresses[0]} 40000 80\r\n")
        assert " 400 " in answer.partition("\n")[0], answer
        assert '"token"' not in answer


def test_a_grant_that_is_withdrawn_is_gone_with_the_next_call(provider: Provider) -> None:
    alice, ask = provider.tailnet.nodes["alice"], ("--data", "policy=identity/readers")
    assert provider.token(alice, *ask)["aud"] == "https://grafana.corp.example"
    try:
        provider.tailnet.set_policy(world.policy())
        deadline = time.monotonic() + WITHIN
        while provider.asked(alice, "/issue", *ask)[0] != 403:
            assert time.monotonic() < deadline
        policy = provider.tailnet.nodes["idp"].whois(alice.addresses[0])
        assert policy is not None
        assert world.CAPABILITY not in (policy["CapMap"] or {})
    finally:
        provider.tailnet.set_policy(world.policy(world.login_to("grafana")))
        while provider.asked(alice, "/issue", *ask)[0] != 200:
            time.sleep(0.02)


def test_health_goes_by_what_the_node_says(provider: Provider) -> None:
    status, body = provider.asked(provider.tailnet.nodes["alice"], "/_healthz")
    assert (status, json.loads(body)["ok"]) == (200, True)


# ----------------------------------------------------------------------------------------------------------- sessions


@pytest.fixture
def laptop(tailnet: Tailnet, request: pytest.FixtureRequest) -> Iterator[Node]:
    """One more node of alice's, for a test that spoils it."""
    node = tailnet.join(Member(f"laptop{len(tailnet.headscale.nodes())}", "alice"))
    yield node
    node.stop()
    tailnet.nodes.pop(node.name)
    if node.name in tailnet.headscale.nodes():
        tailnet.headscale.delete(node.name)


def logged_in(provider: Provider, node: Node) -> dict[str, Any]:
    """Tokens of an application that somebody at the node logged in to."""
    query = urlencode(idp.authorization(client_id=oauthclients.ID, scope="openid offline_access"))
    deadline = time.monotonic() + WITHIN
    while True:
        status, page = provider.asked(node, f"/authorize?{query}", "--include")
        if status == 200:
            break
        assert time.monotonic() < deadline, page  # the node has just come up: not all have heard of it
        time.sleep(0.1)
    cookies = "; ".join(re.findall(r"(?im)^set-cookie: ([^;\r]*)", page))
    action, fields = idp.form(httpx.Response(200, text=page))
    sent = ["--header", f"Cookie: {cookies}", "--header", f"Origin: {exchange.OURS}", "--include"]
    sent += ["--data", urlencode(fields | {"answer": "yes"})]
    status, answer = provider.asked(node, urlsplit(action).path, *sent)
    assert status == 303, answer
    (location,) = re.findall(r"(?im)^location: (\S*)", answer)
    code = parse_qs(urlsplit(location).query)["code"][0]
    data = {"grant_type": "authorization_code", "code": code, "redirect_uri": idp.CALLBACK}
    return redeemed(provider, data | {"code_verifier": idp.VERIFIER})


def redeemed(provider: Provider, data: dict[str, str]) -> dict[str, Any]:
    """What the application gets at the token endpoint, to which it comes over the cluster's network."""
    argv = ["curl", "--silent", "--noproxy", "*", "--user", f"{oauthclients.ID}:{oauthclients.SECRET}"]
    result = provider.tailnet.space.run([*argv, "--data", urlencode(data), f"http://127.0.0.1:{PORT}/token"])
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def told(provider: Provider, token: str) -> int:
    """Status of userinfo."""
    argv = ["curl", "--silent", "--noproxy", "*", "--output", "/dev/null", "--write-out", "%{http_code}"]
    argv += ["--header", f"Authorization: Bearer {token}", f"http://127.0.0.1:{PORT}/userinfo"]
    return int(provider.tailnet.space.run(argv).stdout)


@pytest.mark.parametrize("end", ["expired", "deleted", "withdrawn"])
def test_a_login_ends_with_its_node_and_with_what_was_granted(provider: Provider, laptop: Node, end: str) -> None:
    given = logged_in(provider, laptop)
    assert told(provider, given["access_token"]) == 200
    given = redeemed(provider, {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]})
    assert given["scope"] == "openid offline_access"
    headscale, before = provider.tailnet.headscale, time.monotonic()
    try:
        if end == "withdrawn":
            provider.tailnet.set_policy(world.policy())
        else:
            (headscale.expire if end == "expired" else headscale.delete)(laptop.name)
        while told(provider, given["access_token"]) == 200:
            assert time.monotonic() - before < WITHIN
            time.sleep(0.02)
        assert told(provider, given["access_token"]) == 401
        refused = redeemed(provider, {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]})
        assert refused["error"] == "invalid_grant"
    finally:
        if end == "withdrawn":
            provider.tailnet.set_policy(world.policy(world.login_to("grafana")))
            ask = ("--data", "policy=identity/readers")
            while provider.asked(provider.tailnet.nodes["alice"], "/issue", *ask)[0] != 200:
                time.sleep(0.02)


# ------------------------------------------------------------------------------------------- keys with which to join


def job_asks(provider: Provider, **claims: object) -> dict[str, Any]:
    """What a CI job gets for its OIDC token."""
    now = int(time.time())
    subject = exchange.token(exchange.claims(iat=now, exp=now + 300, **claims))
    body = exchange.form(subject, requested_token_type=AUTH_KEY).decode()
    argv = ["curl", "--silent", "--noproxy", "*", "--data", body, f"http://127.0.0.1:{PORT}/token"]
    result = provider.tailnet.space.run(argv)
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@pytest.fixture
def machine(tailnet: Tailnet) -> Iterator[Callable[[str], Node]]:
    """Makes nodes that have not joined yet."""
    made: list[Node] = []

    def make(name: str) -> Node:
        node = tailnet.stray(name)
        made.append(node)
        node.start()
        return node

    yield make
    for node in made:
        node.stop()
        tailnet.nodes.pop(node.name)
        if node.name in tailnet.headscale.nodes():
            tailnet.headscale.delete(node.name)


def test_a_job_joins_with_a_key_that_it_got_for_its_token_and_the_key_counts_once(
    provider: Provider, machine: Callable[[str], Node]
) -> None:
    answer = job_asks(provider)
    assert (answer["issued_token_type"], answer["token_type"], answer["expires_in"]) == (AUTH_KEY, "N_A", 120), answer
    runner = machine("runner")
    runner.up(answer["access_token"])
    joined = provider.tailnet.headscale.nodes()["runner"]
    assert (joined["tags"], joined["online"]) == (["tag:ci"], True)
    assert joined["pre_auth_key"]["ephemeral"] is True
    assert not joined["pre_auth_key"].get("reusable")
    # The new node is what its tag says, to the provider as well.
    found = provider.token(runner)
    assert (found["tags"], found["sub"]) == (["tag:ci"], f"node:{joined['id']}")
    (decision,) = [line for line in provider.decisions() if line["data"].get("upstream") == "hs"]
    assert decision["type"].endswith(".granted")
    assert decision["subject"] == "repo:acme/app"
    assert (decision["data"]["policy"], decision["data"]["tags"]) == ("identity/ci", ["tag:ci"])
    assert len(decision["id"]) == 32
    assert answer["access_token"] not in provider.log.read_text()
    with pytest.raises(TailnetError, match=r"(?i)authkey|auth key|pre-?auth|expired|invalid"):
        machine("thief").up(answer["access_token"])
    assert "thief" not in provider.tailnet.headscale.nodes()


def test_the_line_on_the_page_that_a_gitlab_job_runs_lets_its_node_join(
    provider: Provider, machine: Callable[[str], Node], tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "upstreams.md").read_text()
    (block,) = (text for text in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "headscale.corp.example" in text)
    ask, _, join = block.partition("tailscale up ")
    assert "--auth-key=file:key" in join
    now = int(time.time())
    token = exchange.token(exchange.claims(iat=now, exp=now + 300))
    line = f"cd {tmp_path}\n{ask.replace('https://sts.corp.example', f'http://127.0.0.1:{PORT}')}"
    result = provider.tailnet.space.run(["env", "no_proxy=*", f"STS_TOKEN={token}", "sh", "-ec", line])
    assert result.returncode == 0, result.stderr
    runner = machine("gitlab")
    runner.up(f"file:{tmp_path}/key")
    assert provider.tailnet.headscale.nodes()["gitlab"]["tags"] == ["tag:ci"]


def test_a_job_that_no_policy_means_gets_no_key(provider: Provider) -> None:
    answer = job_asks(provider, sub="repo:evil/app")
    assert answer["error"] == "invalid_request"
    assert "access_token" not in answer
