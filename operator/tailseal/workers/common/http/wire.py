"""Reading requests and sending answers on bare ASGI: what every endpoint that must be fast or bounded shares."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any, Final

from tailseal.tokens.answers import Header, Response

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_SECONDS: Final = 10.0
"""How long a caller may take to send a body: nobody keeps a place by trickling."""


HURRY_SECONDS: Final = 0.5
"""How long it may take where many callers are about it at once: most bodies come with their head."""

TOO_SLOW: Final = Response(
    408,
    b'{"error":"invalid_request","error_description":"the body took too long"}',
    ((b"content-type", b"application/json"), (b"cache-control", b"no-store"), (b"connection", b"close")),
)
"""The answer to a caller whose body is not there in time; the rest of it is not waited for."""


class Gone(Exception):  # noqa: N818 - a state of the connection, not a fault of ours
    """The caller hung up: there is nobody to answer."""


class Slow(Exception):  # noqa: N818
    """The caller took too long."""


async def read_body(receive: Receive, limit: int, seconds: float = BODY_SECONDS) -> bytes:
    """The request body; one byte more than the limit where it is longer, the rest unread.

    Args:
        receive: of the request.
        limit: bytes.
        seconds: how long it may take.

    Raises:
        Gone: the caller left before the body was complete.
        Slow: it was not complete in time.
    """
    try:
        async with asyncio.timeout(seconds):
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                return bytes(message.get("body", b""))[: limit + 1]
            return await _read_on(message, receive, limit)
    except TimeoutError:
        raise Slow from None


async def body_or_none(receive: Receive, send: Send, limit: int) -> bytes | None:
    """The request body as of `read_body`; None: the caller hung up, or was too slow and has been told so."""
    try:
        return await read_body(receive, limit)
    except Gone:
        return None
    except Slow:
        await respond(send, TOO_SLOW)
        return None


async def _read_on(message: MutableMapping[str, Any], receive: Receive, limit: int) -> bytes:
    content = bytearray()
    while True:
        if message["type"] != "http.request":
            raise Gone
        content += message.get("body", b"")
        if len(content) > limit or not message.get("more_body"):
            return bytes(content[: limit + 1])
        message = await receive()


def headers(scope: Scope, names: Iterable[bytes]) -> dict[bytes, str]:
    """The values of these headers (lower case) that the request has; several lines of one joined by commas."""
    found: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in names:
            text = value.decode("latin-1")
            found[name] = f"{found[name]}, {text}" if name in found else text
    return found


async def respond(send: Send, response: Response, *, head: bool = False) -> None:
    """Send an answer; for HEAD its headers only."""
    fields: Sequence[Header] = response.headers
    if response.status not in {204, 304}:
        fields = (*fields, (b"content-length", b"%d" % len(response.body)))
    await send({"type": "http.response.start", "status": response.status, "headers": fields})
    await send({"type": "http.response.body", "body": b"" if head else response.body})
