"""A worker's public routes as one ASGI application, without what a framework adds and a caller could steer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def application(routes: Iterable[Route]) -> Starlette:
    """The application that answers exactly these routes.

    Args:
        routes: in the order in which paths are tried.
    """
    app = Starlette(routes=list(routes), exception_handlers={404: _absent, 405: _not_by_this_method})
    # A redirect would be built from the Host header, which any caller may set.
    app.router.redirect_slashes = False
    return app


def _absent(_: Request, __: Exception) -> Response:
    """As the endpoints' own refusals are: a framework's would be text."""
    return _refused(404, b'{"error":"not_found"}', {})


def _not_by_this_method(_: Request, error: Exception) -> Response:
    """With the methods that are answered there, as RFC 9110 section 15.5.6 wants it."""
    allowed = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    return _refused(405, _NO_METHOD, allowed)


def _refused(status: int, body: bytes, headers: dict[str, str]) -> Response:
    return Response(body, status, {**headers, "cache-control": "no-store"}, media_type="application/json")


_NO_METHOD: Final = b'{"error":"invalid_request","error_description":"this method is not answered here"}'
