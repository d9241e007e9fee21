"""A worker's public routes as one ASGI application, without what a framework adds and a caller could steer."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def application(routes: Iterable[Route]) -> Starlette:
    """The application that answers exactly these routes.

    Args:
        routes: in the order in which paths are tried.
    """
    app = Starlette(routes=list(routes), exception_handlers={404: _absent})
    # A redirect would be built from the Host header, which any caller may set.
    app.router.redirect_slashes = False
    return app


def _absent(_: Request, __: Exception) -> Response:
    """As the endpoints' own refusals are: a framework's would be text."""
    return Response(b'{"error":"not_found"}', 404, {"cache-control": "no-store"}, media_type="application/json")
