"""Where a worker listens: one address, named, and never all networks of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

_LAST_PORT: Final = 65_535


class AddressError(ValueError):
    """Not an address that we would listen on."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen.

    Args:
        host: one address of this machine or pod.
        port: 0 lets the system choose.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """`HOST:PORT`; an IPv6 address may stand in brackets or not.

        Raises:
            AddressError: not that, or an address that means all of this machine's.
        """
        host, _, port = text.rpartition(":")
        host = host.strip("[]")
        if not host or not port.isascii() or not port.isdigit() or int(port) > _LAST_PORT:
            raise AddressError(f"{text!r}: HOST:PORT is needed, e.g. 127.0.0.1:8080")
        if _means_all(host):
            raise AddressError(f"{text!r} means every network of this machine: name one address, e.g. the pod's")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A unix socket to listen on: what was left there by a process that is gone is replaced.

    Args:
        path: of the socket; at most 107 bytes.
        mode: its permissions.
    """

    path: str
    mode: int = 0o660

    def __str__(self) -> str:
        return f"unix:{self.path}"


def _means_all(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
