"""The identity provider on a real tailnet: tokens for nodes that call, and keys with which new nodes join."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from fakes import exchange
from tailnet import world
from tailnet.corp import BILLING, CLIENT, PORT, VAULT, WIKI, job_asks, volumes
from tailseal.domain.policy.grants import AUTH_KEY
from tailseal_dev import process
from tailseal_dev.tailnet import Node, Tailnet
from tailseal_dev.tailnet.net import Member
from tailseal_dev.tailnet.provider import Browser, Provider

pytestmark = pytest.mark.tailnet
ROOT = Path(__file__).parents[2]
WITHIN = 180.0


def token(provider: Provider, node: Node, *arguments: str) -> dict[str, Any]:
    """The claims of the token that a node gets, verified with the keys that are served."""
    status, body = provider.asked(node, "/issue", "--request", "POST", *arguments)
    assert status == 200, body + provider.log.read_text()
    return provider.verified(json.loads(body)["token"])


@pytest.fixture(scope="module", params=["Serve", "Direct"])
def provider(tailnet: Tailnet, request: pytest.FixtureRequest) -> Iterator[Provider]:
    directory = Path(tempfile.mkdtemp(prefix="provider-"))
    running = Provider(
        tailnet, tailnet.nodes["idp"], volumes(tailnet), directory, issuer=exchange.OURS, mode=request.param, port=PORT
    )
    running.start()
    yield running
    running.stop()
    shutil.rmtree(directory)


def test_a_node_of_a_person_gets_a_token_for_what_a_policy_says(provider: Provider) -> None:
    alice = provider.tailnet.nodes["alice"]
    assert token(provider, alice, "--data", f"audience={WIKI}")["aud"] == WIKI
    found = token(provider, alice, "--data", "policy=identity/people")
    assert (found["sub"], found["user"], found["display_name"]) == ("userid:1", "alice@example.com", "Alice Ä")
    assert found["aud"] == [BILLING, WIKI]
    assert found["exp"] - found["iat"] == 300
    assert (decision := provider.decisions()[-1])["id"] == found["jti"]
    assert (decision["subject"], decision["data"]["policy"]) == ("userid:1", "identity/people")


def test_a_machine_gets_one_as_itself_and_whom_nothing_means_gets_none(provider: Provider) -> None:
    found = token(provider, provider.tailnet.nodes["ci"])
    stable_id = provider.tailnet.headscale.nodes()["ci"]["id"]
    assert (found["sub"], found["node"], found["tags"]) == (f"node:{stable_id}", "ci.tn.test", ["tag:ci"])
    assert "user" not in found
    status, body = provider.asked(provider.tailnet.nodes["bob"], "/issue", "--request", "POST")
    assert (status, json.loads(body)["error"]) == (403, "access_denied")


def test_the_line_on_the_page_gives_a_service_a_token_for_another(provider: Provider) -> None:
    page = (ROOT / "docs" / "tailnet.md").read_text()
    (line,) = re.findall(r"(?m)^\$ TOKEN=\$\((curl .*)\)$", page)
    line = line.replace("https://idp.tail1234.ts.net", provider.base)
    asked = provider.tailnet.nodes["ci"].inside("sh", "-ec", line)
    deadline = time.monotonic() + WITHIN
    while (given := subprocess.run(asked, capture_output=True, text=True, check=False).stdout).count(".") != 2:
        assert time.monotonic() < deadline, given  # two busy nodes may not find each other in time
    assert provider.verified(given.strip())["aud"] == BILLING


FORGED = [
    part
    for header in (
        "X-Forwarded-For: 100.64.99.99",
        "X_Forwarded_For: 100.64.99.99",
        "Tailscale-User-Login: root@example.com",
        f"Tailscale-App-Capabilities: {json.dumps({world.CAPABILITY: [world.login_to('grafana')]})}",
        f"Tailscale_App_Capabilities: {json.dumps({world.CAPABILITY: [world.login_to('grafana')]})}",
        "Tailscale_User_Login: root@example.com",
    )
    for part in ("--header", header)
]


ENGINEERS = {
    "v": 1,
    "allow": [{"action": ["exchange"], "resource": [f"audience/{VAULT}"]}],
    "claims": {"groups": ["eng"]},
}


def status(provider: Provider, node: Node, form: str, *arguments: str) -> int:
    return provider.asked(node, "/issue", "--request", "POST", "--data", form, *arguments)[0]


def said(provider: Provider, node: Node, form: str, *arguments: str) -> str:
    """Status and error of one try."""
    sent = ("--request", "POST", "--data", form, "--write-out", "\n%{http_code}", *arguments)
    body, _, code = node.curl(f"{provider.base}/issue", *sent).stdout.rpartition("\n")
    return f"{code} {json.loads(body).get('error', '')}".strip() if body.startswith("{") else code


def waited(provider: Provider, node: Node, form: str, wanted: str) -> None:
    deadline = time.monotonic() + WITHIN
    while (seen := said(provider, node, form)) != wanted:
        assert time.monotonic() < deadline, f"still {seen}"
        time.sleep(0.02)


def test_a_group_of_the_policy_file_gets_what_it_was_granted_for_and_no_more(provider: Provider) -> None:
    alice, bob, machine = (provider.tailnet.nodes[name] for name in ("alice", "bob", "ci"))
    ask = f"policy=identity/engineers&audience={VAULT}"
    assert status(provider, alice, ask) == 403
    try:
        provider.tailnet.set_policy(world.policy(world.login_to("grafana"), ENGINEERS))
        waited(provider, alice, ask, "200")
        found = token(provider, alice, "--data", ask)
        assert (found["sub"], found["aud"], found["client_id"]) == ("userid:1", VAULT, "policy:identity/engineers")
        refused = {
            "for another audience": (alice, f"policy=identity/engineers&audience={WIKI}"),
            "for all at once": (alice, "policy=identity/engineers"),
            "by the group's own name, which headscale tells nobody": (alice, ask.replace("engineers", "named")),
            "who is not in it": (bob, ask),
            "a machine": (machine, ask),
        }
        seen = {why: status(provider, node, form, *FORGED) for why, (node, form) in refused.items()}
        assert seen == dict.fromkeys(refused, 403)
    finally:
        provider.tailnet.set_policy(world.policy(world.login_to("grafana")))
    waited(provider, alice, ask, "403 access_denied")


def test_a_machine_is_told_from_another_of_its_tag(provider: Provider, machine: Callable[[str], Node]) -> None:
    one, twin = provider.tailnet.nodes["ci"], machine("twin")
    twin.up(provider.tailnet.key(Member("twin", tags=("tag:ci",))))
    provider.tailnet.acquaint(twin)
    ids = {node.name: f"node:{provider.tailnet.headscale.nodes()[node.name]['id']}" for node in (one, twin)}
    waited(provider, twin, "policy=identity/machines", "200")
    for node in (one, twin):
        found = token(provider, node, "--data", "policy=identity/machines", *FORGED)
        assert (found["sub"], found["tags"]) == (ids[node.name], ["tag:ci"])
    joins = urlencode({"policy": "identity/this-node-joins", "requested_token_type": AUTH_KEY})
    assert token(provider, one, "--data", "policy=identity/this-node")["sub"] == ids["ci"]
    given = provider.asked(one, "/issue", "--request", "POST", "--data", joins)[1]
    assert json.loads(given)["token"].startswith("hskey-auth-")
    for other in (twin, provider.tailnet.nodes["alice"]):
        for form in ("policy=identity/this-node", joins):
            assert status(provider, other, form, *FORGED) == 403


def test_a_megabyte_of_capabilities_names_nobody_and_holds_up_nobody_else(provider: Provider) -> None:
    alice, bob, one = (provider.tailnet.nodes[name] for name in ("alice", "bob", "ci"))
    given = Browser(alice, provider).log_in(CLIENT)
    userinfo = ("/userinfo", "--header", f"Authorization: Bearer {given['access_token']}")
    try:
        provider.tailnet.set_policy(world.policy(world.login_to("grafana"), {"v": 1, "note": "x" * 1_000_000}))
        waited(provider, alice, f"audience={WIKI}", "503 temporarily_unavailable")
        assert answered(provider, *userinfo)[0] == 503, "which ends no session"
        assert token(provider, one)["tags"] == ["tag:ci"]
        assert status(provider, bob, f"audience={WIKI}") == 403
        refusals = [line["data"].get("reason") for line in provider.decisions()]
        assert "TailscaledAnswerMalformed" in refusals
    finally:
        provider.tailnet.set_policy(world.policy(world.login_to("grafana")))
    waited(provider, alice, f"audience={WIKI}", "200")
    assert answered(provider, *userinfo)[0] == 200


def test_whatever_a_caller_sends_they_are_who_they_are(provider: Provider) -> None:
    asked = ["--request", "POST", *FORGED]
    assert provider.asked(provider.tailnet.nodes["bob"], "/issue", *asked)[0] == 403
    assert token(provider, provider.tailnet.nodes["ci"], *FORGED)["tags"] == ["tag:ci"]
    ports = {"for applications": PORT} | ({"of the node": provider.at} if provider.mode == "Direct" else {})
    neighbours = {name: provider.elsewhere("/issue", *asked, port=port) for name, port in ports.items()}
    seen = {name: (code, json.loads(body)["error"]) for name, (code, body) in neighbours.items()}
    assert seen == dict.fromkeys(ports, (401, "access_denied"))


_RAW = """
import socket, sys
port, host, first = int(sys.argv[1]), sys.argv[2], sys.argv[3]
with socket.create_connection(("127.0.0.1", port), 60) as raw:
    raw.sendall(f"CONNECT {host} HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n".encode())
    assert b" 200 " in raw.recv(4096)
    request = f"POST /issue HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\nContent-Length: 0\\r\\n\\r\\n"
    raw.sendall(first.encode() + request.encode())
    print(b"".join(iter(lambda: raw.recv(4096), b"")).decode())
"""


def test_who_says_by_the_proxy_protocol_who_they_are_is_not_heard(provider: Provider) -> None:
    ci, bob = (provider.tailnet.nodes[name] for name in ("ci", "bob"))

    where = f"{provider.node.host}:{provider.at}"

    def said(node: Node, first: str) -> str:
        argv = [sys.executable, "-c", _RAW, str(node.proxy), where, first]
        deadline = time.monotonic() + WITHIN
        while True:
            result = subprocess.run(node.inside(*argv), capture_output=True, text=True, check=False, timeout=300)
            if result.returncode == 0 and " 503 " not in result.stdout.partition("\n")[0]:
                return result.stdout
            assert time.monotonic() < deadline, result.stdout + result.stderr  # busy nodes may not answer in time

    assert '"token"' in said(ci, ""), "as it is without that line"
    for node in (ci, bob):
        answer = said(node, f"PROXY TCP4 {ci.addresses[0]} {provider.node.addresses[0]} 40000 80\r\n")
        assert " 400 " in answer.partition("\n")[0], answer
        assert '"token"' not in answer


_PASSING = """
import socket, sys, time
port, host = int(sys.argv[1]), sys.argv[2]
while True:
    with socket.create_connection(("127.0.0.1", port), 30) as raw:
        raw.sendall(f"CONNECT {host} HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n".encode())
        if b" 200 " in raw.recv(4096):
            raw.sendall(f"POST /issue HTTP/1.1\\r\\nHost: {host}\\r\\nContent-Length: 0\\r\\n\\r\\n".encode())
            print("opened", flush=True)
    time.sleep(0.1)
"""


def test_who_opens_connections_and_closes_them_keeps_nobody_else_out(provider: Provider, tmp_path: Path) -> None:
    alice, bob = (provider.tailnet.nodes[name] for name in ("alice", "bob"))
    where, log = f"{provider.node.host}:{provider.at}", tmp_path / "passing.log"
    passing = provider.tailnet.space.start([sys.executable, "-c", _PASSING, str(bob.proxy), where], log)
    deadline, opened, in_a_row = time.monotonic() + 2 * WITHIN, 0, 0
    try:
        while opened < 50 or in_a_row < 20:  # a busy machine may be late at times, but not for ever
            assert time.monotonic() < deadline, f"{in_a_row} in a row were answered, {opened} were opened and closed"
            answer = said(provider, alice, "policy=identity/people", "--proxytunnel")  # a new connection each time
            in_a_row = in_a_row + 1 if answer == "200" else 0
            opened = log.read_text().count("opened")
    finally:
        process.stop(passing)


def test_a_grant_that_is_withdrawn_is_gone_with_the_next_call(provider: Provider) -> None:
    alice, ask = provider.tailnet.nodes["alice"], ("--data", "policy=identity/readers")
    assert token(provider, alice, *ask)["aud"] == "https://grafana.corp.example"
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


def answered(provider: Provider, path: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Status and body of one try, for who does not come over the tailnet."""
    argv = ["curl", "--silent", "--noproxy", "*", "--write-out", "\n%{http_code}", *arguments]
    said = provider.tailnet.space.run([*argv, f"http://127.0.0.1:{PORT}{path}"]).stdout
    body, _, status = said.rpartition("\n")
    return int(status), json.loads(body or "{}")


def test_while_its_node_is_away_nobody_is_refused_and_logins_outlive_that(provider: Provider) -> None:
    alice, node = provider.tailnet.nodes["alice"], provider.node
    given = Browser(alice, provider).log_in(CLIENT)
    userinfo = ("/userinfo", "--header", f"Authorization: Bearer {given['access_token']}")
    form = urlencode({"grant_type": "refresh_token", "refresh_token": given["refresh_token"]})
    refresh = ("/token", "--user", f"{CLIENT.id}:{CLIENT.secret}", "--data", form)
    assert answered(provider, *userinfo)[0] == 200
    node.stop()
    try:
        for ask in (userinfo, refresh):
            status, body = answered(provider, *ask)
            assert (status, body["error"]) == (503, "temporarily_unavailable"), body
    finally:
        node.start()
    deadline, seen = time.monotonic() + WITHIN, [503]
    while seen[-1] != 200:
        assert time.monotonic() < deadline, f"still {seen[-1]}"
        seen.append(answered(provider, *userinfo)[0])
    assert set(seen[:-1]) == {503}, "neither refused nor taken for somebody"
    again = provider.refreshed(CLIENT, given["refresh_token"])
    assert provider.verified(again["id_token"])["sub"] == "userid:1"
    waited(provider, alice, f"audience={WIKI}", "200")  # till her node finds ours again


def test_health_goes_by_what_the_node_says(provider: Provider) -> None:
    status, body = provider.asked(provider.tailnet.nodes["alice"], "/_healthz")
    assert (status, json.loads(body)["ok"]) == (200, True)


# ------------------------------------------------------------------------------------------- keys with which to join


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


_KEPT = """
import socket, sys
port, host = int(sys.argv[1]), sys.argv[2]
form = "policy=identity/machines"
while True:  # two busy nodes may not find each other in time
    raw = socket.create_connection(("127.0.0.1", port), 120)
    raw.sendall(f"CONNECT {host} HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n".encode())
    answers = raw.makefile("rb")
    if b" 200 " in answers.readline():
        break
while answers.readline().strip():
    pass
for _ in sys.stdin:
    head = f"POST /issue HTTP/1.1\\r\\nHost: {host}\\r\\nContent-Type: application/x-www-form-urlencoded\\r\\n"
    raw.sendall(f"{head}Content-Length: {len(form)}\\r\\n\\r\\n{form}".encode())
    status = answers.readline().split()[1].decode()
    fields = dict(line.lower().strip().split(b": ", 1) for line in iter(answers.readline, b"\\r\\n"))
    answers.read(int(fields[b"content-length"]))
    closed = fields.get(b"connection") == b"close" and not answers.read(1)
    print(status, "closed" if closed else "kept", flush=True)
"""


def test_a_connection_whose_node_changes_hands_is_the_new_owners_or_closed(
    provider: Provider, machine: Callable[[str], Node]
) -> None:
    desk = machine("desk")
    desk.up(provider.tailnet.key(Member("desk", "alice")))
    provider.tailnet.acquaint(desk)
    waited(provider, desk, "policy=identity/people", "200")
    argv = desk.inside(sys.executable, "-uc", _KEPT, str(desk.proxy), f"{provider.node.host}:{provider.at}")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as kept:
        assert kept.stdin is not None
        assert kept.stdout is not None

        def asked(*passing: str) -> str:
            deadline = time.monotonic() + WITHIN
            while True:
                print(file=kept.stdin, flush=True)
                if (seen := kept.stdout.readline().strip()) not in passing:
                    return seen
                assert time.monotonic() < deadline, seen
                time.sleep(0.02)

        assert asked("503 kept") == "403 kept", "a person is no machine"
        provider.tailnet.headscale.tag("desk", "tag:ci")
        assert asked("503 kept", "403 kept") == ("401 closed" if provider.mode == "Direct" else "200 kept")
        kept.stdin.close()
    waited(provider, desk, "policy=identity/machines", "200")


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
