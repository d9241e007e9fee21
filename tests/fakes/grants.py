"""What a store of logins is to do, said as simply as it can be: two dictionaries and a clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tailseal.state.grants import Family, Kind, Record, Taken
from tailseal.state.limits import FAMILY

Key = tuple[Kind, bytes]


@dataclass
class ModelGrants:
    """Grants in memory.

    Args:
        now: Unix seconds.
    """

    now: float = 1_000_000.0
    kept: dict[Key, Record] = field(default_factory=dict)
    used: set[Key] = field(default_factory=set)
    begun: dict[bytes, Family] = field(default_factory=dict)
    ended: set[bytes] = field(default_factory=set)

    def put(self, records: Sequence[Record], family: Family | None = None) -> None:
        if family is not None:
            self.begun.setdefault(family.id, family)
        for record in records:
            self.kept[record.kind, record.digest] = record
            self.used.discard((record.kind, record.digest))

    def get(self, kind: Kind, digest: bytes) -> Record | None:
        return self._there((kind, digest)) if (kind, digest) not in self.used else None

    def use(self, kind: Kind, digest: bytes, following: Sequence[Record] = ()) -> Taken | None:
        key = (kind, digest)
        if (record := self._there(key)) is None:
            return None
        first = key not in self.used
        if first:
            self.used.add(key)
            self.put(following)
        return Taken(record, first)

    def replace(self, former: Record, record: Record) -> bool:
        same = self.get(former.kind, former.digest) == former
        if same:
            self.kept[former.kind, former.digest] = record
        return same

    def remove(self, kind: Kind, digest: bytes) -> None:
        self.kept.pop((kind, digest), None)
        self.used.discard((kind, digest))

    def owned(self, kind: Kind, owner: str) -> list[Record]:
        found = [self.get(*key) for key in self.kept if key[0] is kind]
        return [record for record in found if record is not None and record.owner == owner and owner]

    def family(self, family: bytes) -> Family | None:
        found = self.begun.get(family)
        return None if found is None or family in self.ended or found.expires_at <= self.now else found

    def families(self, owner: str) -> list[Family]:
        return [one for one in map(self.family, self.begun) if one is not None and one.owner == owner]

    def end(self, family: bytes) -> None:
        if family in self.begun:
            self.ended.add(family)

    def end_session(self, session: bytes) -> list[Family]:
        self.remove(Kind.SESSION, session)
        found = [one for one in map(self.family, self.begun) if one and one.session == session and session]
        self.ended |= {one.id for one in found}
        return found

    def sweep(self) -> dict[str, int]:
        expired = {key for key, record in self.kept.items() if record.expires_at <= self.now}
        for key in expired - self.used:
            if key[0] is Kind.CODE:
                self.end(self.kept[key].family)
        fallen = {family for family in self.begun if self.family(family) is None}
        for key in expired | {key for key, record in self.kept.items() if record.family in fallen}:
            self.remove(*key)
        for family in fallen:
            del self.begun[family]
        self.ended -= fallen
        return Counter(kind for kind, _ in self.kept) | Counter({FAMILY: len(self.begun)})

    def _there(self, key: Key) -> Record | None:
        record = self.kept.get(key)
        if record is None or record.expires_at <= self.now:
            return None
        return record if not record.family or self.family(record.family) else None
