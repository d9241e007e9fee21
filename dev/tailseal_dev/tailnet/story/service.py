"""A service that tells its items to who was granted them, guarded as docs/guard.md says, behind `tailscale serve`."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tailseal.guard import Guard, behind_serve, require, visitor


@require("example.com/cap/app", action="read", resource="items/{id}")
async def item(request: Request) -> PlainTextResponse:
    """One item, for whoever it is."""
    return PlainTextResponse(f"item {request.path_params['id']} for {visitor(request.scope).login}")


app = Starlette(
    routes=[Route("/items/{id}", item)],
    middleware=[Middleware(Guard, sight=behind_serve(os.environ["TS_SOCKET"]))],
)
