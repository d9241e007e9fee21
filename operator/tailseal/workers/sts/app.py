"""The security token service as an ASGI application: the token exchange, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette

from tailseal.workers.common.http.application import application
from tailseal.workers.common.runtime import Runtime
from tailseal.workers.exchange.routes import routes

if TYPE_CHECKING:
    from tailseal.workers.common.worker import Worker

__all__ = ["build", "of_worker", "routes"]


def build(runtime: Runtime) -> Starlette:
    """The application.

    Args:
        runtime: the worker's ports.
    """
    return application(routes(runtime))


def of_worker(worker: Worker) -> Starlette:
    """The application of a worker."""
    return build(worker.runtime)
