"""Strangers on a socket: none holds memory or a place for longer than it takes to be served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import SimpleNamespace

import pytest
from starlette.types import Receive, Scope, Send

from fakes.worker import until
from tailseal.workers.common.http import protocol
from tailseal.workers.common.http.address import Address
from tailseal.workers.common.http.connection import Connection as Connected
from tailseal.workers.common.http.serving import Listener

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

LARGE = b"x" * 1_000_000


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """`/large` answers much; all else reads the whole body and answers its length."""
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    body = LARGE if scope["path"] == "/large" else b"%d" % length
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(listener: Listener) -> AsyncIterator[Listener]:
    task = asyncio.create_task(listener.run())
    await listener.accepting()
    yield listener
    listener.stop()
    await task


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(protocol, "TAKE_SECONDS", 0.2)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with serving(Listener(answer, Address("127.0.0.1", 0))) as made:
        yield made


@asynccontextmanager
async def connected(listener: Listener) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection(listener.address.host, listener.address.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection is closed from there."""
    try:
        async with asyncio.timeout(60):
            return await reader.read()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("start", [b"", b"POST /token HTTP/1.1\r\nHost: a\r\n", b"\r\n"])
@pytest.mark.parametrize("before", [0, 1])
async def test_who_does_not_bring_a_head_in_time_is_let_go(
    start: bytes, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hurry() -> None:
        monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)

    async def last_in_time(scope: Scope, receive: Receive, send: Send) -> None:
        hurry()
        await answer(scope, receive, send)

    if not before:
        hurry()
    async with serving(Listener(last_in_time, Address("127.0.0.1", 0))) as made, connected(made) as (reader, writer):
        for _ in range(before):
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")
        writer.write(start or b"\n" * before)
        assert await rest(reader) == b""


@pytest.mark.usefixtures("impatient")
async def test_a_head_is_not_prolonged_by_trickling(listener: Listener) -> None:
    async with connected(listener) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n")

        async def trickle() -> None:
            while True:
                writer.write(b"x: y\r\n")
                await asyncio.sleep(0.05)

        task = asyncio.create_task(trickle())
        assert await rest(reader) == b""
        task.cancel()


@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTTP/1.1\r\nx: ",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 100,
        b"GET /",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: ",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;",
    ],
    ids=["a header", "headers", "a path", "a trailer", "a chunk's extension"],
)
async def test_what_has_no_end_is_cut_off(listener: Listener, start: bytes) -> None:
    async with connected(listener) as (reader, writer):
        writer.write(start)
        sent = 0
        try:
            while sent < 20_000_000 and not reader.at_eof():
                writer.write(b"a" * 65_536)
                await writer.drain()
                sent += 65_536
        except ConnectionError:
            pass
        assert sent < 20_000_000
        assert b"200 OK" not in await rest(reader)


@pytest.mark.parametrize("encoding", ["length", "chunked"])
async def test_a_body_may_be_longer_than_a_head(listener: Listener, encoding: str) -> None:
    body = b"b" * 300_000
    async with connected(listener) as (reader, writer):
        if encoding == "length":
            writer.write(b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        else:
            writer.write(
                b"POST / HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
                % (len(body), body)
            )
        await writer.drain()
        assert (await rest(reader)).endswith(b"300000")


@pytest.mark.usefixtures("impatient")
async def test_who_takes_no_answer_is_let_go(listener: Listener) -> None:
    async with connected(listener) as (_reader, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined] # asyncio's transports of sockets have it
        writer.write(b"GET /large HTTP/1.1\r\n\r\n" * 30)
        await until(lambda: not listener.connections)


@pytest.mark.parametrize("is_half", [True, False])
async def test_a_connection_is_known_to_be_over_although_nobody_reads_what_came(*, is_half: bool) -> None:
    made: asyncio.Queue[asyncio.Transport] = asyncio.Queue()

    class Accepting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            made.put_nowait(transport)

    async with await asyncio.get_running_loop().create_server(Accepting, "127.0.0.1", 0) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        transport, connection = await made.get(), Connected()
        assert not connection.is_over()
        connection.made(transport)
        transport.pause_reading()
        writer.write(b"x" * 1000)
        assert not connection.is_over()
        if is_half:
            writer.write_eof()
        else:
            writer.close()
        await until(connection.is_over)
        writer.close()
        transport.abort()


def test_of_another_system_whose_states_count_otherwise_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bound:
        def get_extra_info(self, _: str) -> Bound:
            return self

        def getsockopt(self, *_: int) -> bytes:
            return b"\x04"  # what BSDs call established

    connection = Connected()
    connection.made(Bound())  # type: ignore[arg-type]
    assert connection.is_over(), "for Linux, that is no established one"
    monkeypatch.setattr("tailseal.workers.common.http.connection.sys", SimpleNamespace(platform="freebsd14"))
    assert not connection.is_over()
    connection.lost()
    assert connection.is_over()


async def test_where_places_are_scarce_nobody_keeps_one_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HURRY_SECONDS", 0.1)
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 600.0)
    async with serving(Listener(answer, Address("127.0.0.1", 0), most=6)) as listener, AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connected(listener)) for _ in range(4)]
        assert await rest(connections[3][0]) == b""
        await until(lambda: listener.connections == 3)
        monkeypatch.setattr(protocol, "HURRY_SECONDS", 600.0)  # this one stays, so that it is crowded
        connections[3] = await stack.enter_async_context(connected(listener))
        connections[0][1].write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await rest(connections[0][0])).startswith(b"HTTP/1.1 200")


async def test_requests_beyond_the_places_are_counted() -> None:
    refused: list[str] = []
    listener = Listener(answer, Address("127.0.0.1", 0), most=2, refused=refused.append)
    async with serving(listener), connected(listener), connected(listener) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert (await rest(reader)).startswith(b"HTTP/1.1 503")
    assert refused == ["crowded"]
