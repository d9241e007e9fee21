"""The outbound client against servers that behave, misbehave, and lie about who they are."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext

import pytest

from tailseal.egress import client as egress_client
from tailseal.egress.client import LARGEST_ANSWER, Egress
from tailseal.egress.errors import EgressError, EgressReason
from tailseal.egress.guard import Address
from tailseal_dev.pki import Authority

OPEN = ("127.0.0.0/8",)
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def reply(head: str, body: bytes = b"") -> Talk:
    """A server that reads one request and says this."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)

    return talk


@asynccontextmanager
async def server(talk: Talk, context: SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, host, 0, ssl=context)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


@asynccontextmanager
async def made(**arguments: object) -> AsyncIterator[Egress]:
    egress = Egress(**{"open_hosts": OPEN, **arguments})  # type: ignore[arg-type]
    try:
        yield egress
    finally:
        await egress.aclose()


async def fails(egress: Egress, url: str, reason: EgressReason, **arguments: str) -> EgressError:
    with pytest.raises(EgressError) as caught:
        await egress.get(url, **arguments)
    assert caught.value.reason is reason, caught.value
    return caught.value


async def test_a_document_is_fetched_with_its_status_and_headers() -> None:
    async with server(reply("HTTP/1.1 404 Not Found\nX-A: b\nContent-Length: 2", b"{}")) as port, made() as egress:
        answer = await egress.get(f"http://127.0.0.1:{port}/x")
        assert (answer.status, answer.headers["x-a"], answer.body) == (404, "b", b"{}")


async def test_a_redirect_is_not_followed() -> None:
    head = "HTTP/1.1 302 Found\nLocation: http://169.254.169.254/\nContent-Length: 0"
    async with server(reply(head)) as port, made() as egress:
        await fails(egress, f"http://127.0.0.1:{port}/", EgressReason.REDIRECT)


async def test_an_endless_answer_is_cut_off() -> None:
    head = "HTTP/1.1 200 OK\nConnection: close"
    async with server(reply(head, b"x" * (LARGEST_ANSWER + 1))) as port, made() as egress:
        await fails(egress, f"http://127.0.0.1:{port}/", EgressReason.TOO_LARGE)


async def test_a_compressed_answer_is_refused_unread() -> None:
    body = gzip.compress(b" " * 100_000_000)
    head = f"HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: {len(body)}"
    async with server(reply(head, body)) as port, made() as egress:
        await fails(egress, f"http://127.0.0.1:{port}/", EgressReason.ENCODED)


@pytest.mark.parametrize("told", [0.2, None], ids=["told", "by default"])
async def test_a_server_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch, told: float | None) -> None:
    monkeypatch.setattr(egress_client, "PATIENCE", 3600.0 if told else 0.2)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with server(drip) as port, made(patience=told) as egress:
        await fails(egress, f"http://127.0.0.1:{port}/", EgressReason.TIMEOUT)


async def test_nonsense_and_silence_are_unreachable() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    for talk in (reply("SSH-2.0-x"), hang_up):
        async with server(talk) as port, made() as egress:
            await fails(egress, f"http://127.0.0.1:{port}/", EgressReason.UNREACHABLE)
    async with made() as egress:
        await fails(egress, f"http://127.0.0.1:{port}/", EgressReason.UNREACHABLE)


async def test_what_is_not_opened_is_not_even_connected_to() -> None:
    connected = asyncio.Event()

    async def notice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()

    async with server(notice) as port, made(open_hosts=()) as egress:
        await fails(egress, f"https://127.0.0.1:{port}/", EgressReason.ADDRESS_REFUSED)
        assert not connected.is_set()


async def test_a_name_with_one_private_address_is_refused() -> None:
    async def resolve(host: str) -> tuple[Address, ...]:
        return ip_address("140.82.112.3"), ip_address("10.0.0.1")

    async with made(open_hosts=(), resolve=resolve) as egress:
        await fails(egress, "https://ci.example/", EgressReason.ADDRESS_REFUSED)


async def test_the_address_that_was_checked_is_the_one_that_is_used() -> None:
    """A name that resolves to something else a moment later (DNS rebinding) gains nothing."""
    answers = iter([(ip_address("127.0.0.1"),), (ip_address("169.254.169.254"),)])
    asked: list[str] = []

    async def resolve(host: str) -> tuple[Address, ...]:
        asked.append(host)
        return next(answers)

    authority = Authority()
    context = tls(authority, "ci.example")
    talk = reply("HTTP/1.1 200 OK\nContent-Length: 2\nConnection: close", b"ok")
    async with server(talk, context) as port, made(open_hosts=("ci.example",), resolve=resolve) as egress:
        answer = await egress.get(f"https://ci.example:{port}/", ca=authority.certificate.decode())
        assert answer.body == b"ok"
        assert asked == ["ci.example"]
        await fails(
            egress, f"https://ci.example:{port}/", EgressReason.ADDRESS_REFUSED, ca=authority.certificate.decode()
        )


def tls(authority: Authority, name: str) -> SSLContext:
    import tempfile  # noqa: PLC0415 - only here

    context = SSLContext(PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        context.load_cert_chain(*authority.server((name,)).write(Path(folder), "server"))
    return context


async def local(host: str) -> tuple[Address, ...]:
    return (ip_address("127.0.0.1"),)


OK = reply("HTTP/1.1 200 OK\nContent-Length: 2\nConnection: close", b"ok")


async def test_a_certificate_for_another_name_is_refused() -> None:
    authority = Authority()
    async with server(OK, tls(authority, "other.example")) as port, made(open_hosts=OPEN, resolve=local) as egress:
        error = await fails(egress, f"https://ci.example:{port}/", EgressReason.TLS, ca=authority.certificate.decode())
        assert "ci.example" in str(error)


async def test_an_unknown_authority_is_refused_unless_the_platform_adds_it() -> None:
    authority = Authority()
    async with server(OK, tls(authority, "ci.example")) as port:
        url = f"https://ci.example:{port}/"
        async with made(resolve=local) as egress:
            await fails(egress, url, EgressReason.TLS)
            await fails(egress, url, EgressReason.TLS, ca=Authority().certificate.decode())
            await fails(egress, url, EgressReason.TLS, ca="no certificate")
        async with made(resolve=local, extra_ca=authority.certificate.decode()) as egress:
            assert (await egress.get(url)).body == b"ok"


async def test_trust_in_one_authority_is_not_lent_to_requests_that_name_another() -> None:
    """A connection opened under one CA bundle is never reused for a request under another."""
    authority = Authority()
    keep = reply("HTTP/1.1 200 OK\nContent-Length: 2", b"ok")

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await keep(reader, writer)
        await keep(reader, writer)

    async with server(twice, tls(authority, "ci.example")) as port, made(resolve=local) as egress:
        url = f"https://ci.example:{port}/"
        assert (await egress.get(url, ca=authority.certificate.decode())).status == 200
        await fails(egress, url, EgressReason.TLS)


async def test_a_name_without_address_is_said_so() -> None:
    async with made() as egress:
        await fails(egress, "https://no-such-host.invalid/", EgressReason.UNRESOLVED)


@pytest.mark.parametrize("ca", ["-----BEGIN CERTIFICATE-----\nnonsense", "-----BEGIN CERTIFICATE-----\né"])
async def test_a_ca_bundle_that_is_none_is_said_so(ca: str) -> None:
    async with made() as egress:
        await fails(egress, "https://127.0.0.1:1/", EgressReason.TLS, ca=ca)


async def test_names_whose_servers_never_answer_keep_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    answered, all_hang, hanging = threading.Event(), threading.Event(), set[str]()

    def lookup(host: str, *_: object, **__: object) -> list[object]:
        if host.startswith("slow"):
            hanging.add(host)
            if len(hanging) == 16:
                all_hang.set()
            answered.wait()
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    async with made() as egress, asyncio.TaskGroup() as group:
        for number in range(16):
            group.create_task(fails(egress, f"https://slow{number}.example/", EgressReason.UNRESOLVED))
        try:
            assert await asyncio.to_thread(all_hang.wait, 60)
            await fails(egress, "https://fast.example/", EgressReason.UNRESOLVED)
        finally:
            answered.set()


async def test_a_slow_host_keeps_nobody_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress_client, "CONNECTIONS", 3)
    held, answer = 0, asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal held
        held += 1
        await answer.wait()
        await OK(reader, writer)

    async with server(slow) as slow_port, server(OK, host="127.0.0.2") as port, made(per_host=2) as egress:
        waiting = [asyncio.create_task(egress.get(f"http://127.0.0.1:{slow_port}/")) for _ in range(4)]
        await asyncio.sleep(0)
        assert (await egress.get(f"http://127.0.0.2:{port}/")).body == b"ok"
        assert held <= 2
        answer.set()
        assert [done.body for done in await asyncio.gather(*waiting)] == [b"ok"] * 4


async def test_a_client_that_has_to_leave_ends_its_requests_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress_client, "_MOST_CLIENTS", 1)
    asked, go_on, hung_up = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await go_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.read()
        hung_up.set()

    async with server(slow) as slow_port, server(OK) as port, made() as egress:
        first = asyncio.create_task(egress.get(f"http://127.0.0.1:{slow_port}/"))
        await asked.wait()
        assert (await egress.get(f"http://127.0.0.1:{port}/", ca=Authority().certificate.decode())).body == b"ok"
        go_on.set()
        assert (await first).body == b"ok"
        async with asyncio.timeout(60):
            await hung_up.wait()  # and then its connections are closed


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with server(OK) as port, made() as egress:
        assert (await egress.get(f"http://127.0.0.1:{port}/")).body == b"ok"


async def test_a_form_is_sent_and_its_secret_in_no_error() -> None:
    got: list[bytes] = []

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        got.append(head + await reader.readexactly(len(b"client_secret=canary+%26")))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with server(read) as port, made() as egress:
        url = f"http://127.0.0.1:{port}/token"
        assert (await egress.post_form(url, {"client_secret": "canary &"})).status == 200
    assert b"application/x-www-form-urlencoded" in got[0]
    assert got[0].endswith(b"client_secret=canary+%26")
    async with made() as egress:
        with pytest.raises(EgressError) as caught:
            await egress.post_form(url, {"client_secret": "canary &"})
    assert "canary" not in repr(caught.value)
