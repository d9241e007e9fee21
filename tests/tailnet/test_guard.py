"""Guarded services on a real tailnet: the one of docs/guard.md in Python, and one behind a real nginx."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from fakes import nginx
from tailnet import world
from tailseal.tailnet import Outage
from tailseal_dev import process
from tailseal_dev.tailnet import Node, Tailnet

pytestmark = pytest.mark.tailnet
APP = "example.com/cap/app"
WITHIN = 180.0


def policy(*grants: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """Alice's group is granted these, beside what the other tests' world has."""
    told = world.policy(world.login_to("grafana"))
    if grants:
        told["grants"].append({"src": ["group:eng"], "dst": ["tag:idp"], "app": {APP: list(grants)}})
    return told


READS_ONE = {"action": ["read"], "resources": ["items/1", "notes/größe"]}


@pytest.fixture(scope="module")
def granted(tailnet: Tailnet) -> Iterator[Callable[..., None]]:
    """Sets what alice is granted, and waits until the node has heard of it."""
    alice = tailnet.nodes["alice"].addresses[0]

    def grant(*grants: Any) -> None:  # noqa: ANN401
        tailnet.set_policy(policy(*grants))
        deadline = time.monotonic() + WITHIN
        while (tailnet.nodes["idp"].whois(alice) or {}).get("CapMap", {}).get(APP, []) != list(grants):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    grant(READS_ONE)
    yield grant
    grant()


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short, as a socket's path is."""
    path = Path(tempfile.mkdtemp(prefix="guarded-"))
    yield path
    shutil.rmtree(path)


def answer(node: Node, url: str, *arguments: str) -> tuple[int, str]:
    """Status and body; again where two busy nodes did not find each other in time, or tailscaled did not answer."""
    deadline = time.monotonic() + WITHIN
    while True:
        result = node.curl(url, "--path-as-is", "--write-out", "\n%{http_code}", *arguments)
        body, _, status = result.stdout.rpartition("\n")
        if result.returncode == 0 and int(status) not in (500, 502) and Outage.SLOW not in body:
            return int(status), body
        assert time.monotonic() < deadline, f"{node.name} got no answer from {url}: {result.stdout}{result.stderr}"
        time.sleep(0.1)


FORGED = [
    part
    for header in (
        "X-Forwarded-For: 100.64.99.99",
        "Tailscale-User-Login: root@example.com",
        'Tailscale-App-Capabilities: {"example.com/cap/app": [{"action": ["*"], "resources": ["*"]}]}',
        'Tailscale_App_Capabilities: {"example.com/cap/app": [{"action": ["*"], "resources": ["*"]}]}',
        "Tailscale_User_Login: root@example.com",
        "Tailseal-Subject: userid:666",
        "X-Forwarded-Uri: /healthz",
        "X_Forwarded_For: 100.64.99.99",
    )
    for part in ("--header", header)
]


class _Served:
    """The service of the page, on uvicorn, beside the node's tailscaled."""

    def __init__(self, tailnet: Tailnet, directory: Path, sight: str, *listen: str) -> None:
        (source,) = nginx.blocks("python")
        source = source.replace("behind_serve", sight.partition("(")[0]).replace(f"{sight.partition('(')[0]}()", sight)
        if sight == "serve_headers()":  # which tell of nobody's node
            source = source.replace("{who.caller.subject}, {who.login}", "{who.login}")
        (directory / "app.py").write_text(source)
        argv = [sys.executable, "-m", "uvicorn", "app:app", f"--app-dir={directory}", *listen]
        environment = os.environ | {"PYTHONPATH": str(nginx.ROOT / "operator")}
        self.log = directory / "service.log"
        self.running: Popen[bytes] = tailnet.space.start(argv, self.log, environment)

    def __enter__(self) -> None:
        deadline = time.monotonic() + WITHIN
        while "Uvicorn running" not in self.log.read_text():
            assert self.running.poll() is None, process.tail(self.log)
            assert time.monotonic() < deadline, process.tail(self.log)
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        process.stop(self.running)


@contextmanager
def _behind_serve(tailnet: Tailnet, directory: Path, how: str) -> Iterator[str]:
    """A service behind serve that sees its callers in that way; where they ask it."""
    idp = tailnet.nodes["idp"]
    sight = f"behind_serve({str(idp.socket)!r})" if how == "asked" else "serve_headers()"
    with _Served(tailnet, directory, sight, "--uds", str(directory / "app.sock"), "--no-proxy-headers"):
        accept = [] if how == "asked" else [f"--accept-app-caps={APP}"]
        idp.tailscale("serve", "--bg", "--http=80", *accept, f"unix:{directory}/app.sock")
        try:
            yield f"http://{idp.host}/items"
        finally:
            idp.tailscale("serve", "reset")


@pytest.mark.parametrize("how", ["asked", "headers"])
def test_behind_serve_a_service_in_python_lets_in_who_was_granted_it(
    tailnet: Tailnet, granted: Callable[..., None], directory: Path, how: str
) -> None:
    alice, bob = (tailnet.nodes[name] for name in ("alice", "bob"))
    with _behind_serve(tailnet, directory, how) as url:
        for sent in ([], FORGED):
            status, body = answer(alice, f"{url}/2", *sent)
            assert (status, json.loads(body)["message"]) == (403, "insufficient permissions")
            status, body = answer(bob, f"{url}/1", *sent)
            message = "missing required capability" if how == "asked" else "missing capabilities header"
            assert (status, json.loads(body)["message"]) == (403 if how == "asked" else 401, message)
            who = "userid:1, alice@example.com" if how == "asked" else "alice@example.com"
            assert answer(alice, f"{url}/1", *sent) == (200, f"item 1 for {who}")
        granted()
        assert answer(alice, f"{url}/1")[0] == 403, "what is withdrawn is gone with the next request"
        granted(READS_ONE)


@pytest.mark.parametrize("how", ["asked", "headers"])
def test_a_megabyte_of_capabilities_lets_in_nobody_and_holds_up_nobody_else(
    tailnet: Tailnet, granted: Callable[..., None], directory: Path, how: str
) -> None:
    alice, bob = (tailnet.nodes[name] for name in ("alice", "bob"))
    with _behind_serve(tailnet, directory, how) as url:
        try:
            granted(READS_ONE | {"note": "x" * 1_000_000})
            seen = {}
            for name, node in (("alice", alice), ("bob", bob)):
                status, body = answer(node, f"{url}/1")
                seen[name] = status, json.loads(body)["reason"]
            if how == "asked":
                assert seen == {"alice": (503, "TailscaledAnswerMalformed"), "bob": (403, "CapabilityMissing")}
            else:
                assert seen == {"alice": (401, "CapabilitiesMalformed"), "bob": (401, "CapabilitiesMissing")}
        finally:
            granted(READS_ONE)


def test_on_loopback_a_service_in_python_knows_its_callers_whatever_they_send(
    tailnet: Tailnet, granted: Callable[..., None], directory: Path
) -> None:
    idp, alice, bob = (tailnet.nodes[name] for name in ("idp", "alice", "bob"))
    with _Served(tailnet, directory, f"direct({str(idp.socket)!r})", "--port", "8080", "--no-proxy-headers"):
        url = f"http://{idp.addresses[0]}:8080/items/1"
        for sent in ([], FORGED):
            assert answer(alice, url, *sent) == (200, "item 1 for userid:1, alice@example.com")
            assert answer(bob, url, *sent)[0] == 403
        neighbour = tailnet.space.run(["curl", "--silent", "--noproxy", "*", "http://127.0.0.1:8080/items/1"])
        assert json.loads(neighbour.stdout)["reason"] == "CallerUnknown"


def test_a_server_that_believes_headers_makes_nobody_somebody_else(
    tailnet: Tailnet, granted: Callable[..., None], directory: Path
) -> None:
    idp, bob = (tailnet.nodes[name] for name in ("idp", "bob"))
    with _Served(tailnet, directory, f"direct({str(idp.socket)!r})", "--port", "8080"):
        for port in ("40000", "0", "8080"):
            status, body = answer(
                bob, f"http://{idp.addresses[0]}:8080/items/1", "--header", f"X-Forwarded-For: 127.0.0.1:{port}"
            )
            assert (status, json.loads(body)["reason"]) == (401, "NotFromTailnet")


@pytest.mark.parametrize("identity", ["address", "connection"])
def test_behind_nginx_a_service_gets_what_its_callers_were_granted(
    tailnet: Tailnet, granted: Callable[..., None], directory: Path, identity: str
) -> None:
    if reason := nginx.why_not():
        pytest.skip(reason)
    idp, alice, bob, machine = (tailnet.nodes[name] for name in ("idp", "alice", "bob", "ci"))
    listen = "" if identity == "address" else "127.0.0.1:8080"
    start = tailnet.space.start
    with nginx.Proxied(directory, idp.socket, 8181, listen=listen, start=start, identity=identity) as proxied:
        if identity == "address":
            idp.tailscale("serve", "--bg", "--http=80", f"unix:{proxied.socket}")
        host = f"http://{idp.host}" if identity == "address" else f"http://{idp.addresses[0]}:8080"
        try:
            for sent in ([], FORGED):
                status, body = answer(alice, f"{host}/items/1", *sent)
                assert status == 200, proxied.log("guard") + proxied.log("nginx")
                told = json.loads(body)["told"]
                assert (told["tailseal-subject"], told["tailseal-login"]) == ("userid:1", "alice@example.com")
                assert answer(alice, f"{host}/items/2", *sent)[0] == 403
                assert answer(alice, f"{host}/x/../items/1", *sent)[0] == 403
                assert answer(bob, f"{host}/items/1", *sent)[0] == 403
                assert json.loads(answer(machine, f"{host}/", *sent)[1])["told"]["tailseal-tags"] == "tag:ci"
        finally:
            if identity == "address":
                idp.tailscale("serve", "reset")
