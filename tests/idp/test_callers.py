"""Whose a connection is, asked once and while it is there, and whose requests are limited as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fakes import idp
from fakes.localapi import FakeLocalApi, standing_in
from fakes.worker import until
from tailseal.tailnet import Direct, LocalApi, NobodyError, Outage, Refusal, UnavailableError
from tailseal.workers.common.http import connection
from tailseal.workers.common.http.address import Address
from tailseal.workers.common.http.connection import Connection
from tailseal.workers.common.http.serving import Listener
from tailseal.workers.common.http.wire import Receive, Scope, Send
from tailseal.workers.idp import callers
from tailseal.workers.idp.tailnet import join

PATIENT = 60.0


def scope(client: tuple[str, int] | None, forwarded: str = "", **kept: Any) -> dict[str, Any]:  # noqa: ANN401
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    connection = Connection()
    connection.kept.update({f"tailseal.{name}": value for name, value in kept.items()})
    return {"client": client, "headers": headers, "state": {"connection": connection}}


@pytest.mark.parametrize(
    ("found", "source"),
    [
        (scope(("10.0.0.7", 1)), "10.0.0.7"),
        (scope(("10.0.0.7", 1), "100.64.0.9"), "10.0.0.7"),
        (scope(None, "100.64.0.9"), "100.64.0.9"),
        (scope(None, "100.64.0.9, 100.64.0.8"), ""),
        (scope(None), ""),
        (scope(("127.0.0.1", 1), accepted=idp.PEOPLE["bob"]), "100.64.0.2"),
        ({"headers": [], "client": ("10.0.0.7", 1)}, "10.0.0.7"),
    ],
)
def test_a_source_is_a_node_and_not_the_socket_that_all_share(found: dict[str, Any], source: str) -> None:
    assert callers.source_of(found) == source


@pytest.fixture
async def tailscaled() -> AsyncIterator[FakeLocalApi]:
    async with standing_in() as fake:
        yield fake


def by_port(tailscaled: FakeLocalApi) -> list[str]:
    return [asked for asked in tailscaled.asked if "proto=tcp" in asked]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (None, Refusal.UNKNOWN),
        ({"Node__Expired": True}, Refusal.EXPIRED),
        ({"CapMap": "none"}, Outage.MALFORMED),
    ],
    ids=["nobody", "a node that may come back", "nobody can say"],
)
async def test_only_who_was_known_stays_so_for_as_long_as_the_connection(
    tailscaled: FakeLocalApi, changes: dict[str, Any] | None, reason: Refusal | Outage
) -> None:
    if changes is not None:
        tailscaled.knows("user", "127.0.0.1:40000", **changes)
    resolver, request = Direct(LocalApi(str(tailscaled.path), PATIENT)), scope(("127.0.0.1", 40000))
    with pytest.raises((NobodyError, UnavailableError)) as caught:
        await callers._accepted(resolver, request)
    assert caught.value.reason is reason
    tailscaled.knows("user", "127.0.0.1:40000")
    for _ in range(2):
        caller = await callers._accepted(resolver, request)
        assert caller is not None
        assert caller.subject == "userid:1"
    assert len(by_port(tailscaled)) == 2


@dataclass
class Kept:
    """A connection that its caller keeps."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def source(self) -> str:
        host, port = self.writer.get_extra_info("sockname")
        return f"{host}:{port}"

    async def asks(self) -> tuple[int, bool]:
        """Status of one answer, and whether it was the last."""
        self.writer.write(b"GET / HTTP/1.1\r\nHost: corp\r\nAccept: application/json\r\n\r\n")
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(line for line in head.splitlines() if line.startswith("content-length:"))
        await self.reader.readexactly(int(length.split()[1]))
        if is_last := "\r\nconnection: close\r\n" in head:
            assert await self.reader.read() == b"", "it is closed, as it was said to be"
        return int(head.split()[1]), is_last


@pytest.fixture
async def caller_comes(tailscaled: FakeLocalApi, tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[Kept]]]:
    """Opens connections to a provider in mode `Direct`."""
    opened: list[Kept] = []

    async def comes() -> Kept:
        opened.append(Kept(*await asyncio.open_connection(listener.address.host, listener.address.port)))
        return opened[-1]

    async with idp.running(tmp_path) as provider:
        place = Address("127.0.0.1", 0)
        listener = Listener(join(provider.worker, place, str(tailscaled.path)).over_tailnet, place)
        running = asyncio.create_task(listener.run())
        await listener.accepting()
        yield comes
        for each in opened:
            each.writer.close()
        listener.stop()
        await running


async def test_a_connection_whose_node_changes_hands_is_closed_and_the_next_one_is_the_new_owners(
    tailscaled: FakeLocalApi, caller_comes: Callable[[], Awaitable[Kept]]
) -> None:
    first = await caller_comes()
    tailscaled.knows("user")
    tailscaled.knows("user", first.source)
    assert [await first.asks() for _ in range(2)] == [(200, False)] * 2
    hers = {"Node__User": 2, "UserProfile__ID": 2}
    tailscaled.knows("user", **hers)
    assert await first.asks() == (401, True)
    second = await caller_comes()
    tailscaled.knows("user", second.source, **hers)
    assert [await second.asks() for _ in range(2)] == [(200, False)] * 2


async def test_who_was_not_known_when_a_connection_was_new_comes_again_by_another_and_is(
    tailscaled: FakeLocalApi, caller_comes: Callable[[], Awaitable[Kept]]
) -> None:
    assert await (await caller_comes()).asks() == (401, True)
    again = await caller_comes()
    tailscaled.knows("user")
    tailscaled.knows("user", again.source)
    assert await again.asks() == (200, False)


async def test_where_nobody_can_say_who_it_is_the_connection_stays(
    tailscaled: FakeLocalApi, caller_comes: Callable[[], Awaitable[Kept]]
) -> None:
    tailscaled.status["BackendState"] = "Starting"
    kept = await caller_comes()
    assert await kept.asks() == (503, False)
    tailscaled.status["BackendState"] = "Running"
    tailscaled.knows("user")
    tailscaled.knows("user", kept.source)
    assert await kept.asks() == (200, False)


async def test_who_opens_connections_and_ends_them_keeps_no_other_from_being_known(tailscaled: FakeLocalApi) -> None:
    resolver, requests, found = Direct(LocalApi(str(tailscaled.path), PATIENT)), [], []
    first_is_answered = asyncio.Event()

    async def wait() -> None:
        await first_is_answered.wait()

    async def answer(request: Scope, _receive: Receive, send: Send) -> None:
        requests.append(request)
        try:
            caller = await callers._accepted(resolver, request)
            found.append("" if caller is None else caller.subject)
        except NobodyError as error:
            found.append(error.reason)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def opened() -> asyncio.StreamWriter:
        before = len(requests)
        _, writer = await asyncio.open_connection(listener.address.host, listener.address.port)
        writer.write(b"POST /issue HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        await until(lambda: len(requests) > before)
        return writer

    tailscaled.delay = wait  # about the first: all others wait for their turn
    listener = Listener(answer, Address("127.0.0.1", 0))
    running = asyncio.create_task(listener.run())
    await listener.accepting()
    first = await opened()
    for _ in range(10):
        (await opened()).close()
    known = await opened()
    for writer, name in ((first, "user"), (known, "tagged")):
        host, port = writer.get_extra_info("sockname")
        tailscaled.knows(name, f"{host}:{port}")
    gone = [request["state"][connection.STATE] for request in requests[1:-1]]
    await until(lambda: all(each.is_over() for each in gone))
    first_is_answered.set()
    await until(lambda: len(found) == 12)
    assert sorted(found) == sorted(["userid:1", *[Refusal.UNKNOWN] * 10, "node:3"])
    assert len(by_port(tailscaled)) == 2, "of those who have gone nobody was asked"
    first.close()
    known.close()
    listener.stop()
    await running
