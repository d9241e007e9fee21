"""What leads from one name to several nodes, as a real tailnet sees it: a zone, and not the tailnet's own names."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator

import pytest

from tailnet import world
from tailseal_dev import process
from tailseal_dev.cache import BuildError
from tailseal_dev.tailnet import Node, Tailnet, TailnetError, why_not
from tailseal_dev.tailnet.headscale import Control
from tailseal_dev.tailnet.space import ADDRESS

pytestmark = pytest.mark.tailnet
WITHIN = 180.0
ZONE = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
addresses = [socket.inet_aton(text) for text in sys.argv[2:]]
while True:
    asked, whom = server.recvfrom(512)
    end = asked.index(0, 12) + 5
    found = addresses if asked[end - 4 : end - 2] == bytes((0, 1)) else []
    head = asked[:2] + bytes((0x84, 0, 0, 1, 0, len(found), 0, 0, 0, 0))
    records = [bytes((0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4)) + address for address in found]
    server.sendto(head + asked[12:end] + b"".join(records), whom)
"""
"""A name server that has the same addresses for every name."""


@pytest.fixture
def net() -> Iterator[Tailnet]:
    """One whose nodes ask a name server of ours about a domain."""
    if reason := why_not():
        pytest.skip(reason)
    control = Control(zones={"corp.example": ADDRESS})
    try:
        with Tailnet(world.USERS, world.MEMBERS, world.policy(), control=control) as found:
            yield found
    except BuildError as error:
        pytest.fail(f"headscale and tailscaled are needed and could not be built: {error}", pytrace=False)


def found(node: Node, name: str) -> set[str]:
    """Addresses that programs on the node are told; none where nobody answers."""
    try:
        said = node.tailscale("dns", "query", name)
    except TailnetError:
        return set()
    return set(re.findall(r"TypeA\s+(\S+)", said))


def waited(node: Node, name: str) -> set[str]:
    deadline = time.monotonic() + WITHIN
    while not (seen := found(node, name)):
        assert time.monotonic() < deadline, f"{node.name} finds nothing of {name}"
        time.sleep(0.1)
    return seen


def test_a_zone_leads_to_all_nodes_and_a_name_of_the_tailnets_own_to_one_of_them(net: Tailnet) -> None:
    alice, both = net.nodes["alice"], {net.nodes[name].addresses[0] for name in ("idp", "ci")}
    alice.tailscale("set", "--accept-dns=true")
    zone = net.space.start([sys.executable, "-c", ZONE, ADDRESS, *both], net.directory / "zone.log")
    try:
        assert waited(alice, "login.corp.example") == both
        net.headscale.set_names({"login.tn.test": sorted(both)})
        seen = waited(alice, "login.tn.test")
        assert len(seen) == 1, "tailscaled tells the first of them: a node that is down would be all that people find"
        assert seen < both
    finally:
        process.stop(zone)
