"""A replica that ends while it is busy: nobody's exchange fails, and what it waits for does not keep it for ever."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from fakes import bundles, exchange, processes
from fakes.processes import Process, fresh
from fakes.worker import LOOPBACK, PATIENCE, Running, content, eventually, form, granting, inline, running, until
from tailseal.domain.bundle.model import Upstream
from tailseal.workers.common.bundle.source import MemorySource
from tailseal.workers.common.http import protocol, serving
from tailseal.workers.common.http.address import Address
from tailseal.workers.common.http.serving import Listener
from tailseal.workers.common.http.tls import Certificates
from tailseal.workers.common.worker import Place, Worker
from tailseal.workers.exchange import token
from tailseal.workers.sts import app as sts
from tailseal_dev.pki import Authority
from tailseal_dev.ports import free_ports

KEPT, FRESH = 6, 2
AUTHORITY = Authority()
TRUSTING = ssl.create_default_context(cadata=AUTHORITY.certificate.decode())


@dataclass
class Crowd:
    """Callers of replicas behind one name, which leads to those that are ready."""

    ready: list[Process]
    served: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    over: bool = False

    async def keep(self) -> None:
        """Exchange over one connection for as long as the replica keeps it, then over another one."""
        while not self.over:
            url = self._any()
            async with _client() as client:
                while await self._ask(client, url) and not self.over:
                    pass

    async def come_and_go(self) -> None:
        """Exchange over a connection of its own each time."""
        while not self.over:
            url = self._any()
            async with _client() as client:
                await self._ask(client, url)

    async def watch(self) -> None:
        """Look who is ready, as a load balancer does."""
        async with _client() as client:
            while not self.over:
                for process in tuple(self.ready):
                    if (await client.get(f"{process.private}/readyz")).status_code != 200:
                        self.ready.remove(process)
                await asyncio.sleep(0.1)

    def _any(self) -> str:
        return random.choice(self.ready).public

    async def _ask(self, client: httpx.AsyncClient, url: str) -> bool:
        """Whether the connection is kept."""
        try:
            answer = await client.post(f"{url}/token", data=fresh())
        except httpx.HTTPError as error:
            self.failed.append(repr(error))
            return False
        if answer.status_code != 200:
            self.failed.append(answer.text)
        self.served[url] += 1
        return bool(answer.headers.get("connection") != "close")


def _client(verify: ssl.SSLContext | bool = True) -> httpx.AsyncClient:  # noqa: FBT001, FBT002 - as httpx has it
    return httpx.AsyncClient(trust_env=False, timeout=PATIENCE, verify=verify)


async def test_of_two_replicas_under_load_one_ends_and_no_exchange_fails(tmp_path: Path) -> None:
    processes.bundle(tmp_path / "b")
    async with (
        processes.running(tmp_path / "b", "--drain", "12") as one,
        processes.running(tmp_path / "b", "--drain", "2") as other,
    ):
        crowd = Crowd([one, other])
        async with asyncio.TaskGroup() as group:
            for _ in range(KEPT):
                group.create_task(crowd.keep())
            for _ in range(FRESH):
                group.create_task(crowd.come_and_go())
            group.create_task(crowd.watch())
            await until(lambda: min(crowd.served[one.public], crowd.served[other.public]) > 50)
            one.run.terminate()
            assert await asyncio.to_thread(one.run.wait, PATIENCE) == 0
            before = crowd.served[other.public]
            await until(lambda: crowd.served[other.public] > before + 50)
            crowd.over = True
    assert crowd.failed == []
    assert crowd.ready == [other]


class Slow:
    """An upstream that answers when it is told to."""

    def __init__(self) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def token(self, *_: object, scopes: tuple[str, ...], **__: object) -> Any:  # noqa: ANN401
        self.asked.set()
        await self.go.wait()
        return type("Token", (), {"access_token": "tskey", "expires_in": 60, "scopes": scopes})()


def upstreamed() -> MemorySource:
    tailscale = {"apiUrl": "https://ts.example", "credential": "c"}
    upstream = Upstream.model_validate({"name": "prod", "tailscale": tailscale})
    settings = exchange.SETTINGS.model_copy(update={"upstreams": (upstream,)})
    grant = {"name": "api", "tailscale": {"upstream": "prod", "scopes": ["devices:core:read"]}}
    return bundles.source(None, bundles.policies(exchange.record(inline() | {"grants": [grant]}), settings=settings))


@asynccontextmanager
async def waiting(audit_file: Path, slow: Slow) -> AsyncIterator[tuple[Running, asyncio.Task[httpx.Response]]]:
    """A worker that was told to end while an exchange waits for the upstream."""
    apps: list[ASGIApp] = []

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await apps[0](scope, receive, send)

    async with running(upstreamed(), audit_file, app=late) as worker, _client() as client:
        apps.append(sts.build(replace(worker.worker.runtime, upstreams=slow)))  # type: ignore[arg-type]
        asking = asyncio.create_task(client.post(f"{worker.public}/token", data=form()))
        await until(lambda: slow.asked.is_set() or asking.done())
        assert not asking.done(), asking.result().text
        worker.stop.set()
        yield worker, asking


async def closed(url: str) -> None:
    """Wait until nobody is let in any more."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                _, writer = await asyncio.open_connection(*url.rpartition("//")[2].split(":"))
            except OSError:
                return
            writer.close()
            await asyncio.sleep(0.05)


async def test_an_exchange_that_waits_for_an_upstream_is_answered_before_the_end(audit_file: Path) -> None:
    slow = Slow()
    async with waiting(audit_file, slow) as (worker, asking):
        async with _client() as client:
            await eventually(client, f"{worker.private}/readyz", 503)
        await closed(worker.public)
        slow.go.set()
        answer = await asking
    assert (answer.status_code, answer.json()["access_token"]) == (200, "tskey")


async def test_an_upstream_that_never_answers_costs_a_503_in_time(
    audit_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token, "PATIENCE", 0.5)
    async with waiting(audit_file, Slow()) as (_, asking):
        answer = await asking
    assert (answer.status_code, answer.json()["tailseal_reason"]) == (503, "ExchangeTimedOut")
    assert '"reason":"ExchangeTimedOut"' in content(audit_file)


async def echo(_: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@pytest.fixture
def listener(tmp_path: Path, request: pytest.FixtureRequest) -> Listener:
    made = Listener(echo, Address("127.0.0.1", 0))
    if request.param:
        pair = AUTHORITY.server()
        (tmp_path / "tls.crt").write_bytes(pair.certificate)
        (tmp_path / "tls.key").write_bytes(pair.key)
        made.secure(Certificates(tmp_path))
    return made


async def closing(listener: Listener) -> tuple[asyncio.Task[None], asyncio.StreamReader, asyncio.StreamWriter]:
    """Somebody who connected, and said nothing until nobody was let in any more."""
    ending = asyncio.create_task(listener.run())
    await listener.accepting()
    reader, writer = await asyncio.open_connection(listener.address.host, listener.address.port)
    async with _client(verify=TRUSTING) as client:  # who comes later is served later
        assert (await client.get(listener.url)).status_code == 204
    listener.stop()
    await closed(listener.url)
    return ending, reader, writer


@pytest.mark.parametrize("listener", [False, True], indirect=True, ids=["http", "https"])
async def test_who_connected_before_the_port_was_closed_is_answered(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LAST_SECONDS", PATIENCE)
    monkeypatch.setattr(protocol, "HEAD_SECONDS", PATIENCE)
    monkeypatch.setattr(serving, "HANDSHAKE_SECONDS", PATIENCE)
    ending, reader, writer = await closing(listener)
    await asyncio.wait({ending}, timeout=1)
    assert not ending.done(), "with that, its process ends"
    if listener.scheme == "https":
        await writer.start_tls(TRUSTING, server_hostname="127.0.0.1")
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 204")
    assert b"connection: close" in answer
    monkeypatch.setattr(protocol, "LAST_SECONDS", 0)
    await ending


@pytest.mark.parametrize("listener", [False, True], indirect=True, ids=["http", "https"])
async def test_who_connected_and_says_nothing_does_not_keep_a_replica_from_ending(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LAST_SECONDS", 0.1)
    ending, _, writer = await closing(listener)
    async with asyncio.timeout(PATIENCE):
        await ending
    writer.close()


@pytest.mark.parametrize("listener", [True], indirect=True, ids=["https"])
async def test_who_connected_in_the_very_moment_and_does_not_shake_hands_does_not_keep_a_replica_from_ending(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing_port = serving._Server.shutdown
    silent: list[socket.socket] = []

    async def shutdown(server: Any, sockets: Any) -> None:  # noqa: ANN401 - uvicorn's
        place = (listener.address.host, listener.address.port)
        silent.append(socket.create_connection(place, timeout=PATIENCE))
        await closing_port(server, sockets)

    monkeypatch.setattr(serving._Server, "shutdown", shutdown)
    monkeypatch.setattr(serving, "HANDSHAKE_SECONDS", PATIENCE * 10)
    monkeypatch.setattr(protocol, "LAST_SECONDS", 0.1)
    ending = asyncio.create_task(listener.run())
    await listener.accepting()
    listener.stop()
    async with asyncio.timeout(PATIENCE):
        await ending
    with silent.pop():
        pass


def asked(caller: socket.socket, scheme: str) -> bytes:
    """What somebody gets who connected and asks now."""
    if scheme == "https":
        caller = TRUSTING.wrap_socket(caller, server_hostname="127.0.0.1")
    with caller:
        caller.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        return caller.recv(1000)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("listener", [False, True], indirect=True, ids=["http", "https"])
def test_who_connected_in_the_very_moment_in_which_the_port_is_closed_is_answered(
    listener: Listener, loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system has accepted them, the loop has not yet: with its port a socket takes them along."""
    callers: list[socket.socket] = []
    place = (listener.address.host, listener.address.port)
    closing_port = serving._Server.shutdown

    async def shutdown(server: Any, sockets: Any) -> None:  # noqa: ANN401 - uvicorn's
        callers.extend(socket.create_connection(place, timeout=PATIENCE) for _ in range(5))
        await closing_port(server, sockets)

    async def main() -> list[bytes]:
        ending = asyncio.create_task(listener.run())
        await listener.accepting()
        listener.stop()
        await until(lambda: bool(callers))
        answers = await asyncio.gather(*(asyncio.to_thread(asked, caller, listener.scheme) for caller in callers))
        await ending
        return answers

    monkeypatch.setattr(serving._Server, "shutdown", shutdown)
    monkeypatch.setattr(protocol, "LAST_SECONDS", PATIENCE)
    with asyncio.Runner(loop_factory=loop) as runner:
        answers = runner.run(main())
    assert [answer.partition(b"\r\n")[0] for answer in answers] == [b"HTTP/1.1 204 No Content"] * 5


@pytest.mark.parametrize("hands_over", [True, False], ids=["others know its callers", "nobody else does"])
async def test_the_port_for_a_tailnet_is_closed_at_once_where_callers_may_go_elsewhere(*, hands_over: bool) -> None:
    worker = Worker("idp", granting(), clock=lambda: exchange.NOW)
    stop, started = asyncio.Event(), asyncio.Event()
    (port,) = free_ports(1)
    listeners: list[Listener] = []

    def told(*made: Listener) -> None:
        listeners.extend(made)
        started.set()

    place = Place(LOOPBACK, LOOPBACK, drain=PATIENCE, tailnet=Address("127.0.0.1", port), hands_over=hands_over)
    task = asyncio.create_task(worker.run(echo, place, stop=stop, started=told, over_tailnet=echo))
    await asyncio.wait({task, asyncio.create_task(started.wait())}, return_when=asyncio.FIRST_COMPLETED)
    async with _client() as client:
        assert (await client.get(f"http://127.0.0.1:{port}")).status_code == 204
        stop.set()
        if hands_over:
            await closed(f"http://127.0.0.1:{port}")
        else:
            await until(lambda: worker.health.draining)
            assert (await client.get(f"http://127.0.0.1:{port}")).status_code == 204
        assert (await client.get(listeners[0].url)).status_code == 204
    task.cancel()
    await asyncio.wait({task})


def test_a_decision_ends_before_a_process_that_ends_stops_waiting() -> None:
    from tailseal.domain.render.deployment import DRAIN_SECONDS, WIND_DOWN_SECONDS  # noqa: PLC0415

    assert token.PATIENCE < serving.GRACE
    assert DRAIN_SECONDS + WIND_DOWN_SECONDS + protocol.LAST_SECONDS + serving.GRACE < 30
