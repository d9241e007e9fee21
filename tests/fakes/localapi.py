"""A stand-in for tailscaled's LocalAPI, as slow and as stubborn as the real one where that was measured."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

RECORDED = Path(__file__).parents[1] / "tailnet" / "recorded"
MISS_SLEEPS = 0.18


def recorded(name: str) -> dict[str, Any]:
    """What the real one answered, as a copy to change."""
    answer: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())
    return answer


class FakeLocalApi:
    """Serves `whois` and `status` at `path`; hits are by address, or by address and port.

    Args:
        path: of its socket.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.whois: dict[str, dict[str, Any]] = {}
        self.status = recorded("status")
        self.asked: list[str] = []
        self.most_at_once = 0
        self.raw: bytes | None = None
        self.delay: Callable[[], Awaitable[None]] | None = None
        self._lock = asyncio.Lock()
        self._sleeping = 0
        self._server: asyncio.Server | None = None

    def knows(self, name: str, *targets: str, **changes: Any) -> None:  # noqa: ANN401 - any JSON value
        """Answer about these targets as recorded; `Node.` and `UserProfile.` members by their names."""
        answer = deepcopy(recorded(name))
        for place, value in changes.items():
            outer, _, inner = place.partition("__")
            if inner:
                answer[outer][inner] = value
            else:
                answer[outer] = value
        for target in targets or [text.split("/")[0] for text in answer["Node"]["Addresses"]]:
            self.whois[target] = answer

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self.path.unlink(missing_ok=True)
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(await self._answer(head.decode()))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: str) -> bytes:
        method, target, _ = head.split("\r\n", maxsplit=1)[0].split(" ")
        self.asked.append(target)
        assert method == "GET"
        assert "\r\nHost: local-tailscaled.sock\r\n" in head
        assert "\r\nOrigin:" not in head
        if self.delay is not None:
            await self.delay()
        if self.raw is not None:
            return self.raw
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/localapi/v0/status":
            return response(self.status)
        assert url.path == "/localapi/v0/whois"
        return await self._whois(query["addr"])

    async def _whois(self, target: str) -> bytes:
        """A miss with a port holds the one lock that everything else needs as well."""
        self._sleeping += 1
        self.most_at_once = max(self.most_at_once, self._sleeping)
        async with self._lock:
            found = self.whois.get(target)
            with_port = target.startswith("[") or target.count(":") == 1
            if found is None and with_port:
                await asyncio.sleep(MISS_SLEEPS)
        self._sleeping -= 1
        return response(found) if found is not None else b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@asynccontextmanager
async def standing_in() -> AsyncIterator[FakeLocalApi]:
    """It runs, in a short directory: a socket's path has at most 108 bytes, and pytest's directories are long."""
    directory = Path(tempfile.mkdtemp(prefix="localapi-"))
    fake = FakeLocalApi(directory / "ts.sock")
    await fake.start()
    try:
        yield fake
    finally:
        await fake.stop()
        shutil.rmtree(directory)


def response(content: object, *, chunked: bool | None = None) -> bytes:
    """As Go's server does: what is longer than two kilobytes comes in chunks."""
    body = json.dumps(content, indent="\t").encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTailscale-Cap: 142\r\n"
    if chunked if chunked is not None else len(body) > 2048:
        parts = [body[at : at + 1000] for at in range(0, len(body), 1000)]
        sent = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + sent + b"0\r\n\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
