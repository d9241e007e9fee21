"""The guard as ASGI middleware: nobody comes in whom the tailnet does not know, unless anybody may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from tailseal.guard.denied import Denied
from tailseal.guard.sight import ANONYMOUS, Sight, Visitor

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_KEY: Final = "tailseal.guard"
_UNAVAILABLE: Final = 503
_POLICY_VIOLATION, _TRY_AGAIN_LATER = 1008, 1013


class Guard:
    """Middleware for a whole application.

    Args:
        app: what is guarded.
        sight: how callers are known: `behind_serve()`, `direct()` or `serve_headers()`.
        allow_anonymous: whether those come in whom the tailnet does not know, such as those from Funnel. Where nobody
            can say who it is, nobody does.
    """

    def __init__(self, app: App, sight: Sight, *, allow_anonymous: bool = False) -> None:
        self._app, self._sight, self._allow_anonymous = app, sight, allow_anonymous

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or have it answered."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        found = await self._sight.visitor(scope.get("client"), scope["headers"])
        if isinstance(found, Denied) and self._allow_anonymous and found.is_nobody:
            found = ANONYMOUS
        if isinstance(found, Denied):
            await deny(found, scope, receive, send)
            return
        await self._app({**scope, _KEY: found}, receive, send)


def visitor(scope: Scope) -> Visitor:
    """Who sent the request; of Starlette's requests it is `visitor(request.scope)`.

    Raises:
        LookupError: the application stands behind no `Guard`.
    """
    if _KEY not in scope:
        raise LookupError("no Guard around this application: Guard(app, behind_serve())")
    found: Visitor = scope[_KEY]
    return found


async def deny(denied: Denied, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer no."""
    if scope["type"] == "websocket":
        await receive()
        code = _TRY_AGAIN_LATER if denied.status == _UNAVAILABLE else _POLICY_VIOLATION
        await send({"type": "websocket.close", "code": code, "reason": denied.reason})
        return
    fields = [*denied.headers, (b"content-length", b"%d" % len(denied.body))]
    await send({"type": "http.response.start", "status": denied.status, "headers": fields})
    await send({"type": "http.response.body", "body": denied.body})
