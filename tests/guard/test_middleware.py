"""A small service behind the guard: who comes in, what endpoints ask for, and that every doubt shuts the door."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from fakes.localapi import FakeLocalApi
from guard.people import ALICE, APP, CI, STRANGER, asked, of
from tailseal.guard import Guard, Sight, Visitor, behind_serve, direct, require, serve_headers, visitor
from tailseal.guard.denied import NO_HEADER, Denied, unavailable
from tailseal.tailnet import Outage


async def whoami(request: Request) -> Response:
    found = visitor(request.scope)
    subject = found.caller.subject if found.caller is not None else ""
    return JSONResponse({"sub": subject, "login": found.login, "anonymous": found.is_anonymous})


@require(APP, action="read", resource="items/{id}")
async def item(request: Request) -> Response:
    return PlainTextResponse(request.path_params["id"])


@require(APP, action="read", resource="items/{id}")
def item_in_a_thread(request: Request) -> Response:
    return PlainTextResponse(request.path_params["id"])


@require(APP, action="read", resource="items/1")
@require("example.com/cap/other", action="read", resource="*")
async def both(_request: Request) -> Response:
    return PlainTextResponse("both")


@require(APP, action="read", resource="items/1", allow_anonymous=True)
async def public(_request: Request) -> Response:
    return PlainTextResponse("public")


class Items(HTTPEndpoint):
    @require(APP, action="read", resource="items/{id}")
    async def get(self, request: Request) -> Response:
        return PlainTextResponse(request.path_params["id"])


@require(APP, action="read", resource="items/{id}")
async def stream(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("in")
    await websocket.close()


def service(sight: Sight, *, allow_anonymous: bool = False) -> Starlette:
    routes = [
        Route("/whoami", whoami),
        Route("/items/{id}", item),
        Route("/threads/{id}", item_in_a_thread),
        Route("/endpoints/{id}", Items),
        Route("/both", both),
        Route("/public", public),
        WebSocketRoute("/streams/{id}", stream),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, sight=sight, allow_anonymous=allow_anonymous)])


def refusal(body: bytes) -> tuple[str, str, str]:
    told = json.loads(body)
    return told["error"], told["message"], told["reason"]


@pytest.mark.parametrize("path", ["/items", "/threads", "/endpoints"])
async def test_who_was_granted_it_comes_in_and_nobody_else(tailscaled: FakeLocalApi, path: str) -> None:
    app = service(behind_serve(str(tailscaled.path)))
    assert await asked(app, f"{path}/1", of(ALICE)) == (200, *(await asked(app, f"{path}/1", of(ALICE)))[1:])
    status, _, body = await asked(app, f"{path}/2", of(ALICE))
    assert (status, refusal(body)) == (403, ("unauthorized", "insufficient permissions", "PermissionMissing"))
    status, _, body = await asked(app, f"{path}/1", of(CI))
    assert (status, refusal(body)) == (403, ("unauthorized", "missing required capability", "CapabilityMissing"))
    status, fields, body = await asked(app, f"{path}/1", of(STRANGER))
    assert (status, refusal(body)[0], refusal(body)[2]) == (401, "unauthenticated", "CallerUnknown")
    assert fields[b"content-type"] == b"application/json"


async def test_the_service_learns_who_it_is(tailscaled: FakeLocalApi) -> None:
    app = service(behind_serve(str(tailscaled.path)))
    _, _, body = await asked(app, "/whoami", of(ALICE, (b"tailscale-user-login", b"root@example.com")))
    assert json.loads(body) == {"sub": "userid:1", "login": "alice@example.com", "anonymous": False}
    _, _, body = await asked(app, "/whoami", of(CI))
    assert json.loads(body) == {"sub": "node:3", "login": "", "anonymous": False}


async def test_two_requirements_must_both_hold(tailscaled: FakeLocalApi) -> None:
    app = service(behind_serve(str(tailscaled.path)))
    assert (await asked(app, "/both", of(ALICE)))[0] == 403
    other = {"example.com/cap/other": [{"action": ["*"], "resources": ["*"]}]}
    tailscaled.whois[ALICE]["CapMap"] |= other
    assert (await asked(app, "/both", of(ALICE)))[0] == 200
    tailscaled.whois[ALICE]["CapMap"] = other
    assert (await asked(app, "/both", of(ALICE)))[0] == 403


@pytest.mark.parametrize("path", ["/items/1", "/whoami", "/public", "/nowhere"])
@pytest.mark.parametrize("allow_anonymous", [True, False])
async def test_where_tailscaled_cannot_say_who_it_is_nobody_comes_in(
    tailscaled: FakeLocalApi, path: str, *, allow_anonymous: bool
) -> None:
    app = service(behind_serve(str(tailscaled.path)), allow_anonymous=allow_anonymous)
    tailscaled.raw = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]"
    status, fields, body = await asked(app, path, of(ALICE))
    assert (status, refusal(body)[0], refusal(body)[2]) == (503, "unavailable", "TailscaledAnswerMalformed")
    assert fields[b"retry-after"] == b"1"
    await tailscaled.stop()
    assert (await asked(app, path, of(ALICE)))[0] == 503


async def test_strangers_come_in_where_anybody_may_and_still_get_no_more_than_that(tailscaled: FakeLocalApi) -> None:
    app = service(behind_serve(str(tailscaled.path)), allow_anonymous=True)
    for headers in ([], of(STRANGER), of(ALICE, (b"tailscale-funnel-request", b"?1"))):
        assert json.loads((await asked(app, "/whoami", headers))[2])["anonymous"]
        assert (await asked(app, "/items/1", headers))[0] == 401
        assert (await asked(app, "/public", headers))[0] == 200
    assert (await asked(app, "/public", of(ALICE)))[0] == 200
    assert (await asked(app, "/public", of(CI)))[0] == 403, "whom the tailnet knows must have been granted it"


async def test_an_endpoint_without_a_guard_around_it_lets_nobody_in() -> None:
    with pytest.raises(LookupError, match="Guard"):
        await asked(Starlette(routes=[Route("/items/{id}", item)]), "/items/1", of(ALICE))


async def test_an_endpoint_that_takes_no_request_lets_nobody_in() -> None:
    @require(APP, action="read", resource="*")
    async def endpoint() -> None: ...

    with pytest.raises(TypeError, match="must take the request"):
        await endpoint()


# -------------------------------------------------------------------------------------------- each kind of listener


@pytest.mark.parametrize("peer", [("127.0.0.1", 5000), ("100.64.0.2", 0), (ALICE, 443), ("", 0)])
async def test_behind_serve_only_what_comes_over_the_unix_socket_counts(
    tailscaled: FakeLocalApi, peer: tuple[str, int]
) -> None:
    granted = (b"tailscale-app-capabilities", json.dumps({APP: [{"action": ["*"], "resources": ["*"]}]}).encode())
    for sight in (behind_serve(str(tailscaled.path)), serve_headers()):
        status, _, body = await asked(service(sight), "/items/1", of(ALICE, granted), client=peer)
        assert (status, refusal(body)[2]) == (401, "NotFromTailnet")
    assert not tailscaled.asked


async def test_on_a_direct_listener_the_connection_counts_and_no_header(tailscaled: FakeLocalApi) -> None:
    app = service(direct(str(tailscaled.path)))
    forged = [(b"x_forwarded_for", CI.encode()), (b"tailscale-user-login", b"root@example.com")]
    assert (await asked(app, "/items/1", forged, client=("127.0.0.1", 5000)))[0] == 200
    status, _, body = await asked(app, "/items/1", forged, client=("127.0.0.1", 5001))
    assert (status, refusal(body)[2]) == (401, "CallerUnknown")
    assert (await asked(app, "/items/1", forged))[0] == 401


@pytest.mark.parametrize(
    ("peer", "header"),
    [
        (("127.0.0.1", 5000), (b"x-forwarded-for", b"127.0.0.1:5000")),
        (("127.0.0.1", 5000), (b"X-Forwarded-For", b"127.0.0.1:5000, 127.0.0.1")),
        (("127.0.0.1", 5000), (b"forwarded", b'for="127.0.0.1:5000"')),
        (("127.0.0.1", 0), (b"x-forwarded-for", b"127.0.0.1")),
        ((ALICE, 0), (b"x-forwarded-for", ALICE.encode())),
        ((ALICE, 5000), (b"x-forwarded-for", ALICE.encode())),
        ((ALICE, 5000), (b"x-forwarded-for", f"{ALICE}:5000".encode())),
    ],
)
async def test_a_server_that_believes_headers_is_not_believed_who_its_peer_is(
    tailscaled: FakeLocalApi, peer: tuple[str, int], header: tuple[bytes, bytes]
) -> None:
    """Uvicorn takes `X-Forwarded-For: 127.0.0.1:5000` of a peer on loopback for that peer's address and port."""
    app = service(direct(str(tailscaled.path), interface=peer[0] == ALICE))
    assert (await asked(app, "/items/1", [header], client=peer))[0] == 401
    assert not tailscaled.asked


async def test_a_proxy_on_the_callers_own_side_does_no_harm(tailscaled: FakeLocalApi) -> None:
    """Such as that of tailscaled itself in userspace mode, which says that its own caller is on loopback."""
    behind_a_proxy = [(b"x-forwarded-for", b"127.0.0.1")]
    assert (await asked(service(direct(str(tailscaled.path))), "/items/1", behind_a_proxy, client=("127.0.0.1", 5000)))[
        0
    ] == 200


async def test_at_the_nodes_own_address_the_peer_is_the_node(tailscaled: FakeLocalApi) -> None:
    app = service(direct(str(tailscaled.path), interface=True))
    assert (await asked(app, "/items/1", [], client=(ALICE, 43210)))[0] == 200
    assert (await asked(app, "/items/1", [], client=("127.0.0.1", 5000)))[0] == 401
    assert (await asked(app, "/items/1", [], client=(ALICE, 0)))[0] == 401


def capabilities(text: str) -> tuple[bytes, bytes]:
    return b"tailscale-app-capabilities", text.encode()


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        ([capabilities(f'{{"{APP}": [{{"action": ["read"], "resources": ["items/1"]}}]}}')], 200, ""),
        ([capabilities(f'{{"{APP}": [1, {{"action": ["read"], "resources": ["*"]}}]}}')], 200, ""),
        ([capabilities(f'{{"{APP}": [], "example.com/cap/x": [[]]}}')], 403, "insufficient permissions"),
        ([capabilities("{}")], 403, "missing required capability"),
        ([], 401, "missing capabilities header"),
        ([capabilities("")], 401, "invalid capabilities header"),
        ([capabilities("{]")], 401, "invalid capabilities header"),
        ([capabilities("[]")], 401, "invalid capabilities header"),
        ([capabilities(f'{{"{APP}": {{}}}}')], 401, "invalid capabilities header"),
        ([capabilities("{}"), capabilities("{}")], 401, "invalid capabilities header"),
        ([capabilities("=?utf-8?q?=ff?=")], 401, "invalid capabilities header"),
        ([(b"tailscale_app_capabilities", b"{}")], 401, "missing capabilities header"),
    ],
)
async def test_serves_header_is_read_as_tscap_reads_it(
    sent: list[tuple[bytes, bytes]], status: int, message: str
) -> None:
    for allow_anonymous in (False, True):
        app = service(serve_headers(), allow_anonymous=allow_anonymous)
        found, _, body = await asked(app, "/items/1", [(b"x-forwarded-for", ALICE.encode()), *sent])
        assert found == status
        if message == "missing capabilities header" and allow_anonymous:
            assert refusal(body)[2] == "NotFromTailnet"
        elif message:
            assert refusal(body)[1] == message


async def test_serves_header_counts_for_nobody_from_funnel() -> None:
    all_of_it = capabilities(f'{{"{APP}": [{{"action": ["*"], "resources": ["*"]}}]}}')
    status, _, body = await asked(
        service(serve_headers()), "/items/1", of(ALICE, all_of_it, (b"tailscale-funnel-request", b"?1"))
    )
    assert (status, refusal(body)[2]) == (401, "Funnel")


# ------------------------------------------------------------------------------------------------------ web sockets


class _Known:
    def __init__(self, found: Visitor | Denied) -> None:
        self._found = found

    async def visitor(self, _peer: object, _headers: object) -> Visitor | Denied:
        return self._found


async def knocks(app: Starlette, path: str) -> list[dict[str, Any]]:
    """What is sent to somebody who opens a web socket."""
    scope: dict[str, Any] = {
        "type": "websocket",
        "path": path,
        "headers": [],
        "query_string": b"",
        "subprotocols": [],
        "client": None,
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def test_web_sockets_are_guarded_as_requests_are() -> None:
    granted = {APP: ({"action": ["read"], "resources": ["items/1"]},)}
    known = _Known(Visitor(granted, None, ip_address(ALICE)))
    accepted, text, *_ = await knocks(service(known), "/streams/1")
    assert (accepted["type"], text["text"]) == ("websocket.accept", "in")
    for sight, path, code, reason in (
        (known, "/streams/2", 1008, "PermissionMissing"),
        (_Known(NO_HEADER), "/streams/1", 1008, "CapabilitiesMissing"),
        (_Known(unavailable(Outage.SLOW)), "/streams/1", 1013, "TailscaledSlow"),
    ):
        assert await knocks(service(sight), path) == [{"type": "websocket.close", "code": code, "reason": reason}]
