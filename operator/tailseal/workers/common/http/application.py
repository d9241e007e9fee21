"""A worker's public routes as one ASGI application, without what a framework adds and a caller could steer."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.routing import Route


def application(routes: Iterable[Route]) -> Starlette:
    """The application that answers exactly these routes.

    Args:
        routes: in the order in which paths are tried.
    """
    app = Starlette(routes=list(routes))
    # A redirect would be built from the Host header, which any caller may set.
    app.router.redirect_slashes = False
    return app
