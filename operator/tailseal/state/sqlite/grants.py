"""Records and families in the file; see `state.grants` for what each of these is to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tailseal.state.grants import Family, Kind, Record, Taken
from tailseal.state.limits import FAMILY, full
from tailseal.state.sqlite import statements
from tailseal.state.sqlite.engine import Tables


def put(tables: Tables, records: Sequence[Record], family: Family | None, limits: Mapping[str, int]) -> None:
    """Keep all, or raise `StateUnavailable` where one is too many."""
    if family is not None:
        _add(tables, FAMILY, tables.database.execute(statements.BEGIN, _of_family(family)).rowcount, limits)
    for record in records:
        row = _of_record(record)
        added = tables.database.execute(statements.INSERT, row).rowcount
        _add(tables, record.kind, added, limits)
        if not added:
            tables.database.execute(statements.OVERWRITE, row)


def get(tables: Tables, kind: Kind, digest: bytes, now: float) -> Record | None:
    """A record that is there and unused."""
    found = _rows(tables, statements.GET, kind, digest, now)
    return found[0] if found else None


def use(
    tables: Tables, kind: Kind, digest: bytes, following: Sequence[Record], now: float, limits: Mapping[str, int]
) -> Taken | None:
    """Mark a record as used, and keep what follows if nobody had."""
    if first := _rows(tables, statements.USE, kind, digest, now):
        put(tables, following, None, limits)
        return Taken(first[0], first=True)
    found = _rows(tables, statements.LOOK, kind, digest, now)
    return Taken(found[0], first=False) if found else None


def replace(tables: Tables, former: Record, record: Record, now: float) -> bool:
    """Put a record in the place of one that is still as it was."""
    was = {f"former_{name}": value for name, value in _of_record(former).items()}
    row = _of_record(record) | was | {"kind": former.kind, "digest": former.digest, "now": now}
    return tables.database.execute(statements.REPLACE, row).rowcount == 1


def remove(tables: Tables, kind: Kind, digest: bytes) -> None:
    """Forget a record."""
    tables.held[kind] -= tables.database.execute(statements.REMOVE, (kind.value, digest)).rowcount


def owned(tables: Tables, kind: Kind, owner: str, limit: int, now: float) -> Sequence[Record]:
    """Somebody's records, the longest first."""
    given = {"kind": kind.value, "owner": owner, "limit": limit, "now": now}
    return [_record(row) for row in tables.database.execute(statements.OWNED, given)]


def family(tables: Tables, identifier: bytes, now: float) -> Family | None:
    """A family that stands."""
    given = {"id": identifier, "now": now}
    found = [Family(*row) for row in tables.database.execute(statements.STANDING, given)]
    return found[0] if found else None


def families(tables: Tables, owner: str, limit: int, now: float) -> Sequence[Family]:
    """Somebody's families, the longest first."""
    given = {"owner": owner, "limit": limit, "now": now}
    return [Family(*row) for row in tables.database.execute(statements.FAMILIES, given)]


def end(tables: Tables, identifier: bytes) -> None:
    """End a family; what belongs to it is swept later."""
    tables.database.execute(statements.END, (identifier,))


def end_session(tables: Tables, session: bytes, now: float) -> Sequence[Family]:
    """Forget a session and end what began in it."""
    remove(tables, Kind.SESSION, session)
    given = {"session": session, "now": now}
    return [Family(*row) for row in tables.database.execute(statements.END_SESSION, given).fetchall()]


def _add(tables: Tables, name: str, added: int, limits: Mapping[str, int]) -> None:
    tables.held[name] += added
    if added and tables.held[name] > limits[name]:
        raise full(name, limits[name])


def _rows(tables: Tables, text: str, kind: Kind, digest: bytes, now: float) -> list[Record]:
    given = {"kind": kind.value, "digest": digest, "now": now}
    return [_record(row) for row in tables.database.execute(text, given).fetchall()]


def _record(row: tuple[Any, ...]) -> Record:
    return Record(Kind(row[0]), *row[1:])


def _of_record(record: Record) -> dict[str, Any]:
    return {
        "kind": record.kind.value,
        "digest": record.digest,
        "content": record.content,
        "expires_at": record.expires_at,
        "family": record.family,
        "owner": record.owner,
    }


def _of_family(family: Family) -> dict[str, Any]:
    return {name: getattr(family, name) for name in ("id", "owner", "client", "session", "content", "expires_at")}
