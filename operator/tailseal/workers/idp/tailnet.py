"""Puts a worker on the tailnet: one listener where callers are known, and all others where nobody is."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp

from tailseal.tailnet import CallerResolver, Direct, Elsewhere, LocalApi, Serve
from tailseal.workers.common.http.address import Address, UnixAddress
from tailseal.workers.common.worker import Worker
from tailseal.workers.idp import node
from tailseal.workers.idp.app import of_worker
from tailseal.workers.idp.callers import parting


@dataclass(frozen=True, slots=True)
class OnTailnet:
    """What a worker on a tailnet runs.

    Args:
        elsewhere: the endpoints for everybody else.
        over_tailnet: the endpoints for those who come over it.
        watch: tells the operator of our node, for as long as the worker runs.
    """

    elsewhere: ASGIApp
    over_tailnet: ASGIApp
    watch: Callable[[], Coroutine[Any, Any, None]]


def join(worker: Worker, place: Address | UnixAddress, socket: str, service: str = "") -> OnTailnet:
    """The endpoints of a worker whose tailscaled stands beside it.

    Args:
        worker: whose they are.
        place: where it hands callers on: a unix socket for `tailscale serve`, which says in each request whom it is
            from; else a loopback port to which it forwards connections as they are.
        socket: path of its LocalAPI.
        service: Tailscale Service that they come to; empty: to the node.
    """
    api = LocalApi(socket)
    is_served = isinstance(place, UnixAddress)
    callers: CallerResolver = (Serve if is_served else Direct)(api, service)
    over_tailnet: ASGIApp = of_worker(worker, callers)

    def tell(seen: dict[str, str]) -> None:
        worker.status.node = seen

    return OnTailnet(
        elsewhere=of_worker(worker, Elsewhere(callers)),
        over_tailnet=over_tailnet if is_served else parting(over_tailnet),
        watch=lambda: node.keep(callers, tell),
    )
