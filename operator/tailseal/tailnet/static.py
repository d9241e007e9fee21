"""Callers from a table, for tests and for a folder served on one's own machine: refuses to be anywhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tailseal.domain.caller import Caller, Known
from tailseal.tailnet import headers
from tailseal.tailnet.addresses import is_loopback
from tailseal.tailnet.errors import NobodyError, Refusal
from tailseal.tailnet.resolve import Ended
from tailseal.tailnet.whois import RUNNING, OwnNode


class MisplacedError(Exception):
    """Made-up callers must not be taken for real ones here."""


class Static:
    """A request names its caller's address in `X-Forwarded-For`, as serve would; without it, it is the first one's.

    Args:
        callers: at least one.
        listens_at: addresses of every listener that will ask.
        environment: of the process.

    Raises:
        MisplacedError: a listener can be reached from elsewhere, or this is a pod.
    """

    def __init__(self, callers: Iterable[Caller], listens_at: Iterable[str], environment: Mapping[str, str]) -> None:
        self._callers = {address: caller for caller in callers for address in caller.node.addresses}
        if "KUBERNETES_SERVICE_HOST" in environment:
            raise MisplacedError("callers from a table are for one's own machine, and this is a pod")
        if reachable := sorted(host for host in listens_at if not is_loopback(host)):
            raise MisplacedError(f"callers from a table need listeners on loopback alone, not {', '.join(reachable)}")
        if not self._callers:
            raise MisplacedError("callers from a table need a table of at least one")

    async def accepted(self, host: str, port: int, ended: Ended | None = None) -> Caller | None:  # noqa: ARG002
        """See `CallerResolver`."""
        if not is_loopback(host):
            raise NobodyError(Refusal.OUTSIDE)
        return next(iter(self._callers.values()))

    async def caller(self, accepted: Caller | None, found: headers.Headers) -> Caller:
        """See `CallerResolver`."""
        if accepted is None:
            raise NobodyError(Refusal.OUTSIDE)
        if not headers.values(found, b"x-forwarded-for"):
            return accepted
        if (caller := self._callers.get(headers.serve_peer(found))) is None:
            raise NobodyError(Refusal.UNKNOWN)
        return caller

    async def again(self, known: Known) -> Caller:
        """See `CallerResolver`."""
        caller = self._callers.get(known.address)
        if caller is None:
            raise NobodyError(Refusal.UNKNOWN)
        if not known.is_of(caller):
            raise NobodyError(Refusal.CHANGED)
        return caller

    async def own_node(self) -> OwnNode:
        """See `CallerResolver`."""
        return OwnNode(RUNNING, "idp.tailnet.example")
