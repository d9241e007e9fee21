"""What is asked of the file, as the questions that its thread is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from tailseal.state.crowding import Crowding
from tailseal.state.grants import Family, Kind, Record, Taken
from tailseal.state.limits import LIMITS, Held
from tailseal.state.protocol import Mark
from tailseal.state.sqlite import grants, once, sweep
from tailseal.state.sqlite.engine import Engine, Tables

FILE: Final = "state.db"
"""Its name in a folder of its own."""

_BATCH: Final = 1000


class SQLiteStore:
    """The store of one process; see `protocol.Once` and `grants.Grants`.

    Args:
        path: of the file; its folder must be there.
        clock: Unix seconds.
        limits: what it holds at most.

    Raises:
        StateUnavailable: the file cannot be used, or another process uses it.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float], limits: Held = LIMITS) -> None:
        self._clock, self._limits = clock, limits
        self._engine, self._crowding = Engine(path, sweep.count), Crowding()

    async def claim(self, marks: Sequence[Mark]) -> bool:
        """See `protocol.Once`."""
        return await self._engine.ask(lambda tables: once.claim(tables, marks, self._clock(), self._limits["mark"]))

    async def put(self, records: Sequence[Record], family: Family | None = None) -> None:
        """See `grants.Grants`."""
        await self._engine.ask(lambda tables: grants.put(tables, records, family, self._limits))

    async def get(self, kind: Kind, digest: bytes) -> Record | None:
        """See `grants.Grants`."""
        return await self._engine.ask(lambda tables: grants.get(tables, kind, digest, self._clock()))

    async def use(self, kind: Kind, digest: bytes, following: Sequence[Record] = ()) -> Taken | None:
        """See `grants.Grants`."""
        return self._crowding.saw(
            await self._engine.ask(
                lambda tables: grants.use(tables, kind, digest, following, self._clock(), self._limits)
            )
        )

    async def replace(self, former: Record, record: Record) -> bool:
        """See `grants.Grants`."""
        return await self._engine.ask(lambda tables: grants.replace(tables, former, record, self._clock()))

    async def remove(self, kind: Kind, digest: bytes) -> None:
        """See `grants.Grants`."""
        await self._engine.ask(lambda tables: grants.remove(tables, kind, digest))

    async def owned(self, kind: Kind, owner: str, limit: int = 100) -> Sequence[Record]:
        """See `grants.Grants`."""
        return await self._engine.ask(lambda tables: grants.owned(tables, kind, owner, limit, self._clock()))

    async def family(self, family: bytes) -> Family | None:
        """See `grants.Grants`."""
        return await self._engine.ask(lambda tables: grants.family(tables, family, self._clock()))

    async def families(self, owner: str, limit: int = 100) -> Sequence[Family]:
        """See `grants.Grants`."""
        return await self._engine.ask(lambda tables: grants.families(tables, owner, limit, self._clock()))

    async def end(self, family: bytes) -> None:
        """See `grants.Grants`."""
        await self._engine.ask(lambda tables: grants.end(tables, family))

    async def end_session(self, session: bytes) -> Sequence[Family]:
        """See `grants.Grants`."""
        return await self._engine.ask(lambda tables: grants.end_session(tables, session, self._clock()))

    async def sweep(self) -> Held:
        """See `protocol.Store`."""
        drops: tuple[Callable[[Tables], int], ...] = (
            lambda tables: once.drop(tables, self._clock(), _BATCH),
            lambda tables: sweep.drop_expired(tables, self._clock(), _BATCH),
            lambda tables: sweep.drop_fallen(tables, self._clock(), _BATCH),
        )
        for drop in drops:
            while await self._engine.ask(drop) == _BATCH:
                pass
        while families := self._crowding.some(_BATCH):
            await self._engine.ask(partial(sweep.drop_oldest, families=families))
            self._crowding.looked_at(families)
        return self._engine.held

    async def aclose(self) -> None:
        """See `protocol.Store`."""
        await self._engine.aclose()
