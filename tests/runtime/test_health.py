"""The health server answers for the work being done."""

from __future__ import annotations

import asyncio

import pytest

from tailseal.runtime import health


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    ("sick", "unready", "path", "status", "text"),
    [
        ("", "", "/healthz", 200, b"ok"),
        ("", "", "/readyz?verbose", 200, b"ok"),
        ("", "not primed", "/healthz", 200, b"ok"),
        ("", "not primed", "/readyz", 503, b"not primed"),
        ("watch is dead", "", "/healthz", 503, b"watch is dead"),
        ("watch is dead", "", "/readyz", 503, b"watch is dead"),
        ("", "", "/metrics", 200, b"some 1"),
        ("", "", "/etc/passwd", 404, b"there are"),
    ],
)
async def test_it_says_what_is(sick: str, unready: str, path: str, status: int, text: bytes) -> None:
    checks = health.Checks(sick=lambda: sick, unready=lambda: unready, metrics=lambda: b"some 1\n")
    async with health.serve("127.0.0.1", 0, checks) as port:
        answer = await ask(port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert text in answer


@pytest.mark.parametrize("request_", [b"POST /healthz HTTP/1.1\r\n\r\n", b"x" * 20_000, b"GET /healthz"])
async def test_nonsense_does_it_no_harm(request_: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PATIENCE", 0.2)
    checks = health.Checks(sick=str, unready=str, metrics=bytes)
    async with health.serve("127.0.0.1", 0, checks) as port:
        try:
            answer = await ask(port, request_)
        except ConnectionError:
            answer = b""
        assert b"200" not in answer
        monkeypatch.setattr(health, "_PATIENCE", 60.0)
        assert b"200 OK" in await ask(port, b"GET /healthz HTTP/1.1\r\n\r\n")
