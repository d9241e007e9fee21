"""Lets a replica explain its last decisions to those who may run a command beside it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tailseal.workers.common.management import inside
from tailseal.workers.common.runtime import Runtime


def explaining(runtime: Runtime, path: Path) -> Callable[[], Coroutine[Any, Any, None]]:
    """What a worker runs beside its endpoints.

    Args:
        runtime: the worker's ports.
        path: of the socket.
    """

    def answer(question: bytes) -> bytes:
        from tailseal.workers.exchange.hindsight import Hindsight  # noqa: PLC0415 - needed by few replicas, and late

        return Hindsight(runtime).answer(question)

    def run() -> Coroutine[Any, Any, None]:
        return inside.serve(path, answer)

    return run
