"""Who there is in the tests of the guard, and how requests of theirs look behind `tailscale serve`."""

from __future__ import annotations

from typing import Any

from fakes.localapi import recorded
from tailseal.guard.middleware import App

APP = "example.com/cap/app"
ALICE = recorded("user")["Node"]["Addresses"][0].split("/")[0]
CI = recorded("tagged")["Node"]["Addresses"][0].split("/")[0]
STRANGER = "100.64.99.99"

Fields = list[tuple[bytes, bytes]]


def of(address: str, *more: tuple[bytes, bytes]) -> Fields:
    """What serve sends of a node, among what the caller sent."""
    return [(b"x-forwarded-for", address.encode()), (b"x_forwarded_for", ALICE.encode()), *more]


async def asked(
    app: App, path: str, headers: Fields, *, client: tuple[str, int] | None = None, method: str = "GET"
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of the answer to one request, as uvicorn would hand it over."""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": client,
        "server": None,
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's
        sent.append(message)

    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), body
