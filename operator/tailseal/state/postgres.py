"""The store that all replicas share: every answer is one round trip, and none is waited for longer than two seconds.

Expiry is the database's clock's alone: a mark that it calls expired is dropped, and nobody may claim it any more,
so clocks that disagree refuse, and never let anything count twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeVar

from tailseal.state.circuit import Circuit, Shut
from tailseal.state.connect import Connector
from tailseal.state.protocol import CAPACITY, Fault, Mark, StateUnavailable
from tailseal.state.schema import migrate

if TYPE_CHECKING:
    from asyncpg import Connection, Pool

T = TypeVar("T")

CONNECTIONS: Final = 8
PATIENCE: Final = 1.5
"""Seconds that a caller waits for an answer, a new connection included."""

_PAUSE: Final = 0.5
_LAST: Final = 253_000_000_000.0
"""About the year 9987: the last that both Python and PostgreSQL can say."""
_MIGRATION: Final = 10.0
_BATCH: Final = 1000
_BATCHES: Final = 20

_CLAIM: Final = """
WITH wanted AS (
    SELECT * FROM unnest($1::bytea[], $2::timestamptz[]) AS given (mark, expires_at)
), claimed AS (
    INSERT INTO tailseal_once SELECT mark, expires_at FROM wanted WHERE expires_at > now() ORDER BY mark
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT (SELECT count(*) FROM claimed), (SELECT count(*) FROM wanted WHERE expires_at <= now())
"""

_SWEEP: Final = """
DELETE FROM tailseal_once WHERE mark IN (
    SELECT mark FROM tailseal_once WHERE expires_at <= now() LIMIT $1 FOR UPDATE SKIP LOCKED
)
"""

_COUNT: Final = "SELECT count(*) FROM (SELECT 1 FROM tailseal_once LIMIT $1) AS counted"

_DURABLE: Final = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""
"""A commit that a crash of the database may undo would let a token count again."""


class PostgresStore:
    """Marks in PostgreSQL; nothing is connected before the first question.

    Args:
        connector: makes connections.
        capacity: marks at most; counted at each sweep and by our own claims in between.
        patience: seconds.
    """

    def __init__(self, connector: Connector, *, capacity: int = CAPACITY, patience: float = PATIENCE) -> None:
        self._connector, self._capacity, self._patience = connector, capacity, patience
        self._circuit = Circuit(monotonic, _PAUSE)
        self._opening = asyncio.Lock()
        self._pool: Pool | None = None
        self._ready = False
        self._held = 0

    async def open(self) -> None:
        """Bring the tables to what we need.

        Raises:
            StateUnavailable: the database cannot be asked, or we may not make them.
        """
        async with self._opening:
            if not self._ready:
                await self._ask(migrate, max(self._patience, _MIGRATION))
                self._ready = True

    async def claim(self, marks: Sequence[Mark]) -> bool:
        """See `protocol.Once`."""
        if self._held >= self._capacity:
            raise StateUnavailable(Fault.FULL, f"it holds {self._held} marks, and {self._capacity} is the limit")
        claimed = await self._answer(lambda connection: _claim(connection, marks))
        if claimed is None:  # an answer, and no fault of the database: a caller can bring it about
            raise StateUnavailable(Fault.CLOCK, "by its clock the mark has expired: compare its clock with ours")
        self._held += len(marks) if claimed else 0
        return claimed

    async def sweep(self) -> int:
        """See `protocol.Store`."""
        for _ in range(_BATCHES):
            dropped = await self._answer(lambda connection: connection.execute(_SWEEP, _BATCH))
            if dropped != f"DELETE {_BATCH}":
                break
        self._held = await self._answer(lambda connection: connection.fetchval(_COUNT, self._capacity + 1))
        return self._held

    async def aclose(self) -> None:
        """See `protocol.Store`."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(self._patience + 1):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    async def _answer(self, question: Callable[[Connection], Awaitable[T]]) -> T:
        if not self._ready:
            await self.open()
        return await self._ask(question, self._patience)

    async def _ask(self, question: Callable[[Connection], Awaitable[T]], patience: float) -> T:
        import asyncpg  # noqa: PLC0415 - loaded where a database is used

        try:
            with self._circuit.passing():
                return await self._connected(question, patience)
        except Shut:
            raise StateUnavailable(Fault.UNREACHABLE, "it failed a moment ago") from None
        except TimeoutError:
            raise StateUnavailable(Fault.UNREACHABLE, f"no answer within {patience:g} s") from None
        except asyncpg.PostgresError as error:
            why = f"it answered {type(error).__name__} (SQLSTATE {error.sqlstate})"
            raise StateUnavailable(Fault.UNREACHABLE, why) from None
        except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise StateUnavailable(Fault.UNREACHABLE, f"no connection: {type(error).__name__}") from None

    async def _connected(self, question: Callable[[Connection], Awaitable[T]], patience: float) -> T:
        async with asyncio.timeout(patience):
            pool = await self._connections()
            connection = await pool.acquire()
            try:
                return await question(connection)
            except BaseException:
                connection.terminate()  # what state it is in nobody knows, and waiting to learn it could take long
                raise
            finally:
                await pool.release(connection)

    async def _connections(self) -> Pool:
        import asyncpg  # noqa: PLC0415 - loaded where a database is used

        if self._pool is None:
            self._pool = asyncpg.create_pool(
                min_size=0, max_size=CONNECTIONS, connect=self._connector, init=_durable, reset=_nothing
            )
            await self._pool
        return self._pool


async def _claim(connection: Connection, marks: Sequence[Mark]) -> bool | None:
    if len(marks) == 1:
        return await _claimed(connection, marks)
    transaction = connection.transaction()
    await transaction.start()
    ours = await _claimed(connection, marks)
    await (transaction.commit() if ours else transaction.rollback())
    return ours


async def _claimed(connection: Connection, marks: Sequence[Mark]) -> bool | None:
    """Whether all of the marks were free and are ours now; None if one has expired."""
    digests = [digest for digest, _ in marks]
    expiries = [datetime.fromtimestamp(min(expires_at, _LAST), UTC) for _, expires_at in marks]
    row = await connection.fetchrow(_CLAIM, digests, expiries)
    claimed, expired = (row[0], row[1]) if row else (0, 0)
    return None if expired else bool(claimed == len(marks))


async def _durable(connection: Connection) -> None:
    await connection.execute(_DURABLE)


async def _nothing(_: Connection) -> None:
    """What the pool would reset at each return, nobody of us ever sets."""
