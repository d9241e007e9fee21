"""Who is calling, in the two listener modes: one of them each listener, never both, and nothing that a caller says.

A lookup that finds nothing makes tailscaled sleep for 180 ms with everything locked, if it was asked about an address
with a port. So that is done once a connection, on the one listener that can be reached in no other way, one at a time,
and not for a connection that has ended, which tailscaled forgets; all other questions are about addresses alone, and
only about those that nodes have. After such a sleep the daemon is left alone for as long again, so that questions about
addresses are answered among whatever strangers do. New connections wait for their turn: programs of this very host,
of which tailscaled knows nothing, hold them up by each request, as each comes by a connection that is new.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from tailseal.domain.caller import Address, Caller, Known
from tailseal.tailnet import headers, whois
from tailseal.tailnet.addresses import is_loopback, tailnet_address
from tailseal.tailnet.errors import NobodyError, Outage, Refusal, UnavailableError
from tailseal.tailnet.localapi import LocalApi

Clock = Callable[[], float]
"""Unix seconds."""

Ended = Callable[[], bool]
"""Whether a connection has ended by now."""

_STATE_HOLDS: Final = 1.0
"""Seconds for which our own node's state is taken for what it was, as long as it answers who others are."""

_REST: Final = 0.2
"""Seconds for which tailscaled is left alone after it slept over a connection: as long as it could answer nobody."""


class CallerResolver(Protocol):
    """Who is calling. A listener asks `accepted` once a connection and `caller` for each request on it."""

    async def accepted(self, host: str, port: int, ended: Ended | None = None) -> Caller | None:
        """Who opened a connection; None: its requests will tell.

        Args:
            host: the peer's address as the socket has it.
            port: the peer's port.
            ended: looked at before and after somebody is asked by the port, which may be another's then; None: the
                server does not tell.

        Raises:
            NobodyError: nobody that the tailnet knows, or nobody any more.
            UnavailableError: nobody can say.
        """
        ...

    async def caller(self, accepted: Caller | None, found: headers.Headers) -> Caller:
        """Who sent a request.

        Args:
            accepted: what `accepted` answered for the connection.
            found: the request's headers as they came.

        Raises:
            NobodyError: nobody that the tailnet knows.
            UnavailableError: nobody can say.
        """
        ...

    async def again(self, known: Known) -> Caller:
        """Who it is by now that a session belongs to.

        Raises:
            NobodyError: they are gone, expired, or somebody else: the session ends.
            UnavailableError: nobody can say: the session stays, the request is answered 503.
        """
        ...

    async def own_node(self) -> whois.OwnNode:
        """Our own node, for readiness and for the name that others know it by.

        Raises:
            UnavailableError: nobody can say.
        """
        ...


class _Whois:
    """What both modes ask, each time within the limit of a single request.

    Args:
        api: of the tailscaled beside us.
        service: Tailscale Service that callers come to, such as `svc:idp`: then capabilities are those granted towards
            it; empty: towards the node.
        clock: for nodes' expiry.
    """

    def __init__(self, api: LocalApi, service: str = "", clock: Clock = time.time) -> None:
        self._api, self._clock = api, clock
        self._towards = {"svc_name": service} if service else {}
        self._running_until = 0.0

    async def again(self, known: Known) -> Caller:
        """See `CallerResolver`."""
        caller = await self._by_address(known.address)
        if not known.is_of(caller):
            raise NobodyError(Refusal.CHANGED)
        return caller

    async def own_node(self) -> whois.OwnNode:
        """See `CallerResolver`."""
        return whois.own_node(await self._api.get("status", peers="false"))

    async def _by_address(self, address: Address) -> Caller:
        async with _within(self._api.within):
            answer = await self._whois(str(address))
            await self._need_running(fresh=answer is None)
            if answer is None:
                # A node that has just come up may have known nobody when it was asked.
                answer = await self._whois(str(address))
        caller = self._read(answer)
        if address not in caller.node.addresses:
            raise UnavailableError(Outage.MALFORMED, "the answer is about another address")
        return caller

    async def _whois(self, target: str, **hints: str) -> Any | None:  # noqa: ANN401 - any JSON value
        return await self._api.get("whois", addr=target, **hints, **self._towards)

    async def _need_running(self, *, fresh: bool) -> None:
        """A node that is logged out or stopped goes on answering about others, as they were."""
        now = asyncio.get_running_loop().time()
        if not fresh and now < self._running_until:
            return
        self._running_until = 0.0
        state = (await self.own_node()).state
        if state != whois.RUNNING:
            raise UnavailableError(Outage.NOT_RUNNING, state)
        self._running_until = now + _STATE_HOLDS

    def _read(self, answer: Any | None) -> Caller:  # noqa: ANN401
        if answer is None:
            raise NobodyError(Refusal.UNKNOWN)
        return whois.caller(answer, self._clock())


class Serve(_Whois):
    """Behind `tailscale serve` on a unix socket: whom serve names, for each request.

    Nothing is remembered by connection: serve sends the requests of many callers over one.
    """

    async def accepted(self, host: str, port: int, ended: Ended | None = None) -> Caller | None:  # noqa: ARG002
        """See `CallerResolver`; a unix socket's peers have no addresses."""
        return None

    async def caller(self, accepted: Caller | None, found: headers.Headers) -> Caller:  # noqa: ARG002
        """See `CallerResolver`."""
        return await self._by_address(headers.serve_peer(found))


class Direct(_Whois):
    """On a port of this host that tailnet connections come to as they are: whoever opened the connection.

    Args:
        api: of the tailscaled that forwards to us.
        service: Tailscale Service that callers come to; empty: they come to the node.
        clock: for nodes' expiry.
        interface: whether the listener is bound to tailscaled's own network interface, where peers have their nodes'
            addresses; else it is bound to loopback, where tailscaled forwards to, and such an address is somebody
            else's: networks of pods use the same range.
    """

    def __init__(self, api: LocalApi, service: str = "", clock: Clock = time.time, *, interface: bool = False) -> None:
        super().__init__(api, service, clock)
        self._interface = interface
        self._one_at_a_time = asyncio.Lock()
        self._rests_until = 0.0

    async def accepted(self, host: str, port: int, ended: Ended | None = None) -> Caller | None:
        """See `CallerResolver`."""
        if self._interface and (address := tailnet_address(host)) is not None:
            return await self._by_address(address)
        if self._interface or not is_loopback(host):
            raise NobodyError(Refusal.OUTSIDE)
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        async with _within(self._api.within):
            async with self._one_at_a_time:
                answer = await self._rested(target, ended)
            await self._need_running(fresh=answer is None)
        return self._read(answer)

    async def _rested(self, target: str, ended: Ended | None) -> Any | None:  # noqa: ANN401 - any JSON value
        """Ask about a connection, a while after one that it did not know: others have questions, too.

        It forgets a connection that ends, and anybody can open and end as many as he likes.
        """
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self._rests_until - clock())
        _need_open(ended)
        answer = await self._whois(target, proto="tcp")
        if answer is None:
            self._rests_until = clock() + _REST
        _need_open(ended)
        return answer

    async def caller(self, accepted: Caller | None, found: headers.Headers) -> Caller:  # noqa: ARG002
        """See `CallerResolver`; no header counts. A connection may outlive its node's login and what was granted."""
        if accepted is None:
            raise NobodyError(Refusal.OUTSIDE)
        return await self.again(accepted.known)


class Elsewhere:
    """On any other listener of a worker that is on a tailnet: nobody who comes there can be known.

    What was given over the tailnet is looked after there as well, as applications ask from wherever they are.

    Args:
        over_tailnet: of the listener that people come to.
    """

    def __init__(self, over_tailnet: CallerResolver) -> None:
        self._over_tailnet = over_tailnet

    async def accepted(self, host: str, port: int, ended: Ended | None = None) -> Caller | None:  # noqa: ARG002
        """See `CallerResolver`."""
        return None

    async def caller(self, accepted: Caller | None, found: headers.Headers) -> Caller:  # noqa: ARG002
        """See `CallerResolver`; whatever a request says of its sender, it did not come over the tailnet."""
        raise NobodyError(Refusal.OUTSIDE)

    async def again(self, known: Known) -> Caller:
        """See `CallerResolver`."""
        return await self._over_tailnet.again(known)

    async def own_node(self) -> whois.OwnNode:
        """See `CallerResolver`."""
        return await self._over_tailnet.own_node()


def _need_open(ended: Ended | None) -> None:
    if ended is not None and ended():
        raise NobodyError(Refusal.UNKNOWN)


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise UnavailableError(Outage.SLOW) from None
