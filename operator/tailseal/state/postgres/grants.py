"""Records and families in PostgreSQL; see `state.grants` for what each of these is to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tailseal.state.grants import Family, Kind, Record, Taken
from tailseal.state.postgres import statements

if TYPE_CHECKING:
    from asyncpg import Connection


async def put(connection: Connection, records: Sequence[Record], family: Family | None) -> None:
    """Keep all, or none."""
    if family is None:
        await connection.execute(statements.PUT, *_columns(records))
    else:
        of = (family.id, family.owner, family.client, family.session, family.content, float(family.expires_at))
        await connection.execute(statements.BEGIN, *_columns(records), *of)


async def get(connection: Connection, kind: Kind, digest: bytes) -> Record | None:
    """A record that is there and unused."""
    row = await connection.fetchrow(statements.GET, kind.value, digest)
    return None if row is None else _record(row)


async def use(connection: Connection, kind: Kind, digest: bytes, following: Sequence[Record]) -> Taken | None:
    """Mark a record as used, and keep what follows if nobody had."""
    row = await connection.fetchrow(statements.USE, kind.value, digest, *_columns(following))
    if row is not None and not row["used"]:
        row = await connection.fetchrow(statements.LOOK, kind.value, digest)
        return Taken(_record(row), first=False) if row is not None and row["used"] else None
    return None if row is None else Taken(_record(row), first=row["first"])


async def replace(connection: Connection, former: Record, record: Record) -> bool:
    """Put a record in the place of one that is still as it was."""
    key = (former.kind.value, former.digest)
    done: str = await connection.execute(statements.REPLACE, *key, *_rest(record), *_rest(former))
    return done == "UPDATE 1"


async def remove(connection: Connection, kind: Kind, digest: bytes) -> None:
    """Forget a record."""
    await connection.execute(statements.REMOVE, kind.value, digest)


async def owned(connection: Connection, kind: Kind, owner: str, limit: int) -> Sequence[Record]:
    """Somebody's records, the longest first."""
    return [_record(row) for row in await connection.fetch(statements.OWNED, kind.value, owner, limit)]


async def family(connection: Connection, identifier: bytes) -> Family | None:
    """A family that stands."""
    row = await connection.fetchrow(statements.STANDING, identifier)
    return None if row is None else Family(*row)


async def families(connection: Connection, owner: str, limit: int) -> Sequence[Family]:
    """Somebody's families, the longest first."""
    return [Family(*row) for row in await connection.fetch(statements.FAMILIES, owner, limit)]


async def end(connection: Connection, identifier: bytes) -> None:
    """End a family; what belongs to it is swept later."""
    await connection.execute(statements.END, identifier)


async def end_session(connection: Connection, session: bytes) -> Sequence[Family]:
    """Forget a session and end what began in it."""
    return [Family(*row) for row in await connection.fetch(statements.END_SESSION, session)]


def _record(row: Sequence[Any]) -> Record:
    return Record(Kind(row[0]), *row[1:6])


def _rest(record: Record) -> tuple[bytes, float, bytes, str]:
    return record.content, float(record.expires_at), record.family, record.owner


def _columns(records: Sequence[Record]) -> tuple[list[Any], ...]:
    """One list a column: each record once, the last of its key, all in one order, so that no two writers cross."""
    last = {(record.kind.value, record.digest): record for record in records}
    rows = [(*key, *_rest(last[key])) for key in sorted(last)]
    return tuple(list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], [], [], [])
