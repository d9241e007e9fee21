"""The tables and the steps that lead to them.

Replicas of two versions run side by side while one replaces the other. So a step only ever adds, and code works with
the tables of its own version and of the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tailseal.state.protocol import Fault, StateUnavailable

if TYPE_CHECKING:
    from asyncpg import Connection

STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE tailseal_once (mark bytea PRIMARY KEY, expires_at timestamptz NOT NULL)",
        "CREATE INDEX tailseal_once_expires_at ON tailseal_once (expires_at)",
    ),
    (
        """CREATE TABLE tailseal_family (id bytea PRIMARY KEY, owner text NOT NULL, client text NOT NULL,
            session bytea NOT NULL, content bytea NOT NULL, expires_at float8 NOT NULL,
            ended boolean NOT NULL DEFAULT false)""",
        "CREATE INDEX tailseal_family_expires_at ON tailseal_family (expires_at)",
        "CREATE INDEX tailseal_family_owner ON tailseal_family (owner, expires_at)",
        "CREATE INDEX tailseal_family_session ON tailseal_family (session) WHERE session <> ''",
        "CREATE INDEX tailseal_family_ended ON tailseal_family (id) WHERE ended",
        """CREATE TABLE tailseal_record (kind text NOT NULL, digest bytea NOT NULL, content bytea NOT NULL,
            expires_at float8 NOT NULL, family bytea NOT NULL, owner text NOT NULL, used_at float8,
            PRIMARY KEY (kind, digest))""",
        "CREATE INDEX tailseal_record_expires_at ON tailseal_record (expires_at)",
        "CREATE INDEX tailseal_record_owner ON tailseal_record (owner, kind, expires_at) WHERE owner <> ''",
        "CREATE INDEX tailseal_record_family ON tailseal_record (family, used_at) WHERE family <> ''",
    ),
)
"""What leads from version N to N + 1, beginning with an empty database."""

VERSION: Final = len(STEPS)

_LOCK: Final = 0x7A11_5EA1
"""Advisory lock of everybody who changes the tables."""


async def migrate(connection: Connection) -> None:
    """Bring the tables to this version; whoever is first does it, the others wait for him.

    Raises:
        StateUnavailable: the tables are of a version that this one does not know.
    """
    if await _usable(connection):
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute("CREATE TABLE IF NOT EXISTS tailseal_schema (version integer NOT NULL)")
        found: int | None = await connection.fetchval("SELECT version FROM tailseal_schema")
        if found is None:
            await connection.execute("INSERT INTO tailseal_schema VALUES (0)")
        for number in range(found or 0, VERSION):
            for statement in STEPS[number]:
                await connection.execute(statement)
        if (found or 0) < VERSION:
            await connection.execute("UPDATE tailseal_schema SET version = $1", VERSION)


async def _usable(connection: Connection) -> bool:
    """Whether the tables are there already: then a role without the right to make any will do."""
    if await connection.fetchval("SELECT to_regclass('tailseal_schema')") is None:
        return False
    found: int = await connection.fetchval("SELECT version FROM tailseal_schema") or 0
    if found > VERSION + 1:
        text = f"its tables are of version {found}, and this program knows {VERSION} and the next: update it"
        raise StateUnavailable(Fault.UNREACHABLE, text)
    return found >= VERSION
