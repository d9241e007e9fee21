"""The routes of an issuer that exchanges tokens, put together once, so that both workers answer alike."""

from __future__ import annotations

from starlette.routing import Route

from tailseal.workers.common.http import wellknown
from tailseal.workers.common.runtime import Runtime
from tailseal.workers.exchange import discovery
from tailseal.workers.exchange.tailsts import TailstsEndpoint
from tailseal.workers.exchange.token import TokenEndpoint


def routes(runtime: Runtime) -> list[Route]:
    """The token endpoint and what relying parties fetch, busiest first.

    Args:
        runtime: the worker's ports.
    """
    return [
        Route("/token", TokenEndpoint(runtime), methods=["POST"]),
        *wellknown.routes(runtime, openid=discovery.openid, oauth=discovery.oauth),
        *([] if runtime.component == "idp" else [Route("/", TailstsEndpoint(runtime))]),
    ]
