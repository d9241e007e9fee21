"""Who is calling a guarded service: asked of tailscaled, or read from what `tailscale serve` writes, never believed.

Each way is for one kind of listener, and refuses whatever comes over another. Some ASGI servers let themselves be told
by a header who their peer is: a peer that stands in such a header counts for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from tailseal.domain.caller import Address, Caller
from tailseal.guard.denied import BAD_HEADER, NO_HEADER, Denied, nobody, unavailable
from tailseal.tailnet import CallerResolver, Direct, LocalApi, NobodyError, Refusal, Serve, UnavailableError, headers
from tailseal.tailnet.localapi import SOCKET

Peer = tuple[str, int] | None
"""Address and port as the ASGI server has them; None: a unix socket's, which has none."""

_LOGIN: Final = b"tailscale-user-login"
_FORWARDED: Final = (b"x-forwarded-for", b"forwarded")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is calling.

    Args:
        capabilities: granted towards this node: values by name, any JSON.
        caller: person and node; None: only serve's headers were asked, or nobody is known.
        address: of the node; None: nobody is known.
        login: for people to read: names change hands; empty: a machine.
    """

    capabilities: Mapping[str, tuple[Any, ...]] = field(default_factory=dict, repr=False)
    caller: Caller | None = None
    address: Address | None = None
    login: str = ""

    @property
    def is_anonymous(self) -> bool:
        """Whether the tailnet does not know who it is."""
        return self.address is None


ANONYMOUS: Final = Visitor()


class Sight(Protocol):
    """How a guard learns who is calling."""

    async def visitor(self, peer: Peer, found: headers.Headers) -> Visitor | Denied:
        """Who sent a request, or why nobody can say.

        Args:
            peer: of the connection.
            found: the request's headers as they came.
        """
        ...


def behind_serve(socket: str = SOCKET, *, service: str = "") -> Sight:
    """For a service on a unix socket behind `tailscale serve`: the node that serve names, asked of tailscaled.

    Args:
        socket: of tailscaled.
        service: Tailscale Service that callers come to, such as `svc:app`; empty: they come to the node.
    """
    return _BehindServe(Serve(LocalApi(socket), service))


def direct(socket: str = SOCKET, *, service: str = "", interface: bool = False) -> Sight:
    """For a service that tailnet connections reach as they are: who opened the connection, asked of tailscaled.

    Args:
        socket: of tailscaled.
        service: Tailscale Service that callers come to; empty: they come to the node.
        interface: whether the service listens at the node's own tailnet address; else on loopback, where tailscaled in
            userspace mode forwards to.
    """
    return _Directly(Direct(LocalApi(socket), service, interface=interface), interface)


def serve_headers() -> Sight:
    """For a service on a unix socket behind `tailscale serve --accept-app-caps=…`: serve's word, and nobody asked.

    An expired node keeps its capabilities this way until the tailnet cuts it off.
    """
    return _ServeHeaders()


@dataclass(frozen=True, slots=True)
class Proxied:
    """For a guard that a proxy asks: the node that the proxy had the request from.

    Args:
        resolver: for nodes by address.
    """

    resolver: Serve

    async def visitor(self, peer: Peer, found: headers.Headers) -> Visitor | Denied:  # noqa: ARG002 - the protocol's
        """See `Sight`; the peer is the proxy."""
        return await _asked(self.resolver, None, found)


CONNECTION: Final = b"tailseal-connection"
"""Header in which a proxy tells the connection that it has a request from: address and port."""


@dataclass(frozen=True, slots=True)
class ProxiedConnection:
    """For a guard that a proxy on loopback asks, whose connections tailscaled forwards.

    Args:
        resolver: for connections.
    """

    resolver: Direct

    async def visitor(self, peer: Peer, found: headers.Headers) -> Visitor | Denied:  # noqa: ARG002 - the protocol's
        """See `Sight`; the peer is the proxy."""
        told = headers.values(found, CONNECTION)
        host, _, port = told[0].decode("ascii", "replace").rpartition(":") if len(told) == 1 else ("", "", "")
        if not (host and port.isascii() and port.isdigit()):
            return nobody(Refusal.OUTSIDE)
        return await _asked(self.resolver, (host.strip("[]"), int(port)), ())


@dataclass(frozen=True, slots=True)
class ProxiedHeaders:
    """For a guard that a proxy asks which passes on what serve wrote."""

    async def visitor(self, peer: Peer, found: headers.Headers) -> Visitor | Denied:  # noqa: ARG002 - the protocol's
        """See `Sight`; the peer is the proxy."""
        return _read(found)


@dataclass(frozen=True, slots=True)
class _BehindServe:
    resolver: Serve

    async def visitor(self, peer: Peer, found: headers.Headers) -> Visitor | Denied:
        return nobody(Refusal.OUTSIDE) if peer is not None else await _asked(self.resolver, None, found)


@dataclass(frozen=True, slots=True)
class _ServeHeaders:
    async def visitor(self, peer: Peer, found: headers.Headers) -> Visitor | Denied:
        return nobody(Refusal.OUTSIDE) if peer is not None else _read(found)


@dataclass(frozen=True, slots=True)
class _Directly:
    resolver: Direct
    interface: bool

    async def visitor(self, peer: Peer, found: headers.Headers) -> Visitor | Denied:
        if peer is None or not peer[1] or self._is_told(peer, found):
            return nobody(Refusal.OUTSIDE)
        return await _asked(self.resolver, peer, found)

    def _is_told(self, peer: tuple[str, int], found: headers.Headers) -> bool:
        """Whether the server may have the peer from a header: of its address and port, what whois will go by."""
        told = (peer[0] if self.interface else f":{peer[1]}").encode()
        return any(told in value for name in _FORWARDED for value in headers.values(found, name))


async def _asked(resolver: CallerResolver, peer: Peer, found: headers.Headers) -> Visitor | Denied:
    try:
        accepted = await resolver.accepted(*peer) if peer is not None else None
        caller = await resolver.caller(accepted, found)
    except NobodyError as error:
        return nobody(error.reason)
    except UnavailableError as error:
        return unavailable(error.reason)
    login = caller.user.login if caller.user is not None else ""
    return Visitor(caller.capabilities, caller, caller.node.addresses[0], login)


def _read(found: headers.Headers) -> Visitor | Denied:
    try:
        address = headers.serve_peer(found)
    except NobodyError as error:
        return nobody(error.reason)
    try:
        granted = headers.app_capabilities(found)
        login = [headers.decoded(value.decode("ascii")) for value in headers.values(found, _LOGIN)]
    except ValueError:
        return BAD_HEADER
    if granted is None:
        return NO_HEADER
    return Visitor(granted, None, address, login[0] if len(login) == 1 else "")
