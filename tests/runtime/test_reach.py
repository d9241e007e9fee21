"""Questions reach pods over a real socket, or through the API server; answers are bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fakes.cluster import FakeCluster
from tailseal.cluster.port import Object, Ref
from tailseal.runtime import reach
from tailseal.runtime.reach import PodAddress, PodProxy


def pod(address: str = "127.0.0.1") -> Object:
    metadata = {"name": "p", "namespace": "a"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"podIP": address}}


@asynccontextmanager
async def answering(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> AsyncIterator[list[bytes]]:
    heard: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"question"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    monkeypatch.setattr(reach, "MANAGEMENT_PORT", server.sockets[0].getsockname()[1])
    async with server:
        yield heard


def response(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


async def test_a_pod_is_asked_on_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(monkeypatch, response("200 OK", b"answer")) as heard, PodAddress() as way:
        assert await way.ask(pod(), b"question") == b"answer"
        assert heard[0].startswith(b"POST /-/status HTTP/1.1")


@pytest.mark.parametrize(
    "answer",
    [response("403 Forbidden", b""), response("200 OK", b"x" * 300_000), b"", b"nonsense\r\n\r\n"],
    ids=["refused", "too large", "nothing", "no HTTP"],
)
async def test_anything_but_an_answer_is_an_error(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    async with answering(monkeypatch, answer), PodAddress() as way:
        with pytest.raises(OSError):  # noqa: PT011 - its texts are httpx's
            await way.ask(pod(), b"question")


async def test_a_pod_behind_the_api_server_is_asked_through_it() -> None:
    cluster = FakeCluster()
    asked: list[tuple[str, int, str]] = []

    def proxied(ref: Ref, port: int, path: str, body: bytes) -> bytes:
        asked.append((ref.name, port, path))
        return b"answer to " + body

    cluster.proxied = proxied
    assert await PodProxy(cluster).ask(pod(), b"question") == b"answer to question"
    assert asked == [("p", 9090, "/-/status")]


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert reach._url(pod("fd00::1")) == "http://[fd00::1]:9090/-/status"
