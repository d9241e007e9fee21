"""Whose a connection is, asked once and while it is there, and whose requests are limited as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fakes import idp
from fakes.localapi import FakeLocalApi, standing_in
from fakes.worker import until
from tailseal.tailnet import Direct, LocalApi, NobodyError, Outage, Refusal, UnavailableError
from tailseal.workers.common.http.address import Address
from tailseal.workers.common.http.connection import Connection
from tailseal.workers.common.http.serving import Listener
from tailseal.workers.common.http.wire import Receive, Scope, Send
from tailseal.workers.idp import callers

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
    ("changes", "reason", "times"),
    [
        (None, Refusal.UNKNOWN, 1),
        ({"Node__Expired": True}, Refusal.EXPIRED, 3),
        ({"CapMap": "none"}, Outage.MALFORMED, 3),
    ],
    ids=["nobody", "a node that may come back", "nobody can say"],
)
async def test_a_connection_that_is_nobodys_is_asked_about_once_and_what_may_change_is_asked_again(
    tailscaled: FakeLocalApi, changes: dict[str, Any] | None, reason: Refusal | Outage, times: int
) -> None:
    if changes is not None:
        tailscaled.knows("user", "127.0.0.1:40000", **changes)
    resolver, request = Direct(LocalApi(str(tailscaled.path), PATIENT)), scope(("127.0.0.1", 40000))
    for _ in range(3):
        with pytest.raises((NobodyError, UnavailableError)) as caught:
            await callers._accepted(resolver, request)
        assert caught.value.reason is reason
    assert len(by_port(tailscaled)) == times


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
    first_is_answered.set()
    await until(lambda: len(found) == 12)
    assert sorted(found) == sorted(["userid:1", *[Refusal.UNKNOWN] * 10, "node:3"])
    assert len(by_port(tailscaled)) == 2, "of those who have gone nobody was asked"
    first.close()
    known.close()
    listener.stop()
    await running
