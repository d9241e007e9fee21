"""The only way out for a library that opens connections of its own: a proxy on loopback in front of the egress client.

A library resolves names itself, so they may lead elsewhere than when they were checked (DNS rebinding), and it believes
what an answer says of its size, which can end a whole process. So the library speaks plain HTTP to this proxy, and the
egress client asks in its place: https to a pinned address, no redirects, and a bound on every answer, errors' too. A
signature (AWS Signature Version 4) covers host, path and headers, which stay as they are, and no scheme.

What the library insists on speaking TLS with itself, a token service that the operator's own environment names, goes
through a tunnel to a checked address.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from tailseal.egress.client import Answer, Egress
from tailseal.egress.errors import EgressError
from tailseal.publish.tunnel import Guard, close, splice

LARGEST_HEAD: Final = 32 * 1024
"""Bytes of a request's head."""

LARGEST_BODY: Final = 2 * 1024 * 1024
"""Bytes of what is sent: more than we ever publish."""

PATIENCE: Final = 30.0
"""Seconds for which a connection may be open; each serves one request."""

_HOP: Final = frozenset(
    {"connection", "proxy-connection", "proxy-authorization", "keep-alive", "transfer-encoding", "content-length", "te"}
)


@dataclass(frozen=True, slots=True)
class _Request:
    """The head of a request, and by which scheme it is to be passed on; empty: whoever asks is not known here."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    scheme: str

    def header(self, name: str) -> str:
        """The first of that name (in lower case); empty if there is none."""
        return next((value for key, value in self.headers if key == name), "")


class Proxy:
    """It listens from its first use on.

    Args:
        egress: who asks.
        guard: who opens tunnels.
    """

    def __init__(self, egress: Egress, guard: Guard) -> None:
        self._egress, self._guard = egress, guard
        self._token = secrets.token_urlsafe(32)  # nobody else on this machine is to get out by it
        self._starting = asyncio.Lock()
        self._server: asyncio.Server | None = None

    async def url(self, scheme: str) -> str:
        """How a library names the proxy, credentials included: never to be shown.

        Args:
            scheme: http or https, by which what is asked of it is passed on.
        """
        async with self._starting:
            if self._server is None:
                self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LARGEST_HEAD)
        return f"http://{scheme}:{self._token}@127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def aclose(self) -> None:
        """Stop listening; who still has a connection is not waited for (`wait_closed` does, since Python 3.12)."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._answer(reader, writer)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError, ExceptionGroup):
            pass  # whoever asked sees a connection that ends
        finally:
            await close(writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = self._read(await reader.readuntil(b"\r\n\r\n"))
        try:
            if not request.scheme:
                answer = _empty(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)
            elif request.method == "CONNECT":
                far = await self._guard.connect(request.target)
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await splice(reader, writer, far)
                return
            else:
                answer = await self._pass_on(request, await _body(request, reader))
        except EgressError:  # not 403, which would be taken for the store's word on the credentials
            answer = _empty(HTTPStatus.BAD_GATEWAY)
        writer.write(_written(answer))
        await writer.drain()

    def _read(self, head: bytes) -> _Request:
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, _, rest = first.partition(" ")
        pairs = (line.partition(":")[::2] for line in lines)
        headers = tuple((name.strip().lower(), value.strip()) for name, value in pairs)
        return _Request(method, rest.rpartition(" ")[0], headers, self._scheme(headers))

    def _scheme(self, headers: tuple[tuple[str, str], ...]) -> str:
        """What the name stands for that the request authenticates by; empty if it does not."""
        sent = next((value for name, value in headers if name == "proxy-authorization"), "").encode()
        for scheme in ("https", "http"):
            wanted = base64.b64encode(f"{scheme}:{self._token}".encode())
            if hmac.compare_digest(sent, b"Basic " + wanted):
                return scheme
        return ""

    async def _pass_on(self, request: _Request, body: bytes) -> Answer:
        parts = urlsplit(request.target)
        if parts.scheme != "http":
            return _empty(HTTPStatus.BAD_REQUEST)
        headers = {name: value for name, value in request.headers if name not in _HOP}
        url = parts._replace(scheme=request.scheme).geturl()
        return await self._egress.request(request.method, url, headers=headers, body=body)


async def _body(request: _Request, reader: asyncio.StreamReader) -> bytes:
    size = int(request.header("content-length") or 0)
    if size > LARGEST_BODY or request.header("transfer-encoding"):
        raise ValueError("a body of a known and small size is needed")
    return await reader.readexactly(size)


def _written(answer: Answer) -> bytes:
    kept = {name: value for name, value in answer.headers.items() if name not in _HOP}
    lines = [f"{name}: {value}" for name, value in kept.items()]
    lines += [f"content-length: {len(answer.body)}", "connection: close"]
    head = "\r\n".join((f"HTTP/1.1 {answer.status} -", *lines, "", ""))
    return head.encode("latin-1", errors="replace") + answer.body


def _empty(status: HTTPStatus) -> Answer:
    return Answer(int(status), {}, b"")
