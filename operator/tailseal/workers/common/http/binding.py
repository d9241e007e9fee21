"""Binds what a listener listens on, one address of this machine or a unix socket, and empties it at its end."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from tailseal.workers.common.http.address import Address, UnixAddress


def bind(address: Address | UnixAddress) -> tuple[socket.socket, Address | UnixAddress]:
    """The bound socket, and where it is: with the port that the system chose, where that was left to it.

    Raises:
        OSError: it cannot be bound.
    """
    if isinstance(address, UnixAddress):
        return _unix(address), address
    bound = _tcp(address)
    return bound, Address(address.host, bound.getsockname()[1])


def waiting(bound: socket.socket, most: int) -> Iterator[socket.socket]:
    """Connections that the system accepted on a port about to be closed: with the port it would reset them."""
    with contextlib.suppress(OSError):  # none is left, or there is no port any more
        for _ in range(most):
            caller, _ = bound.accept()
            caller.setblocking(False)
            yield caller


def _tcp(address: Address) -> socket.socket:
    unbound = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    unbound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _bound(unbound, (address.host, address.port))


def _unix(address: UnixAddress) -> socket.socket:
    path = Path(address.path)
    if _is_left_over(path):
        path.unlink()
    before = os.umask(0o777 & ~address.mode)  # from the start: nobody connects before the mode is set
    try:
        return _bound(socket.socket(socket.AF_UNIX), address.path)
    finally:
        os.umask(before)


def _bound(unbound: socket.socket, place: tuple[str, int] | str) -> socket.socket:
    try:
        unbound.bind(place)
    except OSError:
        unbound.close()
        raise
    return unbound


def _is_left_over(path: Path) -> bool:
    """Whether there is a socket that nobody listens on."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return stat.S_ISSOCK(path.stat().st_mode)
        except OSError:
            return False
    return False
