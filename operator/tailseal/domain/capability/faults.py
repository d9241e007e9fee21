"""What the readers of all schemas have in common: a fault with its place, and members of one type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tailseal.domain.capability.claims import MAX_TEXT, is_text
from tailseal.domain.capability.model import Rule

MAX_ENTRIES: Final = 256
"""Most elements of any list in a rule."""

_MAX_WHERE: Final = 128


class Fault(ValueError):  # noqa: N818 - of the rule, not of the program
    """A member is not as it should be.

    Args:
        where: the member, e.g. `allow[0].action`.
        message: what would be right.
    """

    def __init__(self, where: str, message: str) -> None:
        super().__init__(message)
        # Names of members are whatever somebody wrote: nothing that a terminal or a log would take for more.
        self.where, self.message = where[:_MAX_WHERE].encode("unicode_escape").decode(), message


@dataclass(frozen=True, slots=True)
class Read:
    """A rule, and what of it had to be left out."""

    rule: Rule
    left_out: tuple[Fault, ...] = ()


def entries(where: str, found: Any) -> list[Any]:  # noqa: ANN401 - any JSON value
    """A list of bounded length.

    Raises:
        Fault: it is none.
    """
    if not isinstance(found, list) or len(found) > MAX_ENTRIES:
        raise Fault(where, f"must be a list of at most {MAX_ENTRIES} elements")
    return found


def texts(where: str, found: Any) -> frozenset[str]:  # noqa: ANN401
    """A list of strings, none of them empty.

    Raises:
        Fault: it is none.
    """
    for text in entries(where, found):
        if not text or not is_text(text):
            raise Fault(where, f"must be a list of strings of 1 to {MAX_TEXT} characters")
    return frozenset(found)
