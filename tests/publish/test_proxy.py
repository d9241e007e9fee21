"""What a library connects to is what was checked, and what comes back to it is bounded."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address

import pytest
import pytest_asyncio

from fakes.s3server import ACCESS, SECRET, S3Server, s3_server
from tailseal.domain.publishing.metadata import JWKS_TYPE
from tailseal.domain.publishing.store import Bucket, Held, StoreError, StoreReason
from tailseal.egress.client import LARGEST_ANSWER, Egress
from tailseal.egress.guard import Address, Opened
from tailseal.publish.outside import Internet
from tailseal.publish.proxy import Proxy
from tailseal.publish.tunnel import Guard
from tailseal_dev.pki import Authority

NAME = "store.example"
KEY = "corp/.well-known/jwks.json"
SET = Held(b'{"keys":[]}', "", JWKS_TYPE, "public, max-age=60")


class Names:
    """A resolver whose answers change: what `told` has, the last of it again and again."""

    def __init__(self, *told: str) -> None:
        self.told, self.asked = list(told), 0

    async def __call__(self, host: str) -> tuple[Address, ...]:
        assert host == NAME
        self.asked += 1
        return (ip_address(self.told.pop(0) if len(self.told) > 1 else self.told[0]),)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3"), authority, names=(NAME,)) as running:
        yield running


@pytest.fixture
def bucket(server: S3Server) -> Bucket:
    name = f"keys-{secrets.token_hex(4)}"
    server.make_bucket(name)
    credentials = {"access_key_id": ACCESS, "secret_access_key": SECRET}
    return Bucket(name, endpoint=f"https://{NAME}:{server.port}", path_style=True, credentials=credentials)


@contextlib.asynccontextmanager
async def internet(authority: Authority, names: Names) -> AsyncIterator[Internet]:
    outside = Internet(("127.0.0.1",), authority.certificate.decode(), resolve=names)
    yield outside
    await outside.aclose()


async def test_a_name_is_resolved_by_us_alone_and_its_certificate_checked_by_the_library(
    bucket: Bucket, authority: Authority, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No resolver of this machine knows the name, and a proxy of the environment is not asked."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with internet(authority, Names("127.0.0.1")) as outside:
        await outside.store(bucket).put(KEY, SET, over=None)
        held = await outside.store(bucket).get(KEY)
        assert held is not None
        assert held.body == SET.body
    async with internet(Authority(), Names("127.0.0.1")) as stranger:
        with pytest.raises(StoreError) as caught:
            await stranger.store(bucket).get(KEY)
        assert caught.value.reason is StoreReason.UNREACHABLE


@pytest.mark.parametrize("call", ["get", "put"])
async def test_a_name_that_leads_elsewhere_after_the_check_leads_nowhere(
    bucket: Bucket, authority: Authority, server: S3Server, call: str
) -> None:
    """As in DNS rebinding: the check sees what is opened, and who connects would see what is not."""
    met: list[object] = []

    async def inner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append(writer.get_extra_info("peername"))
        writer.close()

    names = Names("127.0.0.1", "127.0.0.2")
    async with (
        await asyncio.start_server(inner, "127.0.0.2", server.port),
        internet(authority, names) as outside,
    ):
        store = outside.store(bucket)
        with pytest.raises(StoreError) as caught:
            await (store.get(KEY) if call == "get" else store.put(KEY, SET, over=None))
    assert caught.value.reason is StoreReason.UNREACHABLE
    assert names.asked > 1, "it was asked for again when it was connected to"
    assert met == []


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden", "500 Internal Server Error"])
async def test_an_answer_without_end_is_cut(status: str) -> None:
    """Also an error's body, which the library would read to its end."""
    sent: list[int] = []

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 {status}\r\nETag: x\r\nLast-Modified: Sat, 21 Nov 2026 00:00:00 GMT\r\n"
            writer.write(f"{head}Content-Length: 100000000000\r\n\r\n".encode())
            sent.append(0)
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
                sent[-1] += 65_536

    credentials = {"access_key_id": ACCESS, "secret_access_key": SECRET}
    listener = await asyncio.start_server(endless, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    outside = Internet(("127.0.0.1",))
    async with listener:
        with pytest.raises(StoreError) as caught:
            await outside.store(Bucket("keys", endpoint=url, path_style=True, credentials=credentials)).get(KEY)
        await outside.aclose()
        await asyncio.sleep(0)
    assert len(str(caught.value)) < 200
    assert sent
    assert max(sent) < LARGEST_ANSWER + 16 * 2**20, "what was not taken stands in buffers of the system"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("409 Conflict", StoreReason.CHANGED),
        ("412 Precondition Failed", StoreReason.CHANGED),
        ("503 Service Unavailable", StoreReason.UNREACHABLE),
        ("301 Moved Permanently", StoreReason.UNREACHABLE),
        ("400 Bad Request", StoreReason.UNREACHABLE),
    ],
)
async def test_a_store_is_judged_by_its_answer_and_not_by_its_name(status: str, reason: StoreReason) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
        writer.close()

    credentials = {"access_key_id": ACCESS, "secret_access_key": SECRET}
    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    outside = Internet(("127.0.0.1",))
    async with listener:
        store = outside.store(Bucket("conflict-keys", endpoint=url, path_style=True, credentials=credentials))
        with pytest.raises(StoreError) as caught:
            await store.put(KEY, SET, over=None)
        await outside.aclose()
    assert caught.value.reason is reason


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[Proxy]:
    opened, names = ("127.0.0.1",), Names("127.0.0.1")
    made = Proxy(Egress(opened, resolve=names), Guard(Opened.of(opened), names))
    yield made
    await made.aclose()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("CONNECT 169.254.169.254:443 HTTP/1.1", 502),
        ("CONNECT 10.0.0.1:443 HTTP/1.1", 502),
        (f"CONNECT {NAME}:1 HTTP/1.1", 502),
        ("GET http://169.254.169.254/latest/meta-data HTTP/1.1", 502),
        ("GET http://10.0.0.1/ HTTP/1.1", 502),
        ("GET http://127.0.0.1:1/ HTTP/1.1", 502),
        ("GET https://127.0.0.1/ HTTP/1.1", 400),
        ("GET / HTTP/1.1", 400),
        ("CONNECT", 502),
        ("", 400),
    ],
)
async def test_it_leads_only_where_the_egress_rules_allow(proxy: Proxy, request_: str, status: int) -> None:
    assert await _answer(proxy, request_, await _ours(proxy)) == status


async def test_it_serves_nobody_else_on_this_machine(proxy: Proxy) -> None:
    for sent in ("", "Proxy-Authorization: Basic aHR0cHM6eA==\r\n", "Proxy-Authorization: \r\n"):
        assert await _answer(proxy, "CONNECT 127.0.0.1:1 HTTP/1.1", sent) == 407


async def _ours(proxy: Proxy) -> str:
    name, _, token = (await proxy.url("https")).removeprefix("http://").partition("@")[0].partition(":")
    return f"Proxy-Authorization: Basic {base64.b64encode(f'{name}:{token}'.encode()).decode()}\r\n"


async def _answer(proxy: Proxy, request_: str, headers: str) -> int:
    port = int((await proxy.url("https")).rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{request_}\r\n{headers}\r\n".encode())
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ")[1])


async def test_nobody_who_only_holds_a_connection_keeps_the_operator_from_ending() -> None:
    egress, names = Egress(("127.0.0.1",)), Names("127.0.0.1")
    made = Proxy(egress, Guard(Opened.of(("127.0.0.1",)), names))
    _, writer = await asyncio.open_connection("127.0.0.1", int((await made.url("https")).rpartition(":")[2]))
    writer.write(b"GET http://127.0.0.1/ HTTP/1.1\r\n")
    await asyncio.sleep(0.05)
    async with asyncio.timeout(60):
        await made.aclose()
    writer.close()
    await egress.aclose()


@pytest.mark.parametrize("stalls", ["who asks", "the far side"])
async def test_a_side_that_takes_nothing_more_is_left(monkeypatch: pytest.MonkeyPatch, stalls: str) -> None:
    """What was written to it can never be flushed, so nobody may wait for that."""
    monkeypatch.setattr("tailseal.publish.proxy.PATIENCE", 0.3)
    ended = asyncio.Event()

    async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if stalls == "who asks":
            writer.write(b"x" * LARGEST_ANSWER)
            await reader.read()
        else:
            await ended.wait()
        writer.transport.abort()

    listener = await asyncio.start_server(far, "127.0.0.1", 0, limit=2**16)
    opened, names = ("127.0.0.1",), Names("127.0.0.1")
    made = Proxy(Egress(opened, resolve=names), Guard(Opened.of(opened), names))
    port = int((await made.url("https")).rpartition(":")[2])
    held, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**10)
    head = f"CONNECT 127.0.0.1:{listener.sockets[0].getsockname()[1]} HTTP/1.1\r\n{await _ours(made)}\r\n"
    writer.write(head.encode() + (b"y" * 16 * 2**20 if stalls == "the far side" else b""))
    await asyncio.sleep(0.6)
    try:
        serving = [task for task in asyncio.all_tasks() if "Proxy._serve" in repr(task.get_coro())]
        assert not serving or not (await asyncio.wait(serving, timeout=60))[1]
    finally:
        ended.set()
        held.feed_eof()
        writer.transport.abort()
        listener.close()
        await made.aclose()
