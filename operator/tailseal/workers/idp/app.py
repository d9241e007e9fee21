"""The identity provider as an ASGI application: so far the token exchange, as the token service offers it."""

from __future__ import annotations

from starlette.applications import Starlette

from tailseal.workers.common.http.application import application
from tailseal.workers.common.runtime import Runtime
from tailseal.workers.exchange.routes import routes

__all__ = ["build", "routes"]


def build(runtime: Runtime) -> Starlette:
    """The application.

    Args:
        runtime: the worker's ports.
    """
    return application(routes(runtime))
