"""The examples for a tailnet, on a real one: a GitHub job joins, machines call a service, an agent an MCP server."""

from __future__ import annotations

import json
import os
import shlex
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
import yaml

from tailnet import world
from tailseal_dev import process
from tailseal_dev.tailnet import Node, Tailnet
from tailseal_dev.tailnet.headscale import URL
from tailseal_dev.tailnet.net import Member
from tailseal_dev.tailnet.provider import VERIFIER, Browser, Client, Provider
from tailseal_dev.tailnet.story import bundle

pytestmark = pytest.mark.tailnet
EXAMPLES = Path(__file__).parents[2] / "examples"
ISSUER = "https://login.corp.example:8444"
PORT, GITHUB = 9443, "https://127.0.0.1:9500"
AGENT = Client("agent", "", "http://127.0.0.1:9999/callback")
MCP = "http://mcp.tn.test/mcp"
WITHIN = 180.0


class Place:
    """A tailnet with the examples' grants, provider and services in it.

    Args:
        net: the tailnet.
        provider: of the examples' manifests.
        ca: certificate of who vouches for the issuer of GitHub's.
    """

    def __init__(self, net: Tailnet, provider: Provider, ca: Path) -> None:
        self.net, self.provider, self.ca = net, provider, ca

    def run(self, node: Node, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program on a node, as one with these variables."""
        variables = (f"{name}={value}" for name, value in environment.items())
        argv = ("env", f"ISSUER={self.provider.base}", "BILLING=http://billing.tn.test", *variables, *argv)
        return subprocess.run(node.inside(*argv), capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def place(tailnet: Tailnet) -> Iterator[Place]:
    directory = Path(tempfile.mkdtemp(prefix="examples-"))
    servers, joined = [], [Member(name, tags=(f"tag:{name}",)) for name in ("billing", "mcp")]
    text = (EXAMPLES / "tailnet" / "grants.json").read_text()
    tailnet.set_policy(json.loads(text.replace("tcp:8444", "tcp:80")))  # serve's, as headscale has no certificates
    try:
        for member in joined:
            tailnet.join(member)
        servers.append(_github(tailnet, ca := directory / "ca.crt"))
        jwks = ["curl", "-sf", "--noproxy", "*", "--cacert", str(ca), f"{GITHUB}/.well-known/jwks"]
        until(lambda: tailnet.space.run(jwks).stdout, bool)
        folder = _manifests(tailnet, directory)
        files = bundle.volumes(folder, open_hosts=("127.0.0.1",), extra_ca=ca.read_text())
        provider = Provider(tailnet, tailnet.nodes["idp"], files, directory, issuer=ISSUER, port=PORT)
        provider.start()
        try:
            servers += [_service(provider, "billing", "tailnet", "billing:app", 9100)]
            servers += [_service(provider, "mcp", "mcp", "server:app", 9000)]
            yield Place(tailnet, provider, ca)
        finally:
            provider.stop()
    finally:
        for server in servers:
            process.stop(server)
        tailnet.set_policy(world.policy(rule := world.login_to("grafana")))
        alice = tailnet.nodes["alice"].addresses[0]
        until(lambda: _granted(tailnet.nodes["idp"], alice), lambda found: found == [rule])
        for member in joined:
            tailnet.nodes.pop(member.name).stop()
            tailnet.headscale.delete(member.name)
        shutil.rmtree(directory)


def _granted(node: Node, address: str) -> Any:  # noqa: ANN401 - any JSON value
    return ((node.whois(address) or {}).get("CapMap") or {}).get(world.CAPABILITY)


def _manifests(tailnet: Tailnet, directory: Path) -> Path:
    """The examples', with what is far away here, and the Secret that they name."""
    folder = directory / "manifests"
    folder.mkdir()
    for path in (EXAMPLES / "tailnet").glob("*.yaml"):
        documents = list(yaml.safe_load_all(path.read_text()))
        for spec in (document["spec"] for document in documents):
            spec.get("from", {}).get("github", {})["issuer"] = GITHUB
            for upstream in spec.get("upstreams", ()):
                upstream["headscale"]["apiURL"] = URL
        (folder / path.name).write_text(yaml.safe_dump_all(documents))
    key = str(tailnet.headscale.json("apikeys", "create", "--expiration", "1h"))
    metadata = {"name": "headscale-key", "namespace": "identity", "labels": {"tailseal.dev/allow": "true"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"api_key": key}}
    (folder / "secret.yaml").write_text(yaml.safe_dump(secret))
    return folder


_GITHUB = """
import pathlib, sys, threading
from tailseal_dev.issuer import Issuer
from tailseal_dev.pki import Authority
authority = Authority("github")
with Issuer(port=9500, authority=authority):
    pathlib.Path(sys.argv[1]).write_bytes(authority.certificate)
    threading.Event().wait()
"""


def _github(tailnet: Tailnet, ca: Path) -> subprocess.Popen[bytes]:
    """An issuer shaped like GitHub's, within the namespace, and the certificate of who vouches for it."""
    paths = f"{EXAMPLES.parent / 'dev'}:{EXAMPLES.parent / 'operator'}"
    argv = [sys.executable, "-c", _GITHUB, str(ca)]
    return tailnet.space.start(argv, tailnet.directory / "github.log", os.environ | {"PYTHONPATH": paths})


def _service(provider: Provider, name: str, folder: str, app: str, port: int) -> subprocess.Popen[bytes]:
    """A service of the examples behind `tailscale serve` of its node; it fetches keys over the tailnet."""
    node, log = provider.tailnet.nodes[name], provider.tailnet.directory / f"{name}.service.log"
    argv = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES / folder), "--port", str(port), app]
    variables = {"ISSUER": ISSUER, "JWKS": f"{provider.base}/.well-known/jwks.json", "MCP": MCP}
    variables |= {"PYTHONPATH": str(EXAMPLES.parent / "operator"), "http_proxy": f"http://127.0.0.1:{node.proxy}"}
    running = provider.tailnet.space.start(argv, log, os.environ | variables)
    deadline = time.monotonic() + WITHIN
    while "running on" not in log.read_text():
        assert running.poll() is None, process.tail(log)
        assert time.monotonic() < deadline, process.tail(log)
        time.sleep(0.05)
    node.tailscale("serve", "--bg", "--http=80", f"http://127.0.0.1:{port}")
    return running


def until(ask: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:  # noqa: ANN401 - its answer
    """Two busy nodes may not find each other in time."""
    deadline = time.monotonic() + WITHIN
    while not wanted(found := ask()):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def test_machines_call_a_service_with_tokens_for_it_alone(place: Place) -> None:
    script = str(EXAMPLES / "tailnet" / "call.sh")
    machine, alice = place.net.nodes["ci"], place.net.nodes["alice"]
    done = until(lambda: place.run(machine, "sh", script), lambda done: done.returncode == 0)
    assert done.stdout == "invoices for ci.tn.test tag:ci\n"
    refused = until(lambda: place.run(alice, "sh", script), lambda done: "error: 403" in done.stderr)
    assert refused.stdout == "", "no policy means people"
    for authorization in ("", "Authorization: Bearer x"):
        ask = ("curl", "-sS", "-w", "%{http_code}", "-H", authorization, "http://billing.tn.test/invoices")
        until(lambda ask=ask: place.run(machine, *ask).stdout, lambda said: said.endswith("\n401"))  # type: ignore[misc]


def test_a_github_job_joins_calls_and_leaves_as_its_workflow_says(place: Place, tmp_path: Path) -> None:
    workflow = yaml.safe_load((EXAMPLES / "tailnet" / "workflows" / "deploy.yml").read_text())
    assert workflow["permissions"]["id-token"] == "write"
    steps = {step.get("name"): step.get("run") for step in workflow["jobs"]["deploy"]["steps"]}
    assert list(steps) == [None, "Install", "Join", "Call", "Leave"]
    runner = place.net.stray("ci-8812")
    runner.start()
    shutil.copy(EXAMPLES / "tailnet" / "call.sh", tmp_path)
    tools = {
        "sudo": 'exec "$@"',
        "tailscale": f'exec {shlex.join(runner.command)} "$@"',
    }
    for name, script in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    variables = workflow["env"] | {
        "STS": f"http://127.0.0.1:{PORT}",
        "LOGIN_SERVER": URL,
        "GITHUB_RUN_ID": "8812",
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{GITHUB}/token?api-version=2",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t",
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "no_proxy": "127.0.0.1",
        "CURL_CA_BUNDLE": str(place.ca),
    }

    def step(name: str, **changed: str) -> subprocess.CompletedProcess[str]:
        line = f"cd {tmp_path}\n{steps[name]}"
        return place.run(runner, "bash", "-eo", "pipefail", "-c", line, **variables | changed)

    try:
        done = step("Join")
        assert done.returncode == 0, done.stdout + done.stderr + process.tail(place.provider.log)
        assert place.net.headscale.nodes()["ci-8812"]["tags"] == ["tag:ci"]
        assert not (tmp_path / "key").exists()
        place.net.acquaint(runner)
        called = until(lambda: step("Call", ISSUER=place.provider.base), lambda done: done.returncode == 0)
        assert called.stdout == "invoices for ci-8812.tn.test tag:ci\n"
        assert step("Leave").returncode == 0
        until(place.net.headscale.nodes, lambda nodes: "ci-8812" not in nodes)
    finally:
        place.net.nodes.pop("ci-8812").stop()


def test_an_agent_of_somebody_on_the_tailnet_uses_an_mcp_server(place: Place) -> None:
    alice, provider = place.net.nodes["alice"], place.provider

    def ask(token: str, method: str, *, node: Node = alice) -> tuple[str, str]:
        message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": "whoami"}})
        proof = ("-H", f"Authorization: Bearer {token}") if token else ()
        argv = ("curl", "-sS", "-i", "-w", "\n%{http_code}", "-d", message, *proof, MCP)
        said, _, status = place.run(node, *argv).stdout.rpartition("\n")
        return status, said

    _, said = until(lambda: ask("", "initialize"), lambda answer: answer[0] == "401")
    where = said.partition('resource_metadata="')[2].partition('"')[0]
    found = until(lambda: place.run(alice, "curl", "-sS", where).stdout, lambda text: text.startswith("{"))
    assert json.loads(found) | {"resource": MCP, "authorization_servers": [ISSUER]} == json.loads(found)
    tokens = {}
    for resource in ({"resource": MCP}, {}):
        form = {"grant_type": "authorization_code", "client_id": AGENT.id, "redirect_uri": AGENT.callback}
        form |= {"code": Browser(alice, provider).code(AGENT, "openid", **resource), "code_verifier": VERIFIER}
        answer = json.loads(provider.elsewhere("/token", "--data", urlencode(form | resource))[1])
        tokens[bool(resource)] = answer["access_token"]
    _, said = until(lambda: ask(tokens[True], "tools/call"), lambda answer: answer[0] == "200")
    assert json.loads(said.partition("\n\n")[2])["result"]["content"] == [{"type": "text", "text": "userid:1 by agent"}]
    for other in (tokens[False], "x"):
        _, said = until(lambda other=other: ask(other, "tools/list"), lambda answer: answer[0] == "401")  # type: ignore[misc]
        assert "invalid_token" in said
    elsewhere = ("curl", "-sS", "-w", "%{http_code}", "-H", f"Authorization: Bearer {tokens[True]}")
    ask_billing = (*elsewhere, "http://billing.tn.test/invoices")
    until(lambda: place.run(place.net.nodes["ci"], *ask_billing).stdout, lambda said: said.endswith("\n401"))
    asked = {"client_id": AGENT.id, "redirect_uri": AGENT.callback, "response_type": "code", "scope": "openid"}
    asked |= {"code_challenge": "v" * 43, "code_challenge_method": "S256", "resource": MCP}
    assert provider.asked(place.net.nodes["bob"], f"/authorize?{urlencode(asked)}")[0] == 403, "nothing is granted"
