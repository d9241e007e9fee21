"""Requests without a pause while something happens to the cluster: each is counted, and each token verified twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, Self

from node.keys import KeyCache
from node.table import FULL
from node.world import World, until
from tailseal_dev.demo import manifests
from tailseal_dev.demo.caller import Caller

_PAUSE: Final = 0.02
_BEGUN: Final = 3


class RefusedError(Exception):
    """A request was answered, but not with what it asked for."""


class Work(Protocol):
    """What is done again and again.

    Args:
        keys: what verifies the tokens that it is given.
    """

    @property
    def keys(self) -> KeyCache: ...

    def __call__(self) -> None:
        """Once.

        Raises:
            Exception: it failed.
        """

    def close(self) -> None:
        """Let go of what is kept from once to the next."""


@dataclass(slots=True)
class Exchanges:
    """A caller that presents its token again and again, each time over a connection of its own, or over one it keeps.

    Args:
        address: of the token service.
        issuer: whose tokens it gives.
        ca: certificate file that vouches for it.
        token: what is presented.
        audience: what is asked for.
        kept: whether connections are kept. Nothing may be lost by it: a worker that ends says so with each answer for
            two seconds before it closes what is idle, and who finds a connection closed opens another.
    """

    address: str
    issuer: str
    ca: Path
    token: str
    audience: str
    kept: bool = False
    keys: KeyCache = field(init=False)
    _caller: Caller = field(init=False)

    def __post_init__(self) -> None:
        self.keys = KeyCache(self.address, self.ca, self.issuer)
        self._caller = Caller(f"https://{self.address}", self.ca)

    def __call__(self) -> None:
        """One exchange.

        Raises:
            RefusedError: it was refused.
        """
        if self.kept:
            answer = self._caller.exchange(self.token, audience=self.audience)
        else:
            answer = self._caller.exchange_at(self.address, self.token, audience=self.audience)
        if not answer.token:
            raise RefusedError(f"{answer.status} {answer.reason}")
        self.keys.verify(answer.token, self.audience)

    def close(self) -> None:
        """Let go of the connection that is kept."""
        self._caller.close()


def exchanges(world: World, token: str, *, kept: bool = False) -> Exchanges:
    """Of the world's own provider."""
    return Exchanges(world.issuer.removeprefix("https://"), world.issuer, world.ca, token, manifests.AUDIENCE, kept)


@dataclass(slots=True)
class Count:
    """How often something was tried, when it last went well, for how long at most it did not, and why it failed."""

    asked: int = 0
    failed: list[str] = field(default_factory=list)
    gap: float = 0.0
    well: float = 0.0

    def tries(self, once: Callable[[], None]) -> bool:
        """Whether it goes well; if not, why is kept."""
        try:
            once()
        except Exception as error:  # noqa: BLE001 - whatever it is, the request failed
            self.failed.append(f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}")
            return False
        return True


@dataclass(slots=True)
class Load:
    """Tries things again and again, each in a thread of its own, while the context lasts.

    Args:
        work: by name.
        pauses: by name: seconds from one to the next, where they are not to be as soon as can be.
    """

    work: Mapping[str, Work]
    pauses: Mapping[str, float] = field(default_factory=dict)
    counts: dict[str, Count] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.counts = {name: Count(well=time.monotonic()) for name in self.work}
        self._threads = [threading.Thread(target=self._run, args=item) for item in self.work.items()]
        for thread in self._threads:
            thread.start()
        try:
            until(lambda: all(count.asked > _BEGUN for count in self.counts.values()), "the load runs", within=60)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def failed(self) -> list[str]:
        """Why what must not fail did."""
        return [f"{name}: {text}" for name, count in self.counts.items() for text in count.failed]

    def seen(self) -> str:
        """All counts as text."""
        counts = ", ".join(f"{count.asked} {name}: {len(count.failed)} failed" for name, count in self.counts.items())
        again, late = (sum(getattr(work.keys, name) for work in self.work.values()) for name in ("again", "late"))
        missed = f", {late} were not in time" if late else ""
        return f"{counts}; {again} tokens verified again before they ended{missed}"

    def _stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self, name: str, work: Work) -> None:
        count = self.counts[name]
        while not self._ended.is_set():
            count.asked += 1
            if count.tries(work):
                now = time.monotonic()
                count.gap, count.well = max(count.gap, now - count.well), now
            self._ended.wait(self.pauses.get(name, _PAUSE))
        work.close()
        count.tries(lambda: work.keys.finish(patient=FULL))
