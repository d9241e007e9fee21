"""Asks the database: over few connections, never for longer than a caller has patience, with a rest after failures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeVar

from tailseal.state.postgres.circuit import Circuit, Shut
from tailseal.state.postgres.connect import Connector
from tailseal.state.postgres.schema import migrate
from tailseal.state.protocol import Fault, StateUnavailable

if TYPE_CHECKING:
    from asyncpg import Connection, Pool

T = TypeVar("T")

CONNECTIONS: Final = 8
PATIENCE: Final = 1.5
"""Seconds that a caller waits for an answer, a new connection included."""

_PAUSE: Final = 0.5
_MIGRATION: Final = 10.0

_DURABLE: Final = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""
"""A commit that a crash of the database may undo would let a token count again."""


class Database:
    """Connections to PostgreSQL; nothing is connected before the first question.

    Args:
        connector: makes connections.
        patience: seconds.
    """

    def __init__(self, connector: Connector, patience: float) -> None:
        self._connector, self._patience = connector, patience
        self._circuit = Circuit(monotonic, _PAUSE)
        self._opening = asyncio.Lock()
        self._pool: Pool | None = None
        self._ready = False

    async def open(self) -> None:
        """Bring the tables to what we need.

        Raises:
            StateUnavailable: the database cannot be asked, or we may not make them.
        """
        async with self._opening:
            if not self._ready:
                await self._ask(migrate, max(self._patience, _MIGRATION))
                self._ready = True

    async def ask(self, question: Callable[[Connection], Awaitable[T]], patience: float | None = None) -> T:
        """The answer to a question.

        Args:
            question: what to ask.
            patience: seconds, where nobody waits: then failing is no sign that others would; None: a caller's.

        Raises:
            StateUnavailable: there is none in time; it may have been done all the same.
        """
        if not self._ready:
            await self.open()
        return await self._ask(question, self._patience if patience is None else patience, waited_for=patience is None)

    async def aclose(self) -> None:
        """Answer who is waiting, then let go of all connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(self._patience + 1):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    async def _ask(
        self, question: Callable[[Connection], Awaitable[T]], patience: float, *, waited_for: bool = True
    ) -> T:
        import asyncpg  # noqa: PLC0415 - loaded where a database is used

        try:
            answers = (asyncpg.DataError, asyncpg.TransactionRollbackError)
            with self._circuit.passing(*answers) if waited_for else nullcontext():
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


async def _durable(connection: Connection) -> None:
    await connection.execute(_DURABLE)


async def _nothing(_: Connection) -> None:
    """What the pool would reset at each return, nobody of us ever sets."""
