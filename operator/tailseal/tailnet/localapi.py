"""Asks tailscaled over its unix socket: one short request on a connection of its own, strictly read and bounded.

The general HTTP client costs several times the lookup itself (2 ms against 0.5 ms). Kept connections would save a tenth
of a millisecond, and cost the question what a restarted daemon does to those that were kept.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final
from urllib.parse import urlencode

import httptools

from tailseal.tailnet.errors import Outage, UnavailableError

SOCKET: Final = "/var/run/tailscale/tailscaled.sock"
"""Where tailscaled listens unless told otherwise."""

WITHIN: Final = 1.0
"""Seconds for a request, waiting for others included."""

AT_ONCE: Final = 16
"""Requests at once: more are not faster, they only wait in another queue."""

MAX_ANSWER: Final = 262_144
"""Bytes of an answer, headers included; a usual one has two thousand."""

_CHUNK: Final = 65_536
_OK, _NOT_FOUND = 200, 404


class LocalApi:
    """The LocalAPI of one tailscaled.

    Args:
        path: of its socket.
        within: seconds for a request.
    """

    def __init__(self, path: str = SOCKET, within: float = WITHIN) -> None:
        self._path, self.within = path, within
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def get(self, path: str, **query: str) -> Any | None:  # noqa: ANN401 - any JSON value
        """What a path answers; None: it is not found.

        Args:
            path: below `/localapi/v0/`.
            query: its parameters.

        Raises:
            UnavailableError: no answer, none in time, or not one to go by.
        """
        target = f"/localapi/v0/{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            async with asyncio.timeout(self.within), self._slots:
                answer = await self._ask(target)
        except TimeoutError:
            raise UnavailableError(Outage.SLOW) from None
        except OSError as error:
            raise UnavailableError(Outage.UNREACHABLE, f"{self._path}: {type(error).__name__}") from None
        if answer.status == _NOT_FOUND:
            return None
        if answer.status != _OK:
            raise UnavailableError(Outage.REFUSED, f"{path}: status {answer.status}")
        return _json(answer.body)

    async def _ask(self, target: str) -> _Answer:
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            writer.write(f"GET {target} HTTP/1.1\r\nHost: local-tailscaled.sock\r\nConnection: close\r\n\r\n".encode())
            answer = _Answer()
            while not answer.complete:
                answer.take(await reader.read(_CHUNK))
            return answer
        finally:
            writer.transport.abort()


class _Answer:
    """Collects what the parser calls back."""

    def __init__(self) -> None:
        self.complete, self.status, self._received = False, 0, 0
        self._parts: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    @property
    def body(self) -> bytes:
        return b"".join(self._parts)

    def take(self, received: bytes) -> None:
        """Raises `UnavailableError` where it ends too early, goes on too long, or is no HTTP."""
        self._received += len(received)
        if not received:
            raise UnavailableError(Outage.UNREACHABLE, "it ended in the middle of an answer")
        if self._received > MAX_ANSWER:
            raise UnavailableError(Outage.MALFORMED, f"more than {MAX_ANSWER} bytes")
        try:
            self._parser.feed_data(received)
        except httptools.HttpParserError:
            raise UnavailableError(Outage.MALFORMED, "not HTTP") from None
        if self.complete:
            self.status = self._parser.get_status_code()

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        self.complete = True


def _json(body: bytes) -> Any:  # noqa: ANN401
    """Whole numbers of any size stay exact, which the faster readers do not promise."""
    try:
        return json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise UnavailableError(Outage.MALFORMED, "not JSON") from None


def _refuse(constant: str) -> None:
    raise ValueError(constant)
