"""Waits on this machine for the browser that comes back from a login (RFC 8252 section 7.3)."""

from __future__ import annotations

import hmac
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from tailseal.cli.errors import FAILED, Failure
from tailseal.cli.output import printable

_PATH: Final = "/callback"
_PAGE: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=color-scheme content='light dark'>"
    "<title>{0}</title><h1>{0}</h1><p>You can close this window and go back to the terminal.</p></html>"
)


class Callback:
    """A listener on a loopback address and a port of the system's choice.

    Args:
        state: that the answer must have: whatever else comes is not for us.
        issuer: that it must be from (RFC 9207).
    """

    def __init__(self, state: str, issuer: str) -> None:
        self._state, self._issuer = state, issuer
        self._found: dict[str, str] = {}
        self._server = HTTPServer(("127.0.0.1", 0), self._handler())
        self.uri = f"http://127.0.0.1:{self._server.server_port}{_PATH}"
        """Where the browser is to be sent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    def code(self, patience: float) -> str:
        """The authorization code.

        Args:
            patience: seconds for which somebody may look at the page.

        Raises:
            Failure: nobody came back in time, or without one.
        """
        deadline = time.monotonic() + patience
        while not self._found and (left := deadline - time.monotonic()) > 0:
            self._server.timeout = left
            self._server.handle_request()
        if not self._found:
            text = f"nobody has logged in within {patience:g} s"
            raise Failure(text, hint="--device logs in without a browser on this machine", exit_code=FAILED)
        if error := self._found.get("error"):
            told = printable(self._found.get("error_description", ""))[:200]
            raise Failure(f"the provider refuses: {told or printable(error)[:50]}", exit_code=FAILED)
        return self._found.get("code", "")

    def _take(self, target: str) -> str:
        """What the browser shows; empty: it is not what we wait for."""
        parts = urlsplit(target)
        found = {name: values[0] for name, values in parse_qs(parts.query).items()}
        same = hmac.compare_digest(found.get("state", "").encode(), self._state.encode())
        if parts.path != _PATH or not same or found.get("iss") != self._issuer:
            return ""
        self._found = found
        return "No login" if "error" in found else "You are logged in"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            timeout = 5.0

            def do_GET(self) -> None:
                title = take(self.path)
                body = _PAGE.format(title or "Not here").encode()
                self.send_response(200 if title else 404)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.send_header("content-length", str(len(body)))
                self.send_header("cache-control", "no-store")
                self.send_header("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
                self.send_header("connection", "close")
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the library's
                """Nothing: a request holds the code."""

        return Handler
