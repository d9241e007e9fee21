"""Loopback addresses as pod addresses: every pod its own, so that all may listen on the same port."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Collection, Iterable

ATTEMPTS = 200


class AddressError(Exception):
    """No address is free for these ports."""


def free_address(ports: Iterable[int], taken: Collection[str]) -> str:
    """An address 127.x.y.z that no pod of ours has and on which nobody listens on these ports.

    Other local nodes may run on the machine: what they took shows by its listening ports, and chance does the rest.
    """
    wanted = list(ports)
    for _ in range(ATTEMPTS):
        address = f"127.{64 + secrets.randbelow(63)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"
        if address not in taken and all(_is_free(address, port) for port in wanted):
            return address
    raise AddressError(f"no loopback address is free for the ports {wanted}")


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True
