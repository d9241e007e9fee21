"""The last decisions of this replica, with what it takes to make them again: so that one can be explained afterwards.

Nothing is traced while a caller waits. Kept are the audit line's fields, what was asked for, and the tokens' claims as
they came, without header and signature: nobody can be anybody with them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from tailseal.domain.policy.grants import GrantRequest
from tailseal.tokens.compact import Compact

MOST: Final = 1024
"""Decisions kept whose token was verified; of others a quarter as many, so that garbage pushes none of these out."""

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of the requests that these decisions were about; what is kept of them is less."""

MOST_BESIDE: Final = 32
"""Policies under `Audit` that are kept of what each would do: a tenant may have a thousand, a worker not the memory."""


class Claims(NamedTuple):
    """What is kept of a token.

    Args:
        payload: its payload segment, base64url; empty where there was no well-formed token.
        algorithm: the JWS algorithm that it names.
    """

    payload: bytes = b""
    algorithm: str = ""


class Record(NamedTuple):
    """One decision.

    Args:
        audit: fields of its audit line.
        subject: of the subject token.
        actor: of the actor token.
        asked: what was asked for, once that could be read.
        size: bytes that it counts for.
    """

    audit: Mapping[str, object]
    subject: Claims
    actor: Claims
    asked: GrantRequest | None
    size: int


class Ring:
    """Keeps the newest, by number and bytes.

    Args:
        most: decisions about verified tokens.
        largest: bytes of them.
    """

    def __init__(self, most: int = MOST, largest: int = LARGEST) -> None:
        self._verified = _Pocket(most, largest)
        self._others = _Pocket(most // 4, largest // 4)

    def __len__(self) -> int:
        return len(self._verified.records) + len(self._others.records)

    def keep(
        self,
        audit: Mapping[str, object],
        token: Compact | None,
        asked: GrantRequest | None,
        size: int,
        actor: Compact | None = None,
    ) -> None:
        """Keep a decision.

        Args:
            audit: fields of its audit line, not changed any more.
            token: the subject token, taken apart.
            asked: what was asked for.
            size: bytes of the request.
            actor: the actor token, taken apart.
        """
        pocket = self._verified if "subject" in audit else self._others
        subject, acting = _claims(token), _claims(actor)
        size = max(size, len(subject.payload) + len(acting.payload))
        pocket.add(Record(_cut(audit), subject, acting, asked, size))

    def find(self, decision: str) -> Record | None:
        """The decision with this id, if it is still there."""
        found = (
            record
            for pocket in (self._verified, self._others)
            for record in tuple(pocket.records)
            if record.audit.get("decision") == decision
        )
        return next(found, None)


def _cut(audit: Mapping[str, object]) -> Mapping[str, object]:
    """The fields, with the first of whatever there is too much of."""
    long = {name: value for name, value in audit.items() if isinstance(value, Sequence) and len(value) > MOST_BESIDE}
    cut = {name: value[:MOST_BESIDE] for name, value in long.items() if not isinstance(value, str)}
    return {**audit, **cut} if cut else audit


def _claims(token: Compact | None) -> Claims:
    return Claims() if token is None else Claims(token.signing_input.partition(b".")[2], token.alg)


class _Pocket:
    __slots__ = ("_bytes", "_largest", "_most", "records")

    def __init__(self, most: int, largest: int) -> None:
        self.records: deque[Record] = deque()
        self._most, self._largest, self._bytes = most, largest, 0

    def add(self, record: Record) -> None:
        self.records.append(record)
        self._bytes += record.size
        while len(self.records) > self._most or self._bytes > self._largest:
            self._bytes -= self.records.popleft().size
