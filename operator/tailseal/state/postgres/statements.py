"""What is said to PostgreSQL about records and families: one statement a question, so one commit and one round trip.

Times are Unix seconds, and the clock is the database's. A statement sees the tables as they were when it began; where
two want the same row, the second waits, and then looks at that row again: so one of all wins.
"""

# ruff: noqa: S608 - put together of constants; all values are parameters

from __future__ import annotations

from typing import Final

from tailseal.state.grants import Kind

RECORD: Final = "kind, digest, content, expires_at, family, owner"
FAMILY: Final = "id, owner, client, session, content, expires_at"

_NOW: Final = "date_part('epoch', now())"
_STANDS: Final = f"NOT ended AND expires_at > {_NOW}"
_THERE: Final = f"""tailseal_record.expires_at > {_NOW} AND (tailseal_record.family = '' OR EXISTS (
    SELECT FROM tailseal_family AS its
    WHERE its.id = tailseal_record.family AND NOT its.ended AND its.expires_at > {_NOW}
))"""
_ONE: Final = f"tailseal_record.kind = $1 AND tailseal_record.digest = $2 AND {_THERE}"


def _given(first: int) -> str:
    types = ("text", "bytea", "bytea", "float8", "bytea", "text")
    arrays = ", ".join(f"${first + number}::{name}[]" for number, name in enumerate(types))
    return f"SELECT * FROM unnest({arrays}) AS given ({RECORD})"


_REPLACING: Final = """ON CONFLICT (kind, digest) DO UPDATE SET content = excluded.content,
    expires_at = excluded.expires_at, family = excluded.family, owner = excluded.owner, used_at = NULL"""

PUT: Final = f"INSERT INTO tailseal_record ({RECORD}) {_given(1)} {_REPLACING}"

BEGIN: Final = f"""
WITH begun AS (
    INSERT INTO tailseal_family ({FAMILY}) VALUES ($7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO NOTHING
)
{PUT}"""

GET: Final = f"SELECT {RECORD} FROM tailseal_record WHERE used_at IS NULL AND {_ONE}"

LOOK: Final = f"SELECT {RECORD}, used_at IS NOT NULL AS used FROM tailseal_record WHERE {_ONE}"

USE: Final = f"""
WITH taken AS (
    UPDATE tailseal_record SET used_at = {_NOW} WHERE used_at IS NULL AND {_ONE} RETURNING {RECORD}
), kept AS (
    INSERT INTO tailseal_record ({RECORD}) SELECT * FROM ({_given(3)}) AS following
    WHERE EXISTS (SELECT FROM taken) {_REPLACING}
)
SELECT {RECORD}, true AS first, true AS used FROM taken
UNION ALL
SELECT {RECORD}, false AS first, used_at IS NOT NULL AS used FROM tailseal_record
WHERE {_ONE} AND NOT EXISTS (SELECT FROM taken)"""
"""Not the first, and not used either: somebody used or removed it while we waited for it."""

REPLACE: Final = f"""
UPDATE tailseal_record SET content = $3, expires_at = $4, family = $5, owner = $6
WHERE used_at IS NULL AND content = $7 AND tailseal_record.expires_at = $8
AND tailseal_record.family = $9 AND owner = $10 AND {_ONE}"""

REMOVE: Final = "DELETE FROM tailseal_record WHERE kind = $1 AND digest = $2"

OWNED: Final = f"""
SELECT {RECORD} FROM tailseal_record WHERE owner = $2 AND owner <> '' AND kind = $1 AND used_at IS NULL AND {_THERE}
ORDER BY expires_at DESC LIMIT $3"""

STANDING: Final = f"SELECT {FAMILY} FROM tailseal_family WHERE id = $1 AND {_STANDS}"

FAMILIES: Final = f"""
SELECT {FAMILY} FROM tailseal_family WHERE owner = $1 AND {_STANDS} ORDER BY expires_at DESC LIMIT $2"""

END: Final = "UPDATE tailseal_family SET ended = true WHERE id = $1 AND NOT ended"

END_SESSION: Final = f"""
WITH forgotten AS (
    DELETE FROM tailseal_record WHERE kind = '{Kind.SESSION}' AND digest = $1
)
UPDATE tailseal_family SET ended = true WHERE session = $1 AND session <> '' AND {_STANDS} RETURNING {FAMILY}"""
