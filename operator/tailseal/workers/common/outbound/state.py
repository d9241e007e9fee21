"""Keeps the store that settings name open, and another one as soon as they name another.

Readiness does not depend on it: what needs no store is granted while the database is away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Final, TypeVar

import structlog

from tailseal.domain.bundle.model import STATE_CA_FILE, STATE_URL_FILE
from tailseal.state.grants import Family, Kind, Record, Taken
from tailseal.state.protocol import Fault, Mark, StateUnavailable, Store
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.telemetry.metrics import Metrics

SWEEP_SECONDS: Final = 30.0
REST_SECONDS: Final = 5.0
"""How long a store that settings no longer name goes on for those who are asking it."""

_LOOK: Final = 0.2

_log = structlog.get_logger(__name__)

T = TypeVar("T")

Made = tuple[bytes, bytes]
Make = Callable[[bytes, bytes], Store]


class State:
    """The store under the present settings; see `state.protocol.Once` and `state.grants.Grants`.

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
        """Where settings name no database: a store that is nobody's but this process's, closed with us."""
        self._shared: Store | None = None
        self._made_for: Made | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._said = ""

    async def claim(self, marks: Sequence[Mark]) -> bool:
        """See `state.protocol.Once`."""
        return await self._ask("claim", lambda store: store.claim(marks), lambda claimed: not claimed)

    async def put(self, records: Sequence[Record], family: Family | None = None) -> None:
        """See `state.grants.Grants`, as for all that follow."""
        await self._ask("put", lambda store: store.put(records, family))

    async def get(self, kind: Kind, digest: bytes) -> Record | None:
        """See `Grants.get`."""
        return await self._ask("get", lambda store: store.get(kind, digest))

    async def use(self, kind: Kind, digest: bytes, following: Sequence[Record] = ()) -> Taken | None:
        """See `Grants.use`."""
        return await self._ask("use", lambda store: store.use(kind, digest, following), _used_before)

    async def replace(self, former: Record, record: Record) -> bool:
        """See `Grants.replace`."""
        return await self._ask("replace", lambda store: store.replace(former, record))

    async def remove(self, kind: Kind, digest: bytes) -> None:
        """See `Grants.remove`."""
        await self._ask("remove", lambda store: store.remove(kind, digest))

    async def owned(self, kind: Kind, owner: str, limit: int = 100) -> Sequence[Record]:
        """See `Grants.owned`."""
        return await self._ask("owned", lambda store: store.owned(kind, owner, limit))

    async def family(self, family: bytes) -> Family | None:
        """See `Grants.family`."""
        return await self._ask("family", lambda store: store.family(family))

    async def families(self, owner: str, limit: int = 100) -> Sequence[Family]:
        """See `Grants.families`."""
        return await self._ask("families", lambda store: store.families(owner, limit))

    async def end(self, family: bytes) -> None:
        """See `Grants.end`."""
        await self._ask("end", lambda store: store.end(family))

    async def end_session(self, session: bytes) -> Sequence[Family]:
        """See `Grants.end_session`."""
        return await self._ask("end_session", lambda store: store.end_session(session))

    async def keep(self) -> None:
        """Open what settings name and drop what has expired, until cancelled."""
        due = 0.0
        while True:
            snapshot = self._current()
            if snapshot is not None and (self.local is not None or snapshot.settings.state is not None):
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
        """The database that the present settings name; where they name none, this process's own file.

        Raises:
            StateUnavailable: there is neither, or it cannot be made.
        """
        snapshot = self._current()
        shared = snapshot is not None and snapshot.settings.state == "Postgres"
        if snapshot is not None and self.local is not None and not shared:
            return self.local
        if snapshot is None or not shared:
            raise StateUnavailable(Fault.NOT_CONFIGURED, "settings name no database, and there is no file")
        wanted = (snapshot.credentials.get(STATE_URL_FILE, b""), snapshot.credentials.get(STATE_CA_FILE, b""))
        if self._shared is None or wanted != self._made_for:
            made = self._make(*wanted)
            if self._shared is not None:
                self._let_go(self._shared)
            self._shared, self._made_for = made, wanted
        return self._shared

    async def _ask(
        self, operation: str, question: Callable[[Store], Awaitable[T]], replayed: Callable[[T], bool] = lambda _: False
    ) -> T:
        started, result = perf_counter(), "error"
        try:
            answer = await question(self._store())
            result = "replayed" if replayed(answer) else "ok"
        except StateUnavailable as error:
            result = error.fault
            self._tell(str(error))
            raise
        finally:
            self._metrics.state(operation, result, perf_counter() - started)
        self._tell("")
        return answer

    async def _sweep(self) -> None:
        with contextlib.suppress(StateUnavailable):
            self._metrics.state_holds(await self._ask("sweep", lambda store: store.sweep()))

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


def _used_before(taken: Taken | None) -> bool:
    return taken is not None and not taken.first


def _postgres(url: bytes, authorities: bytes) -> Store:
    from tailseal.state.postgres import PostgresStore  # noqa: PLC0415
    from tailseal.state.postgres.connect import Connector  # noqa: PLC0415 - loaded where a database is used
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
