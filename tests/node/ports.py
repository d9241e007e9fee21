"""Which ports a node in a pod has open to its peers: every one is tried from a peer, and compared with who listens."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Final

from node.mesh import Login
from node.table import FULL, measured
from node.world import until

_KNOCK: Final = Path(__file__).with_name("knock.py")
_TRIED: Final = "1-65535" if FULL else "1-1024"
_ANY: Final = "0.0.0.0"
"""As tailscaled's own port is listed."""

_LISTENING: Final = """
for family in ("tcp", "tcp6"):
    for line in open(f"/proc/net/{family}").read().splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        if state == "0A":
            print(*local.split(":"))
"""


def listening(login: Login) -> set[tuple[str, int]]:
    """Address and port of each listening TCP socket of the pod."""
    found = (line.split() for line in login.execute("python", "-c", _LISTENING).splitlines())
    return {(_address(address), int(port, 16)) for address, port in found}


def only_the_provider(login: Login, port: int) -> None:
    """Try all ports of a provider's node as alice, who may come to each of them: one is the provider.

    Of the others only tailscaled's own for its peers is open, and no token comes from it.
    """
    heard = listening(login)
    pod = login.pod()["status"]["podIP"]
    own = {number for address, number in heard if address == _ANY}
    assert {(pod, 8443), (pod, 9090), (pod, 9002)} <= heard
    assert {address for address, _ in heard} <= {"127.0.0.1", pod, _ANY}
    until(lambda: _open(login, str(port)) == {port}, "the provider's port takes connections")
    ranges = [_TRIED, *(str(number) for _, number in heard)]
    found = _open(login, *ranges)
    assert found - own <= {port}
    for scheme in ("http", "https"):
        for number in own:
            base = f"{scheme}://{login.base.split('//')[1].partition(':')[0]}:{number}"
            assert '"token"' not in login.issued("alice", "--insecure", "--max-time", "5", base=base)[1]
    until(lambda: login.issued("alice")[0] == 200, "it is the provider")
    what = f"{login.mode}: ports {_TRIED} of the node, and all that its pod listens on, tried from a peer"
    measured(
        what, f"open: {port}" + f" and tailscaled's own, {sorted(own)}" * bool(found & own), "the provider's alone"
    )


def _open(login: Login, *ports: str) -> set[int]:
    """Of ports, and ranges such as `1-1024`, those that take a connection of alice's device."""
    device, address = login.device("alice"), login.net.headscale.nodes()[login.name]["ip_addresses"][0]
    argv = device.inside(sys.executable, str(_KNOCK), str(device.proxy), address, *ports)
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(map(int, result.stdout.split()))


def _address(text: str) -> str:
    """As /proc has it: each four bytes in the machine's own order."""
    words = struct.unpack(f">{len(text) // 8}I", bytes.fromhex(text))
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
