"""What a request knows of the connection that it came by: what is kept with it, and whether it is still there."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any, Final

from tailseal.workers.common.http.wire import Scope

STATE: Final = "connection"
"""Where the server puts it in a request's state."""

_ESTABLISHED: Final = 1
"""tcpi_state, the first byte of TCP_INFO in Linux's tcp(7): other systems have a TCP_INFO too, and count otherwise."""


class Connection:
    """One connection; that of a server which tells nothing is for one request, and never over."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        """By name: what belongs to it, because a port soon belongs to another."""
        self._socket: Any = None
        self._is_lost = False

    def made(self, transport: asyncio.BaseTransport) -> None:
        """Keep its socket: the system is asked, as a transport that reads no more learns nothing of its peer."""
        self._socket = transport.get_extra_info("socket")

    def lost(self) -> None:
        """Let go of the socket, whose number soon is another's; whoever still asks gets the answer from here."""
        self._socket, self._is_lost = None, True

    def is_over(self) -> bool:
        """Whether the peer has closed it, be it half.

        The system knows before we read it, and also where we read no more for the time being.
        """
        if self._socket is None or sys.platform != "linux":
            return self._is_lost
        try:
            state: bytes = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        except OSError:  # a unix socket's
            return self._is_lost
        return state[0] != _ESTABLISHED


def connection_of(scope: Scope) -> Connection:
    """The connection of a request."""
    found: Connection = scope.setdefault("state", {}).setdefault(STATE, Connection())
    return found
