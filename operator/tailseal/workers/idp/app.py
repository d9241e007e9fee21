"""The identity provider as an ASGI application: discovery, JWKS and the exchange, by the token service's code."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Route

from tailseal.workers.common import wellknown
from tailseal.workers.common.runtime import Runtime
from tailseal.workers.sts import discovery
from tailseal.workers.sts.token import TokenEndpoint


def routes(runtime: Runtime) -> list[Route]:
    """The provider's routes."""
    return [
        Route("/token", TokenEndpoint(runtime), methods=["POST"]),
        *wellknown.routes(runtime, openid=discovery.openid, oauth=discovery.oauth),
    ]


def build(runtime: Runtime) -> Starlette:
    """The application.

    Args:
        runtime: the worker's ports.
    """
    app = Starlette(routes=routes(runtime))
    # A redirect would be built from the Host header, which any caller may set.
    app.router.redirect_slashes = False
    return app
