"""What the exchange asks of a store, and how a store says that it cannot answer.

A protocol for each concern, implemented by both stores and held to the same table of tests. Everything opaque is
a digest before it gets here: a store never sees a token, and a copy of it is of no use to anybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, Protocol

from tailseal.state.grants import Grants

CAPACITY: Final = 1_000_000
"""Marks that a store holds at most. A full one takes no more: dropping one would let a token count twice."""

Mark = tuple[bytes, float]
"""SHA-256 of what may be used once, and the Unix seconds after which nobody would take it anyway."""


class Fault(StrEnum):
    """Stable reasons for which a store gives no answer; each is answered 503."""

    NOT_CONFIGURED = "StateNotConfigured"
    """Settings name no store, or one that is not there."""
    UNREACHABLE = "StateUnavailable"
    """The store does not answer, or not in time."""
    FULL = "StateFull"
    """The store holds as much of that as it may."""
    CLOCK = "StateClockSkew"
    """By the store's clock the mark has long expired: that clock or ours is wrong by minutes."""


class StateUnavailable(Exception):  # noqa: N818 - what happened to the caller
    """No answer, so nothing may be granted.

    Args:
        fault: stable word.
        why: for the log: no address of a secret, no password, nothing that a caller sent.
    """

    def __init__(self, fault: Fault, why: str = "") -> None:
        super().__init__(why or fault.value)
        self.fault = fault


class Once(Protocol):
    """The guard of what counts once."""

    async def claim(self, marks: Sequence[Mark]) -> bool:
        """Take all of the marks, or none: of all who ever ask for one, in whatever process, one is told yes.

        There is no way to give a mark back. A call that fails may have taken them.

        Args:
            marks: at least one, each once.

        Raises:
            StateUnavailable: whether they were free cannot be said, or they cannot be kept.
        """
        ...


class Nowhere:
    """Where there is no store, nothing is remembered, so nothing may count once."""

    async def claim(self, marks: Sequence[Mark]) -> bool:  # noqa: ARG002 - the protocol's
        """See `Once`."""
        raise StateUnavailable(Fault.NOT_CONFIGURED)


class Store(Once, Grants, Protocol):
    """A store as its keeper sees it."""

    async def sweep(self) -> Mapping[str, int]:
        """Drop what nobody can ask for any more, in bounded batches.

        Returns:
            How much of everything is left, or an estimate: by the names in `limits.LIMITS`.

        Raises:
            StateUnavailable: the store does not answer.
        """
        ...

    async def aclose(self) -> None:
        """Answer who is waiting, then let go of everything."""
        ...
