"""`POST /token`: every grant that there is, each by its name; the token exchange goes to the engine of both workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from tailseal.oauth import device
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.parameters import REPEATABLE
from tailseal.tokens import form as forms
from tailseal.tokens.answers import Response
from tailseal.tokens.request import GRANT_TYPE as EXCHANGE
from tailseal.tokens.request import MAX_BODY_BYTES
from tailseal.workers.common.http import wire
from tailseal.workers.common.http.wire import Receive, Scope, Send
from tailseal.workers.idp import granting
from tailseal.workers.idp.authenticated import client_of
from tailseal.workers.idp.callers import source_of
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import ANY_ORIGIN, Endpoint, Kind, Request
from tailseal.workers.idp.exchanging import Exchange

Granting = Callable[[IdpRuntime, Request, granting.Client], Awaitable[Response]]
"""Decides on a grant for a client that has proven who it is."""

GRANTS: Final[Mapping[str, Granting]] = {
    "authorization_code": granting.by_code,
    "refresh_token": granting.by_refresh,
    "client_credentials": granting.by_client,
    device.GRANT_TYPE: granting.by_device,
}


class Token:
    """The endpoint as an ASGI application.

    Args:
        runtime: its ports.
    """

    def __init__(self, runtime: IdpRuntime) -> None:
        self._exchange = Exchange(runtime)
        self._grants = Endpoint(runtime, Kind("token", cors=True, funnel=True, repeatable=REPEATABLE), self._grant)
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] != "POST":
            await self._grants(scope, receive, send)
            return
        body = await wire.body_or_none(receive, send, MAX_BODY_BYTES)
        if body is None:
            return
        if _exchanges(body):
            await self._exchange({**scope, "client": (source_of(scope), 0)}, _again(body), _open(send))
        else:
            await self._grants(scope, _again(body), send)

    async def _grant(self, request: Request) -> Response:
        name = request.required("grant_type")
        grant = GRANTS.get(name)
        if grant is None:
            text = f"parameter `grant_type` must be one of {', '.join((*GRANTS, EXCHANGE))}"
            raise OAuthError("unsupported_grant_type", text)
        request.audit["grantType"] = name
        client = await client_of(self._runtime, request)
        if name not in client.grant_types:
            raise OAuthError("unauthorized_client", "the client is not registered for this grant type")
        return await grant(self._runtime, request, client)


def _exchanges(body: bytes) -> bool:
    """Whether it is a token exchange, as far as can be told: what is malformed is refused here as well as there."""
    if b"token-exchange" not in body:
        return False
    try:
        return forms.parse(body, {"audience", "resource"}).get("grant_type") == [EXCHANGE]
    except forms.FormError:
        return False


def _again(body: bytes) -> Receive:
    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _open(send: Send) -> Send:
    """Lets scripts of any origin read the answer, as those of the other grants."""

    async def opened(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *ANY_ORIGIN]}
        await send(message)

    return opened
