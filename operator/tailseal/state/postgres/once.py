"""Marks of what counts once, in PostgreSQL.

Expiry is the database's clock's alone: a mark that it calls expired is dropped, and nobody may claim it any more,
so clocks that disagree refuse, and never let anything count twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from tailseal.state.protocol import Mark

if TYPE_CHECKING:
    from asyncpg import Connection

_LAST: Final = 253_000_000_000.0
"""About the year 9987: the last that both Python and PostgreSQL can say."""

_CLAIM: Final = """
WITH wanted AS (
    SELECT * FROM unnest($1::bytea[], $2::timestamptz[]) AS given (mark, expires_at)
), claimed AS (
    INSERT INTO tailseal_once SELECT mark, expires_at FROM wanted WHERE expires_at > now() ORDER BY mark
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT (SELECT count(*) FROM claimed), (SELECT count(*) FROM wanted WHERE expires_at <= now())
"""

SWEEP: Final = """
WITH gone AS (
    DELETE FROM tailseal_once WHERE mark IN (
        SELECT mark FROM tailseal_once WHERE expires_at <= now() LIMIT $1 FOR UPDATE SKIP LOCKED
    ) RETURNING 1
)
SELECT count(*) FROM gone
"""
"""Drops as many expired marks; how many it were."""


async def claim(connection: Connection, marks: Sequence[Mark]) -> bool | None:
    """Whether all of the marks were free and are ours now; None if one has expired."""
    if len(marks) == 1:
        return await _claimed(connection, marks)
    transaction = connection.transaction()
    await transaction.start()
    ours = await _claimed(connection, marks)
    await (transaction.commit() if ours else transaction.rollback())
    return ours


async def _claimed(connection: Connection, marks: Sequence[Mark]) -> bool | None:
    digests = [digest for digest, _ in marks]
    expiries = [datetime.fromtimestamp(min(expires_at, _LAST), UTC) for _, expires_at in marks]
    row = await connection.fetchrow(_CLAIM, digests, expiries)
    claimed, expired = (row[0], row[1]) if row else (0, 0)
    return None if expired else bool(claimed == len(marks))
