"""The management port: health, readiness and metrics for the node, the status for the operator; never for callers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tailseal.domain import poll
from tailseal.workers.common.bundle.problem import Problem
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.http import wire
from tailseal.workers.common.management.staleness import Staleness
from tailseal.workers.common.management.status import Status
from tailseal.workers.common.telemetry.metrics import CONTENT_TYPE, Metrics


@dataclass(slots=True)
class Health:
    """What readiness depends on.

    Args:
        current: the present snapshot.
        problems: what of the bundle is not in use.
        draining: set while the process ends: no new callers, please.
        waiting: what the serving port waits for, if it does.
    """

    current: Callable[[], Snapshot | None]
    problems: Callable[[], tuple[Problem, ...]]
    draining: bool = field(default=False)
    waiting: str = field(default="")

    def readiness(self) -> tuple[int, str]:
        """HTTP status and text; a replica with a valid bundle is ready even if parts of it are not in use."""
        lines = "".join(f"{problem.reason}: {problem.message}\n" for problem in self.problems())
        if self.draining:
            return 503, "draining\n"
        if self.waiting:
            return 503, f"{self.waiting}\n"
        if self.current() is None:
            return 503, "no valid bundle yet\n" + lines
        return 200, "ok\n" + lines


def application(health: Health, metrics: Metrics, status: Status, staleness: Staleness) -> Starlette:
    """The ASGI application of the management port."""

    async def healthz(_: Request) -> Response:
        return Response("ok\n")

    async def readyz(_: Request) -> Response:
        code, text = health.readiness()
        return Response(text, code)

    async def scrape(_: Request) -> Response:
        metrics.ready.set(health.readiness()[0] == 200)  # noqa: PLR2004
        metrics.behind.set(staleness.behind())
        metrics.polled_at.set(staleness.heard_at or 0)
        metrics.problems.set(len(health.problems()))
        return Response(metrics.render(), headers={"content-type": CONTENT_TYPE})

    async def answer(request: Request) -> Response:
        return await _answer(request, status)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", scrape),
            Route(poll.PATH, answer, methods=["POST"]),
        ]
    )


async def _answer(request: Request, status: Status) -> Response:
    try:
        body = await wire.read_body(request.receive, poll.MAX_BYTES)
    except wire.Gone:
        return Response(status_code=400)
    except wire.Slow:
        return Response("too slow\n", 408, headers={"connection": "close"})
    if len(body) > poll.MAX_BYTES:
        return Response("too large\n", 413)
    try:
        answer = status.answer(body)
    except poll.PollError as error:
        return Response(f"{error}\n", 403)
    if answer is None:
        return Response("no valid bundle yet\n", 503)
    return Response(answer, media_type="application/json")
