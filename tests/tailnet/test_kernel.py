"""A guarded service at its node's own address: tailscaled has a network interface, and who calls is known by address.

The node has a network namespace of its own and one cable, to where the control server and everybody else are. From
there a neighbour reaches the node's tailnet address as well: Linux answers for its addresses on any interface.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest

from fakes import nginx
from tailnet import world
from tailseal_dev import process
from tailseal_dev.cache import BuildError, ensure
from tailseal_dev.tailnet import Node, Tailnet, why_not
from tailseal_dev.tailnet.headscale import Control
from tailseal_dev.tailnet.net import Member
from tailseal_dev.tailnet.space import ADDRESS, Held, Space

pytestmark = pytest.mark.tailnet
APP = "example.com/cap/app"
TUN = "/dev/net/tun"
WITHIN = 180.0
OUTSIDE, INSIDE = "10.98.0.1", "10.98.0.2"
"""The two ends of the cable."""

LIKE_A_NODE = "100.64.99.99"
"""What networks of pods have, too."""

PLAIN, CREDULOUS = 80, 8080
"""Ports of the service: by a server that leaves headers alone, and by one that has its peers from X-Forwarded-For."""


@dataclass(frozen=True)
class Net:
    """A tailnet in which the node that serves has an interface."""

    tailnet: Tailnet
    node: Node
    address: str

    def url(self, port: int) -> str:
        return f"http://{self.address}:{port}/items/1"

    def by(self, name: str, port: int, *headers: str) -> tuple[int, str]:
        """Status and body, asked by a node; again where busy nodes did not find each other, or say who it is."""
        node, deadline = self.tailnet.nodes[name], time.monotonic() + WITHIN
        while True:
            # By SOCKS: the node's HTTP proxy puts an X-Forwarded-For of its own into every request.
            socks = ("--proxy", f"socks5://127.0.0.1:{node.proxy}")
            result = node.curl(self.url(port), *socks, *WRITE, *_flags(headers))
            if result.returncode == 0 and (found := _read(result.stdout))[0] != 503:
                return found
            assert time.monotonic() < deadline, f"{name} got no answer: {result.stdout}{result.stderr}"
            time.sleep(0.1)

    def by_neighbour(self, port: int, source: str, *headers: str) -> tuple[int, str]:
        """The same over the cable."""
        argv = ["curl", "--silent", "--show-error", "--max-time", "30", "--interface", source, *WRITE]
        result = self.tailnet.space.run([*argv, *_flags(headers), self.url(port)])
        assert result.returncode == 0, result.stderr
        return _read(result.stdout)


WRITE = ("--write-out", "\n%{http_code}")


def _flags(headers: tuple[str, ...]) -> list[str]:
    return [part for header in headers for part in ("--header", header)]


def _read(text: str) -> tuple[int, str]:
    body, _, status = text.rpartition("\n")
    return int(status), body


def until_said(log: Path, what: str, running: Popen[bytes]) -> None:
    deadline = time.monotonic() + WITHIN
    while what not in process.tail(log):
        assert running.poll() is None, process.tail(log)
        assert time.monotonic() < deadline, process.tail(log)
        time.sleep(0.05)


def until_acquainted(net: Net, name: str) -> None:
    """Both ways: who does not know the node yet sends to its address over the cable, as a neighbour does."""
    node, peer = net.node, net.tailnet.nodes[name]
    pairs = (node, peer.addresses[0]), (peer, node.addresses[0])
    deadline = time.monotonic() + WITHIN
    while any(one.whois(address) is None for one, address in pairs) or net.by(name, PLAIN)[0] == 401:
        assert time.monotonic() < deadline, f"{node.name} and {peer.name} do not know each other"
        time.sleep(0.05)


def no_interface() -> str | None:
    """One line that says why a node can have no interface here; None: it can."""
    if reason := why_not():
        return reason
    if os.geteuid() != 0:
        return "a node with a network interface of its own needs root"
    try:
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as error:
        return f"a node with a network interface of its own needs {TUN}: {error.strerror}"
    return None


class Apart(Held):
    """Likewise, and with no name service to reach: with an interface, tailscaled looks after the machine's."""

    def inside(self, argv: Sequence[str]) -> list[str]:
        hidden = 'mount -t tmpfs none /run; mount -t tmpfs none /etc; exec "$@"'
        return super().inside(["unshare", "--mount", "sh", "-ec", hidden, "sh", *argv])


def cabled(stack: ExitStack, tailnet: Tailnet) -> Space:
    """A namespace of its own, with a cable to the tailnet's."""
    log = tailnet.directory / "cabled.log"
    held = tailnet.space.start(["unshare", "--net", "sh", "-c", "echo ready; exec sleep infinity"], log)
    stack.callback(process.stop, held)
    until_said(log, "ready", held)
    own = Held(held.pid)
    ours = f"""
    ip link add cable0 type veth peer name cable1 netns {held.pid}
    ip link set cable0 up
    ip address add {OUTSIDE}/24 dev cable0
    ip address add {LIKE_A_NODE}/32 dev cable0"""
    theirs = f"""
    ip link set lo up
    ip link set cable1 up
    ip address add {INSIDE}/24 dev cable1
    ip route add default via {OUTSIDE}"""
    for space, commands in ((tailnet.space, ours), (own, theirs)):
        result = space.run(["sh", "-ec", commands])
        assert result.returncode == 0, result.stderr
    return own


def serve(stack: ExitStack, net: Net, space: Space, port: int, *flags: str) -> None:
    """The service of the page on guards, at the node's address."""
    (source,) = nginx.blocks("python")
    sight = f"direct({str(net.node.socket)!r}, interface=True)"
    directory = net.tailnet.directory
    (directory / "app.py").write_text(source.replace("behind_serve()", sight).replace("behind_serve", "direct"))
    argv = [sys.executable, "-m", "uvicorn", "app:app", f"--app-dir={directory}", f"--host={net.address}"]
    log = directory / f"service-{port}.log"
    running = space.start(
        [*argv, f"--port={port}", *flags], log, os.environ | {"PYTHONPATH": str(nginx.ROOT / "operator")}
    )
    stack.callback(process.stop, running)
    until_said(log, "Uvicorn running", running)


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    if reason := no_interface():
        pytest.skip(reason)
    policy = world.policy()
    reads = {"action": ["read"], "resources": ["items/1"]}
    policy["grants"].append({"src": ["group:eng"], "dst": ["tag:idp"], "app": {APP: [reads]}})
    control = Control(host=ADDRESS)
    members = [member for member in world.MEMBERS if member.name != "ci"]
    with ExitStack() as stack:
        try:
            tailnet = stack.enter_context(Tailnet(world.USERS, members, policy, control=control))
        except BuildError as error:
            pytest.fail(f"headscale and tailscaled are needed and could not be built: {error}", pytrace=False)
        space = cabled(stack, tailnet)
        node = Node(
            "kernel", Apart(space.pid), ensure("tailscale"), tailnet.directory / "kernel", 1080, control, "tailscale0"
        )
        stack.callback(node.stop)
        node.start()
        # Nothing here is filtered by the node: what is refused is refused by the guard.
        node.up(tailnet.key(Member("kernel", tags=("tag:idp",))), "--netfilter-mode=off")
        known = Net(tailnet, node, node.addresses[0])
        result = tailnet.space.run(["ip", "route", "add", f"{known.address}/32", "via", INSIDE])
        assert result.returncode == 0, result.stderr
        result = space.run(["ip", "route", "add", f"{LIKE_A_NODE}/32", "via", OUTSIDE])
        assert result.returncode == 0, result.stderr
        serve(stack, known, space, PLAIN, "--no-proxy-headers")
        serve(stack, known, space, CREDULOUS, "--forwarded-allow-ips=*")
        for name in ("alice", "bob"):
            until_acquainted(known, name)
        yield known


def test_a_peer_is_known_by_the_address_of_its_node(net: Net) -> None:
    for port in (PLAIN, CREDULOUS):
        assert net.by("alice", port) == (200, "item 1 for userid:1, alice@example.com")
        assert net.by("bob", port)[0] == 403, "he was granted nothing"


@pytest.mark.parametrize("port", [PLAIN, CREDULOUS])
def test_no_header_makes_a_peer_anybody_else(net: Net, port: int) -> None:
    forged = [
        "Tailscale-User-Login: alice@example.com",
        f'Tailscale-App-Capabilities: {{"{APP}": [{{"action": ["*"], "resources": ["*"]}}]}}',
        "Tailseal-Subject: userid:1",
        "Forwarded: for=100.64.99.99",
    ]
    assert net.by("alice", port, *forged) == (200, "item 1 for userid:1, alice@example.com")
    assert net.by("bob", port, *forged)[0] == 403


def test_where_the_server_believes_whom_a_request_names_nobody_is_who_he_says(net: Net) -> None:
    alice = net.tailnet.nodes["alice"].addresses[0]
    assert net.by("bob", PLAIN, f"X-Forwarded-For: {alice}")[0] == 403, "still bob"
    assert net.by("bob", CREDULOUS, f"X-Forwarded-For: {alice}")[0] == 401, "nobody, as the address was in a header"


@pytest.mark.parametrize("source", [OUTSIDE, LIKE_A_NODE])
@pytest.mark.parametrize("port", [PLAIN, CREDULOUS])
def test_a_neighbour_who_is_not_in_the_tailnet_is_nobody(net: Net, port: int, source: str) -> None:
    alice = net.tailnet.nodes["alice"].addresses[0]
    assert net.by_neighbour(port, source)[0] == 401
    forged = (f"X-Forwarded-For: {alice}", "Tailscale-User-Login: alice@example.com")
    assert net.by_neighbour(port, source, *forged)[0] == 401
