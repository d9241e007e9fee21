"""How long it takes to learn who is calling, of a real tailscaled: alone, in a crowd, and in storms of strangers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles

from tailseal.tailnet import Direct, LocalApi, NobodyError, Serve, UnavailableError
from tailseal_dev.bench.report import Row
from tailseal_dev.cache import BuildError
from tailseal_dev.tailnet import Tailnet, TailnetError, why_not
from tailseal_dev.tailnet.__main__ import MEMBERS, POLICY, USERS

LOOKUPS = 500
"""Measured in each round."""

CROWD = 16
"""Who ask at once, or strangers in a storm."""


def rows(rounds: int, _tailseal: Path, *, lookups: int = LOOKUPS) -> Iterator[Row]:
    """Raise a tailnet and ask its first node; one line that says why, where there can be none."""
    reason = why_not()
    try:
        if reason is None:
            with Tailnet(USERS, MEMBERS, POLICY) as net:
                asker = _Asker(str(net.nodes["idp"].socket), net.nodes["ana"].addresses[0])
                yield from asker.rows(rounds, lookups)
    except (BuildError, TailnetError) as error:
        reason = str(error).partition("\n")[0]
    if reason is not None:
        yield Row("who is calling", f"not measured: {reason}")


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
        """A row for each kind of company."""
        for name, ask in (
            ("who is calling: whois, p99 in ms", self._alone),
            (f"the same, {CROWD} at once", self._together),
            (f"the same among {CROWD} who ask about addresses of strangers", self._among_strangers),
            ("the same while strangers' connections are looked up, one at a time", self._among_connections),
        ):
            self._asked = self._unanswered = 0
            found = [asyncio.run(ask(lookups)) for _ in range(rounds)]
            p50, p99 = (median(figures) for figures in zip(*found, strict=True))
            late = f", {self._unanswered / self._asked:.1%} given up after a second" if self._unanswered else ""
            yield Row(name, f"p50 {p50:.2f} ms, p99 {p99:.2f} ms{late}", p99)

    async def _alone(self, lookups: int) -> tuple[float, float]:
        resolver = Serve(LocalApi(self._socket))
        return _figures([await self._ask(resolver) for _ in range(lookups)])

    async def _together(self, lookups: int) -> tuple[float, float]:
        resolver = Serve(LocalApi(self._socket))

        async def several() -> list[float]:
            return [await self._ask(resolver) for _ in range(lookups // CROWD)]

        return _figures(list(itertools.chain(*await asyncio.gather(*(several() for _ in range(CROWD))))))

    async def _among_strangers(self, lookups: int) -> tuple[float, float]:
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
