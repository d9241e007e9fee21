"""Keeps the store that settings name open, and another one as soon as they name another.

Readiness does not depend on it: what needs no store is granted while the database is away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final

import structlog

from tailseal.domain.bundle.model import STATE_CA_FILE, STATE_URL_FILE
from tailseal.state.protocol import Fault, Mark, StateUnavailable, Store
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.telemetry.metrics import Metrics

SWEEP_SECONDS: Final = 30.0
REST_SECONDS: Final = 5.0
"""How long a store that settings no longer name goes on for those who are asking it."""

_LOOK: Final = 0.2

_log = structlog.get_logger(__name__)

Made = tuple[bytes, bytes]
Make = Callable[[bytes, bytes], Store]


class State:
    """The store under the present settings; see `state.protocol.Once`.

    Args:
        current: the last good snapshot.
        metrics: counts and times questions.
        make: makes a store of a URL and of PEM certificates; raises `StateUnavailable`.
    """

    def __init__(
        self,
        current: Callable[[], Snapshot | None],
        metrics: Metrics,
        make: Make | None = None,
    ) -> None:
        self._current, self._metrics, self._make = current, metrics, make or _postgres
        self.local: Store | None = None
        """For settings that name SQLite: a store that is nobody's but this process's, closed with us."""
        self._shared: Store | None = None
        self._made_for: Made | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._said = ""

    async def claim(self, marks: Sequence[Mark]) -> bool:
        """See `state.protocol.Once`."""
        started, result = perf_counter(), "error"
        try:
            claimed = await self._store().claim(marks)
            result = "ok" if claimed else "replayed"
        except StateUnavailable as error:
            result = error.fault
            self._tell(str(error))
            raise
        finally:
            self._metrics.state("claim", result, perf_counter() - started)
        self._tell("")
        return claimed

    async def keep(self) -> None:
        """Open what settings name and drop what has expired, until cancelled."""
        due = 0.0
        while True:
            snapshot = self._current()
            if snapshot is not None and snapshot.settings.state is not None:
                now = perf_counter()
                before = self._made_for
                with contextlib.suppress(StateUnavailable):
                    self._store()
                if now >= due or self._made_for != before:
                    due = now + SWEEP_SECONDS
                    await self._sweep()
            await asyncio.sleep(_LOOK)

    async def aclose(self) -> None:
        """Let go of all stores."""
        for task in self._closing:
            task.cancel()
        for store in (self._shared, self.local):
            if store is not None:
                await store.aclose()

    def _store(self) -> Store:
        """The store that the present settings name.

        Raises:
            StateUnavailable: they name none, or it cannot be made.
        """
        snapshot = self._current()
        kind = snapshot.settings.state if snapshot else None
        if snapshot is None or kind is None or (kind == "SQLite" and self.local is None):
            raise StateUnavailable(Fault.NOT_CONFIGURED, "settings name no store, or one that is not here")
        if kind == "SQLite" and self.local is not None:
            return self.local
        wanted = (snapshot.credentials.get(STATE_URL_FILE, b""), snapshot.credentials.get(STATE_CA_FILE, b""))
        if self._shared is None or wanted != self._made_for:
            made = self._make(*wanted)
            if self._shared is not None:
                self._let_go(self._shared)
            self._shared, self._made_for = made, wanted
        return self._shared

    async def _sweep(self) -> None:
        started, result = perf_counter(), "ok"
        try:
            self._metrics.marks.set(await self._store().sweep())
            self._tell("")
        except StateUnavailable as error:
            result = error.fault
            self._tell(str(error))
        self._metrics.state("sweep", result, perf_counter() - started)

    def _let_go(self, store: Store) -> None:
        async def close() -> None:
            await asyncio.sleep(REST_SECONDS)
            await store.aclose()

        task = asyncio.get_running_loop().create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _tell(self, why: str) -> None:
        """Log what changed: the first of many equal failures, and that it is over."""
        if why and not self._said:
            _log.error("state unavailable", why=why)
        elif self._said and not why:
            _log.info("state available again")
        self._said = why


def _postgres(url: bytes, authorities: bytes) -> Store:
    from tailseal.state.connect import Connector  # noqa: PLC0415 - loaded where a database is used
    from tailseal.state.postgres import PostgresStore  # noqa: PLC0415
    from tailseal.state.url import DatabaseURL, URLInvalid  # noqa: PLC0415
    from tailseal.workers.common.outbound.database import Addresses  # noqa: PLC0415

    try:
        return PostgresStore(Connector(DatabaseURL.parse(url.decode()), authorities.decode(), Addresses()))
    except UnicodeDecodeError:
        raise StateUnavailable(Fault.UNREACHABLE, f"{STATE_URL_FILE} or {STATE_CA_FILE} is not UTF-8") from None
    except URLInvalid as error:
        raise StateUnavailable(Fault.UNREACHABLE, f"{STATE_URL_FILE} {error}") from None
    except OSError:
        raise StateUnavailable(Fault.UNREACHABLE, f"{STATE_CA_FILE} holds no certificates") from None
