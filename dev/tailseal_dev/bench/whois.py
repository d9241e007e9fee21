"""How long it takes to learn who is calling, of a real tailscaled: alone, in a crowd, and in storms of strangers."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from tailseal.tailnet import Direct, LocalApi, NobodyError, Serve, UnavailableError
from tailseal_dev import process
from tailseal_dev.bench import direct
from tailseal_dev.bench.report import Row
from tailseal_dev.cache import BuildError
from tailseal_dev.tailnet import Tailnet, connections, why_not
from tailseal_dev.tailnet.__main__ import MEMBERS, POLICY, USERS
from tailseal_dev.tailnet.net import until

LOOKUPS = 500
"""Measured in each round."""

CROWD = 16
"""Who ask at once, or strangers in a storm."""

CONNECTIONS, REQUESTS = 24, 32
"""Held open, and sent on each."""

_PORT = 8080
_PATIENCE = 30.0
"""Seconds, where it is counted what is asked: an answer that does not come in time is asked for again."""

_ALONE = "who is calling: whois"
_CROWDED = f"{CROWD} at once ÷ alone"


def rows(rounds: int, _tailseal: Path, *, lookups: int = LOOKUPS, callers: int = direct.CALLERS) -> Iterator[Row]:
    """Raise a tailnet and ask its first node; one line that says why, where there can be none."""
    reason = why_not()
    try:
        if reason is None:
            with Tailnet(USERS, MEMBERS, POLICY) as net:
                asker = _Asker(str(net.nodes["idp"].socket), net.nodes["ana"].addresses[0])
                yield from asker.rows(rounds, lookups)
                with _held(net) as ports:
                    yield from _connections(str(net.nodes["idp"].socket), ports)
                yield from direct.rows(net, rounds, callers=callers)
    except BuildError as error:
        reason = str(error).partition("\n")[0]
    if reason is not None:
        yield Row("who is calling", f"not measured: {reason}")


@contextmanager
def _held(net: Tailnet) -> Iterator[list[int]]:
    """Connections that are open between two nodes, by the ports that whois knows them by."""
    node, log = net.nodes["idp"], net.directory / "connections.log"
    argv = [sys.executable, connections.__file__, str(_PORT), str(net.nodes["ana"].proxy), node.host, str(CONNECTIONS)]
    running = net.space.start(argv, log)
    try:
        until(lambda: len(log.read_text().split()) == CONNECTIONS, "connections could not be opened")
        yield [int(port) for port in log.read_text().split()]
    finally:
        process.stop(running)


def _connections(socket: str, ports: list[int]) -> Iterator[Row]:
    """What a listener asks that tailscaled forwards connections to, and what it remembers in between."""
    api = _Counted(socket)

    async def each() -> list[float]:
        resolver, seconds = Direct(api), []
        for port in ports:
            begin = time.perf_counter()
            connection = await resolver.accepted("127.0.0.1", port)
            seconds.append(time.perf_counter() - begin)
            for _ in range(REQUESTS):
                await resolver.caller(connection, [])
        return seconds

    p50, p99 = _figures(asyncio.run(each()))
    yield Row("who opened a connection: whois by port, once each", f"p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    requests = len(ports) * REQUESTS
    opened, state = (1 - asked / requests for asked in (api.asked["connection"], api.asked["status"]))
    seen = f"who opened it {opened:.1%}, our own node's state {state:.1%}, who they are by now 0%"
    yield Row(f"remembered, of {REQUESTS} requests a connection", seen, (opened + state) / 2, ">= 0.9")


class _Counted(LocalApi):
    """Counts what it asks."""

    def __init__(self, path: str) -> None:
        super().__init__(path, _PATIENCE)
        self.asked: Counter[str] = Counter()

    async def get(self, path: str, **query: str) -> Any | None:  # noqa: ANN401 - any JSON value
        """See `LocalApi`."""
        self.asked["connection" if "proto" in query else path] += 1
        return await super().get(path, **query)


class _Asker:
    """Asks one tailscaled.

    Args:
        socket: of its LocalAPI.
        known: address of a node that it knows.
    """

    def __init__(self, socket: str, known: str) -> None:
        self._socket, self._known = socket, known
        self._asked = self._unanswered = 0

    def rows(self, rounds: int, lookups: int) -> Iterator[Row]:
        """A row for each kind of company, by how much longer it takes than in other company."""
        medians: dict[str, float] = {}
        for name, ask, beside, gate in (
            (_ALONE, self._alone, "", ""),
            (_CROWDED, self._together, _ALONE, ""),
            (
                f"{CROWD} at once who ask about strangers' addresses ÷ about known ones",
                self._strangers,
                _CROWDED,
                "<= 3",
            ),
            ("among strangers' connections, one of them at a time ÷ alone", self._among_connections, _ALONE, "<= 20"),
        ):
            self._asked = self._unanswered = 0
            found = [asyncio.run(ask(lookups)) for _ in range(rounds)]
            p50, p99 = (median(figures) for figures in zip(*found, strict=True))
            medians[name] = p50
            late = f", {self._unanswered / self._asked:.1%} given up after a second" if self._unanswered else ""
            ratio = p50 / medians[beside] if beside else None
            yield Row(name, f"p50 {p50:.2f} ms, p99 {p99:.2f} ms{late}", ratio, gate)

    async def _alone(self, lookups: int) -> tuple[float, float]:
        resolver = Serve(LocalApi(self._socket))
        return _figures([await self._ask(resolver) for _ in range(lookups)])

    async def _together(self, lookups: int) -> tuple[float, float]:
        resolver = Serve(LocalApi(self._socket))

        async def several() -> list[float]:
            return [await self._ask(resolver) for _ in range(lookups // CROWD)]

        return _figures(list(itertools.chain(*await asyncio.gather(*(several() for _ in range(CROWD))))))

    async def _strangers(self, lookups: int) -> tuple[float, float]:
        resolver = Serve(LocalApi(self._socket))

        async def stranger(number: int) -> None:
            await resolver.caller(None, [(b"x-forwarded-for", f"100.99.{number}.1".encode())])

        async with _storm(stranger, CROWD):
            return _figures([await self._ask(resolver) for _ in range(lookups)])

    async def _among_connections(self, lookups: int) -> tuple[float, float]:
        direct, resolver = Direct(LocalApi(self._socket)), Serve(LocalApi(self._socket))

        async def stranger(number: int) -> None:
            await direct.accepted("127.0.0.1", 40_000 + number)

        async with _storm(stranger, CROWD):
            return _figures([await self._ask(resolver) for _ in range(max(20, lookups // 10))])

    async def _ask(self, resolver: Serve) -> float:
        begin = time.perf_counter()
        self._asked += 1
        try:
            await resolver.caller(None, [(b"x-forwarded-for", self._known.encode())])
        except UnavailableError:
            self._unanswered += 1
        return time.perf_counter() - begin


@asynccontextmanager
async def _storm(ask: Callable[[int], Awaitable[None]], strangers: int) -> AsyncIterator[None]:
    """So many strangers, each asking again as soon as it was answered."""

    async def again(number: int) -> None:
        while True:
            try:
                await ask(number)
            except (NobodyError, UnavailableError):
                await asyncio.sleep(0)

    tasks = [asyncio.create_task(again(number)) for number in range(strangers)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _figures(seconds: list[float]) -> tuple[float, float]:
    """Median and 99th percentile in milliseconds."""
    cuts = quantiles(seconds, n=100)
    return cuts[49] * 1e3, cuts[98] * 1e3
