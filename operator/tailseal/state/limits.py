"""How much of everything a store holds at most: so nobody fills the disk, and nothing of one is dropped for another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tailseal.state.grants import CAPACITY as RECORDS
from tailseal.state.protocol import CAPACITY as MARKS
from tailseal.state.protocol import Fault, StateUnavailable

Held = Mapping[str, int]
"""A number for each `Kind` of record, for marks and for families."""

MARK: Final = "mark"
FAMILY: Final = "family"

LIMITS: Final[Held] = {MARK: MARKS, FAMILY: 100_000} | {kind.value: most for kind, most in RECORDS.items()}
"""What a store takes at most; at its limit it takes no more of that, and goes on with the rest."""

USED: Final = 16
"""Used records that a family keeps: the last ones. Of a token that was used before those, nobody is told that it was:
it is not there. Otherwise a client that refreshes all day fills the store of everybody."""


def full(name: str, limit: int) -> StateUnavailable:
    """The refusal of one more."""
    return StateUnavailable(Fault.FULL, f"it holds {limit} of {name}, and that is the limit")
