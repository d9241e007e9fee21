"""Requests without a pause while something happens to the cluster: each is counted, and each token verified."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import httpx

from node.world import World, until
from tailseal_dev.demo import manifests
from tailseal_dev.demo.caller import Caller, verify

_PAUSE: Final = 0.02
_BEGUN: Final = 3


class RefusedError(Exception):
    """A request was answered, but not with what it asked for."""


@dataclass(slots=True)
class KeyCache:
    """Verifies tokens as a careless application does: with the key set that it has, until that is as old as allowed.

    Args:
        address: where the key set is fetched.
        ca: certificate file that vouches for it.
        issuer: whose tokens they are.
    """

    address: str
    ca: Path
    issuer: str
    _held: Mapping[str, Any] = field(default_factory=dict)
    _until: float = 0.0

    def verify(self, token: str, audience: str) -> Mapping[str, Any]:
        """The claims of a token.

        Raises:
            jwt.PyJWTError: it does not hold.
            httpx.HTTPError: the key set is not to be had.
        """
        if time.monotonic() >= self._until:
            answer = httpx.get(
                f"https://{self.address}/.well-known/jwks.json",
                verify=trusting(self.ca),
                timeout=10,
                trust_env=False,
            ).raise_for_status()
            (age,) = re.findall(r"max-age=(\d+)", answer.headers["cache-control"])
            self._held, self._until = answer.json(), time.monotonic() + int(age)
        return verify(token, self._held, issuer=self.issuer, audience=audience)


def trusting(ca: Path) -> ssl.SSLContext:
    """Believes whom the authority vouches for, whatever the name: a Service is reached by its address here."""
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    return context


@dataclass(slots=True)
class Exchanges:
    """A caller that presents its token again and again, each time over a connection of its own, or over one it keeps.

    Args:
        address: of the token service.
        issuer: whose tokens it gives.
        ca: certificate file that vouches for it.
        token: what is presented.
        audience: what is asked for.
        kept: whether connections are kept: who reuses one just when its server ends it loses the request.
    """

    address: str
    issuer: str
    ca: Path
    token: str
    audience: str
    kept: bool = False
    _keys: KeyCache = field(init=False)
    _caller: Caller = field(init=False)

    def __post_init__(self) -> None:
        self._keys = KeyCache(self.address, self.ca, self.issuer)
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
        self._keys.verify(answer.token, self.audience)

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


@dataclass(slots=True)
class Load:
    """Tries things again and again, each in a thread of its own, while the context lasts.

    Args:
        work: by name: does it once, and raises where it fails.
        lossy: names of those that may fail: they are counted, and that is all.
        pauses: by name: seconds from one to the next, where they are not to be as soon as can be.
    """

    work: Mapping[str, Callable[[], None]]
    lossy: frozenset[str] = frozenset()
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
        return [
            f"{name}: {text}" for name, count in self.counts.items() if name not in self.lossy for text in count.failed
        ]

    def seen(self) -> str:
        """All counts as text."""
        return ", ".join(f"{count.asked} {name}: {len(count.failed)} failed" for name, count in self.counts.items())

    def _stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self, name: str, work: Callable[[], None]) -> None:
        count = self.counts[name]
        while not self._ended.is_set():
            count.asked += 1
            try:
                work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the request failed
                count.failed.append(f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}")
            else:
                now = time.monotonic()
                count.gap, count.well = max(count.gap, now - count.well), now
            self._ended.wait(self.pauses.get(name, _PAUSE))
