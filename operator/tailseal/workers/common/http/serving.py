"""Runs ASGI applications on uvicorn inside this process: bound first, drained when told, and silent about requests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import weakref
from collections.abc import Callable, Generator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from tailseal.workers.common.http import protocol
from tailseal.workers.common.http.address import Address, UnixAddress
from tailseal.workers.common.http.binding import bind, waiting
from tailseal.workers.common.http.protocol import Protocol, Refusal
from tailseal.workers.common.http.tls import Certificates

KEEP_ALIVE: Final = 75
"""Seconds for which an idle connection is kept: longer than the 60 s of the usual load balancers."""

GRACE: Final = 20
"""Seconds that requests in progress get to end."""

HANDSHAKE_SECONDS: Final = 5.0
"""How long a caller may take for the TLS handshake."""

_LOOK_SECONDS: Final = 0.02

MOST_CONNECTIONS: Final = 4096
"""More get 503 at once: each costs memory before it said who it is."""


class Listener:
    """One bound port and the application behind it.

    Args:
        app: the application.
        address: where; bound at once, so that a port in use is known before anything else happens.
        most: connections that are served.
        refused: told of each request that is refused before the application sees it.

    Raises:
        OSError: the address cannot be bound.
    """

    def __init__(
        self,
        app: ASGIApp,
        address: Address | UnixAddress,
        *,
        most: int = MOST_CONNECTIONS,
        refused: Callable[[Refusal], None] = lambda _: None,
    ) -> None:
        self._socket, self.address = bind(address)
        self.scheme = "http"
        config = uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # a forwarded header proves nothing
            limit_concurrency=most,
            backlog=2048,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=GRACE,
        )
        config.load()
        self._server = _Server(config, refused)

    def secure(self, certificates: Certificates) -> None:
        """Speak https; to be called before `run`."""
        self.scheme, self._server.config.ssl = "https", certificates.context

    @property
    def url(self) -> str:
        """Where callers on this machine reach it."""
        return str(self.address) if isinstance(self.address, UnixAddress) else f"{self.scheme}://{self.address}"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._server.server_state.connections)

    async def run(self) -> None:
        """Serve until `stop`; requests in progress are answered first."""
        await self._server.serve(sockets=[self._socket])

    async def accepting(self) -> None:
        """Wait until connections are accepted."""
        await self._server.accepting.wait()

    def wind_down(self) -> None:
        """Answer as before, and close each connection with its next answer, so that callers find another replica."""
        self._server.ending = True

    def stop(self) -> None:
        """Accept nothing new, and answer who is here; where `run` was not called yet, it ends at once."""
        self._server.ending = self._server.should_exit = True

    def close(self) -> None:
        """Let go of the port, if `run` never did."""
        self._socket.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, refused: Callable[[Refusal], None]) -> None:
        super().__init__(config)
        self._refused = refused
        self.ending = False
        self.accepting = asyncio.Event()
        self._accepted: weakref.WeakSet[Protocol] = weakref.WeakSet()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's, but for the time that a handshake may take: until it is over, a connection counts nowhere."""
        loop, config = asyncio.get_running_loop(), self.config
        limit = HANDSHAKE_SECONDS if config.ssl else None
        self.servers = [
            await (loop.create_unix_server if bound.family is socket.AF_UNIX else loop.create_server)(
                self._protocol, sock=bound, ssl=config.ssl, backlog=config.backlog, ssl_handshake_timeout=limit
            )
            for bound in sockets or ()
        ]
        self.started = True
        self.accepting.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's, which knows nothing of those who still shake hands; a tailnet sends callers until we close."""
        last = [caller for bound in sockets or () for caller in waiting(bound, self.config.backlog)]
        for server in self.servers:
            server.close()
        await asyncio.gather(*map(self._take, last), return_exceptions=True)
        while any(each.is_coming for each in self._accepted):  # noqa: ASYNC110 - nobody tells of a failed one
            await asyncio.sleep(_LOOK_SECONDS)
        await super().shutdown(sockets)

    async def _take(self, caller: socket.socket) -> None:
        """Serve a connection that the system accepted and the loop had not."""
        ssl = self.config.ssl
        # Nobody is answered while these shake hands, and the pod's grace runs.
        limit = protocol.LAST_SECONDS if ssl else None
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(self._protocol, caller, ssl=ssl, ssl_handshake_timeout=limit)

    def _protocol(self) -> Protocol:
        made = Protocol(
            refused=self._refused,
            ending=lambda: self.ending,
            config=self.config,
            server_state=self.server_state,
        )
        self._accepted.add(made)
        return made

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to the process: two servers in it must not fight for them."""
        yield
