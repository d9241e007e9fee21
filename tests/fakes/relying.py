"""A small web application that logs people in by Authlib, as many do: an independent relying party on this machine."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

with warnings.catch_warnings(record=True):  # it would rather have another HTTP client than the one that is here
    from authlib.integrations.starlette_client import OAuth, OAuthError  # type: ignore[import-untyped]

_PATIENCE = 60.0


def application(issuer: str, base: str, client_id: str, secret: str) -> Starlette:
    """The application.

    Args:
        issuer: all that it is told of the provider.
        base: its own URL.
        client_id: that it has there.
        secret: that it proves itself with.
    """
    oauth = OAuth()
    oauth.register(
        "idp",
        client_id=client_id,
        client_secret=secret,
        server_metadata_url=f"{issuer}/.well-known/openid-configuration",
        client_kwargs={"scope": "openid profile email groups", "code_challenge_method": "S256"},
    )

    async def home(request: Request) -> Response:
        return _page(f"Hello {request.session['name']}" if "name" in request.session else "Hello stranger")

    async def login(request: Request) -> Response:
        found: Response = await oauth.idp.authorize_redirect(request, f"{base}/callback", **request.query_params)
        return found

    async def callback(request: Request) -> Response:
        try:
            token = await oauth.idp.authorize_access_token(request)
        except OAuthError as error:
            return _page(f"No login: {error.error}")
        told = token["userinfo"]
        request.session.update({"name": f"{told['name']} <{told['email']}>", "token": token["id_token"]})
        return RedirectResponse("/", 303)

    async def logout(request: Request) -> Response:
        hint = request.session.pop("token", "")
        request.session.clear()
        metadata = await oauth.idp.load_server_metadata()
        sent: dict[str, Any] = {"post_logout_redirect_uri": f"{base}/", "client_id": client_id, "state": "s"}
        sent |= {"id_token_hint": hint} if hint else {}
        return RedirectResponse(f"{metadata['end_session_endpoint']}?{urlencode(sent)}", 303)

    routes = [Route("/", home), Route("/login", login), Route("/callback", callback), Route("/logout", logout)]
    routes += [Route("/posted", _posted, methods=["POST"]), Route("/favicon.ico", _nothing)]
    kept = Middleware(SessionMiddleware, secret_key="of no importance")
    return Starlette(routes=routes, middleware=[kept])


@contextmanager
def running(app: Starlette, port: int, tls: tuple[Path, Path] | None = None) -> Iterator[None]:
    """The application on a port of this machine.

    Args:
        app: the application.
        port: where.
        tls: its certificate and key; None: it answers to plain http.
    """
    certificate, key = tls or (None, None)
    configuration = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_level="error", ssl_certfile=certificate, ssl_keyfile=key
    )
    server = uvicorn.Server(configuration)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + _PATIENCE
    while not server.started:
        assert thread.is_alive(), "the application ended"
        assert time.monotonic() < deadline, "the application does not begin"
        time.sleep(0.02)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(_PATIENCE)


async def _nothing(request: Request) -> Response:
    return Response(status_code=204)


async def _posted(request: Request) -> Response:
    return _page(f"Posted {' '.join(sorted(parse_qs((await request.body()).decode())))}")


def _page(text: str) -> Response:
    return HTMLResponse(
        f"<!doctype html><html lang=en><title>App</title><p>{escape(text)}</p><a href=/login>Log in</a>"
    )
