"""`POST /` in the dialect of TailSTS, there only where settings name an upstream for it."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Final

from tailseal.tokens import tailsts
from tailseal.tokens.answers import Response
from tailseal.tokens.outcomes import Answered, Call
from tailseal.workers.common.http import wire
from tailseal.workers.common.http.wire import Receive, Scope, Send
from tailseal.workers.exchange.token import TokenEndpoint

_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
_ABSENT: Final = Response(404, b"Not Found", (_TEXT,))
_NOT_ALLOWED: Final = Response(405, b"Method Not Allowed", (_TEXT, (b"allow", b"POST")))
_AUTHORIZATION: Final = frozenset({b"authorization"})


class TailstsEndpoint(TokenEndpoint):
    """The same exchange, for one upstream, asked and answered in TailSTS's words."""

    endpoint: ClassVar = "tailsts"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if not self._upstream():
            await wire.respond(send, _ABSENT)
        elif scope["method"] != "POST":
            await wire.respond(send, _NOT_ALLOWED)
        else:
            await super().__call__(scope, receive, send)

    def _upstream(self) -> str:
        """Name of the upstream that the dialect is for; empty while there is no bundle, too."""
        snapshot, _ = self._current()
        return (snapshot.settings.tailsts_upstream if snapshot is not None else None) or ""

    def _call(self, scope: Scope, body: bytes) -> Call:
        authorization = wire.headers(scope, _AUTHORIZATION).get(b"authorization")
        read = partial(tailsts.read, authorization=authorization, upstream=self._upstream())
        return super()._call(scope, body)._replace(accept="text/plain", dialect=read)

    def _said(self, answered: Answered) -> Response:
        return tailsts.said(answered)
