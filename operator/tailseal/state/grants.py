"""What an OpenID provider keeps: logins, codes, tokens, and which of them stand and fall together.

Two shapes are enough. A *record* is anything that somebody holds a handle of: it expires, and some count once. A
*family* is what a person gave a client at one login: whatever was issued from it ends with it. Handles are digests
before they get here, and contents are the caller's own encoding: a store reads neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol


class Kind(StrEnum):
    """What a record is; the same digest may stand under several."""

    PUSHED = "pushed"
    """A pushed authorization request (RFC 9126); counts once."""
    SESSION = "session"
    """A browser's session."""
    CONSENT = "consent"
    """What a person let a client have."""
    CODE = "code"
    """An authorization code; counts once."""
    REFRESH = "refresh"
    """A refresh token; counts once."""
    ACCESS = "access"
    """An opaque access token."""
    REVOKED = "revoked"
    """The id of an access token that was taken back before its time."""
    DEVICE = "device"
    """A device code, and what became of it (RFC 8628); counts once."""
    USER_CODE = "user-code"
    """What a person types for a device: leads to its device code."""
    REGISTERED = "registered"
    """A client that registered itself (RFC 7591)."""


CAPACITY: Final = (
    dict.fromkeys(Kind, 100_000)
    | dict.fromkeys((Kind.PUSHED, Kind.DEVICE, Kind.USER_CODE), 10_000)
    | {Kind.REFRESH: 500_000}
)
"""Records of a kind that a store holds at most, used ones included. A full one takes no more.

No login is dropped for another's."""


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that somebody holds a handle of.

    Args:
        kind: what it is.
        digest: SHA-256 of the handle.
        content: whatever its user needs to know.
        expires_at: Unix seconds from which it is as if it had never been.
        family: that it ends with; empty: none.
        owner: whose it is, for lists and for ending all of it; empty: nobody's.
    """

    kind: Kind
    digest: bytes = field(repr=False)
    content: bytes = field(repr=False)
    expires_at: float
    family: bytes = b""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """What a person gave a client at one login, or a client has by itself.

    Args:
        id: 16 random bytes.
        owner: subject whose it is.
        client: object uid (or registration) of the client: another of the same id is another.
        session: digest of the browser's session that it began in; empty: none, or it is to outlive it.
        content: whatever its users need to know.
        expires_at: Unix seconds: of the last thing that may be issued from it.
    """

    id: bytes
    owner: str
    client: str
    session: bytes = field(repr=False)
    content: bytes = field(repr=False)
    expires_at: float


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of using something that counts once.

    Args:
        record: as it was kept.
        first: whether this was its first use; False: somebody had used it before, whoever that was.
    """

    record: Record
    first: bool


class Grants(Protocol):
    """Where all of that is kept. Each call is one transaction that survives a crash once it has answered.

    A record that has expired, or whose family has ended or expired, is not there. A family whose code nobody used
    before it expired ends with it: nothing was ever issued from it. All raise `StateUnavailable`
    where the store does not answer; a call that fails may have been done.
    """

    async def put(self, records: Sequence[Record], family: Family | None = None) -> None:
        """Keep all of them, or none. One that is there already under its kind and digest is replaced.

        Args:
            records: any number.
            family: to begin with them; one that was begun before stays as it is, also where it has ended.

        Raises:
            StateUnavailable: also where a kind's capacity is used up.
        """
        ...

    async def get(self, kind: Kind, digest: bytes) -> Record | None:
        """The record if it is there and, if it counts once, was not used."""
        ...

    async def use(self, kind: Kind, digest: bytes, following: Sequence[Record] = ()) -> Taken | None:
        """Use something that counts once, and keep what follows it if this was the first use: both, or neither.

        Of all who ever ask, in whatever process, one is told that he was first. A used record stays until it
        expires, so that a second use is seen; of a family's, the last `limits.USED`. None: it is not there.
        """
        ...

    async def replace(self, former: Record, record: Record) -> bool:
        """Put a record in another's place (same kind and digest) if that is still exactly as given, and unused."""
        ...

    async def remove(self, kind: Kind, digest: bytes) -> None:
        """Forget a record."""
        ...

    async def owned(self, kind: Kind, owner: str, limit: int = 100) -> Sequence[Record]:
        """The records of somebody that are there and unused, those that expire last first."""
        ...

    async def family(self, family: bytes) -> Family | None:
        """The family, if it has neither ended nor expired."""
        ...

    async def families(self, owner: str, limit: int = 100) -> Sequence[Family]:
        """Those of somebody, those that expire last first."""
        ...

    async def end(self, family: bytes) -> None:
        """End a family and all that belongs to it."""
        ...

    async def end_session(self, session: bytes) -> Sequence[Family]:
        """Forget a browser's session and end the families that began in it; what they were."""
        ...
