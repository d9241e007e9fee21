"""Remembers whose used records may have become too many, so that a sweep need not look at everybody's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tailseal.state.grants import Taken

_MOST: Final = 50_000
"""Families remembered; one beyond is looked at after its next use."""


class Crowding:
    """Families of which something was used since they were last looked at."""

    def __init__(self) -> None:
        self._families: set[bytes] = set()

    def saw(self, taken: Taken | None) -> Taken | None:
        """What came of a use, passed on."""
        if taken is not None and taken.first and taken.record.family and len(self._families) < _MOST:
            self._families.add(taken.record.family)
        return taken

    def some(self, most: int) -> Sequence[bytes]:
        """Some of them, to be looked at."""
        return [family for family, _ in zip(self._families, range(most), strict=False)]

    def looked_at(self, families: Sequence[bytes]) -> None:
        """Forget them, until something of theirs is used again."""
        self._families.difference_update(families)
