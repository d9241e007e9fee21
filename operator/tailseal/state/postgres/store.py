"""What is asked of PostgreSQL, and how much of it there is so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tailseal.state.crowding import Crowding
from tailseal.state.grants import Family, Kind, Record, Taken
from tailseal.state.limits import FAMILY, LIMITS, MARK, Held, full
from tailseal.state.postgres import grants, once, sweep
from tailseal.state.postgres.connect import Connector
from tailseal.state.postgres.pool import PATIENCE, Database
from tailseal.state.protocol import Fault, Mark, StateUnavailable

_BATCHES: Final = 20
_FAMILIES: Final = 500
_PATIENCE: Final = 15.0
"""Seconds for a sweep's statement: a million rows may be counted, and nobody waits."""


class PostgresStore:
    """The store that all replicas share; see `protocol.Once` and `grants.Grants`.

    Args:
        connector: makes connections.
        limits: what it holds at most; counted at each sweep, and by what we keep ourselves in between.
        patience: seconds.
    """

    def __init__(self, connector: Connector, *, limits: Held = LIMITS, patience: float = PATIENCE) -> None:
        self._database, self._limits = Database(connector, patience), limits
        self._held, self._crowding = dict.fromkeys(limits, 0), Crowding()

    async def open(self) -> None:
        """Bring the tables to what we need; see `pool.Database.open`."""
        await self._database.open()

    async def claim(self, marks: Sequence[Mark]) -> bool:
        """See `protocol.Once`."""
        self._refuse_if_full({MARK: 1})
        claimed = await self._database.ask(lambda connection: once.claim(connection, marks))
        if claimed is None:  # an answer, and no fault of the database: a caller can bring it about
            raise StateUnavailable(Fault.CLOCK, "by its clock the mark has expired: compare its clock with ours")
        self._held[MARK] += len(marks) if claimed else 0
        return claimed

    async def put(self, records: Sequence[Record], family: Family | None = None) -> None:
        """See `grants.Grants`."""
        more = _number(records) | ({} if family is None else {FAMILY: 1})
        self._refuse_if_full(more)
        await self._database.ask(lambda connection: grants.put(connection, records, family))
        self._add(more)

    async def get(self, kind: Kind, digest: bytes) -> Record | None:
        """See `grants.Grants`."""
        return await self._database.ask(lambda connection: grants.get(connection, kind, digest))

    async def use(self, kind: Kind, digest: bytes, following: Sequence[Record] = ()) -> Taken | None:
        """See `grants.Grants`."""
        more = _number(following)
        self._refuse_if_full(more)
        taken = await self._database.ask(lambda connection: grants.use(connection, kind, digest, following))
        if taken is not None and taken.first:
            self._add(more)
        return self._crowding.saw(taken)

    async def replace(self, former: Record, record: Record) -> bool:
        """See `grants.Grants`."""
        return await self._database.ask(lambda connection: grants.replace(connection, former, record))

    async def remove(self, kind: Kind, digest: bytes) -> None:
        """See `grants.Grants`."""
        await self._database.ask(lambda connection: grants.remove(connection, kind, digest))

    async def owned(self, kind: Kind, owner: str, limit: int = 100) -> Sequence[Record]:
        """See `grants.Grants`."""
        return await self._database.ask(lambda connection: grants.owned(connection, kind, owner, limit))

    async def family(self, family: bytes) -> Family | None:
        """See `grants.Grants`."""
        return await self._database.ask(lambda connection: grants.family(connection, family))

    async def families(self, owner: str, limit: int = 100) -> Sequence[Family]:
        """See `grants.Grants`."""
        return await self._database.ask(lambda connection: grants.families(connection, owner, limit))

    async def end(self, family: bytes) -> None:
        """See `grants.Grants`."""
        await self._database.ask(lambda connection: grants.end(connection, family))

    async def end_session(self, session: bytes) -> Sequence[Family]:
        """See `grants.Grants`."""
        return await self._database.ask(lambda connection: grants.end_session(connection, session))

    async def sweep(self) -> Held:
        """See `protocol.Store`."""
        for statement, most in sweep.DROPS:
            for _ in range(_BATCHES):
                if await self._sweep(statement, most) < most:
                    break
        for _ in range(_BATCHES):
            if not (families := self._crowding.some(_FAMILIES)) or not await self._sweep(sweep.OLDEST, families):
                break
            self._crowding.looked_at(families)
        rows = await self._database.ask(lambda c: c.fetch(sweep.COUNT, self._limits[MARK] + 1), _PATIENCE)
        self._held = dict.fromkeys(self._limits, 0) | {row["name"]: row["held"] for row in rows}
        return dict(self._held)

    async def aclose(self) -> None:
        """See `protocol.Store`."""
        await self._database.aclose()

    async def _sweep(self, statement: str, given: object) -> int:
        done: int = await self._database.ask(lambda connection: connection.fetchval(statement, given), _PATIENCE)
        return done

    def _refuse_if_full(self, more: Held) -> None:
        for name, number in more.items():
            if self._held[name] + number > self._limits[name]:
                raise full(name, self._limits[name])

    def _add(self, more: Held) -> None:
        for name, number in more.items():
            self._held[name] += number


def _number(records: Sequence[Record]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for record in records:
        numbers[record.kind] = numbers.get(record.kind, 0) + 1
    return numbers
