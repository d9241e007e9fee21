"""Durations: whole seconds in Python, `90s`, `5m` or `720h` in a manifest."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from tailseal.api.base import Rule, to_alias, to_cel

PATTERN: Final = r"^([0-9]{1,9}s|[0-9]{1,7}m|[0-9]{1,5}h)$"
"""Every value that it lets through is also a duration to CEL; a day is no unit there, so it is none here."""

_TEXT: Final = re.compile(r"[0-9]{1,9}s|[0-9]{1,7}m|[0-9]{1,5}h", re.ASCII)
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


def parse_duration(text: str) -> int:
    """Seconds of a duration such as `90s`, `5m`, `720h`.

    Raises:
        ValueError: the text is no such duration.
    """
    if not _TEXT.fullmatch(text):
        raise ValueError("must be a duration: a whole number of s, m or h, such as 90s, 5m or 720h")
    return int(text[:-1]) * _UNITS[text[-1]]


def format_duration(seconds: int) -> str:
    """The duration in the largest unit that says it exactly: 5400 is `90m`."""
    for unit in ("h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"


def _read(value: Any, info: ValidationInfo) -> int:  # noqa: ANN401 - whatever a manifest holds
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ValueError as error:
            raise PydanticCustomError("duration", "{text}", {"text": str(error)}) from None
    if info.mode == "python" and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise PydanticCustomError("duration", "must be a duration as a string, such as 90s, 5m or 720h")


Duration = Annotated[
    int,
    BeforeValidator(_read),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "maxLength": 10}),
]
"""Seconds. Manifests say them as text only; code may pass a number."""


def cel_duration(member: str) -> str:
    """A duration member (attribute name) of `self` as a CEL value."""
    return f"duration(self.{to_cel(member)})"


def between(member: str, low: int, high: int) -> Rule:
    """The duration (attribute name), where it is there, lies between two numbers of seconds."""
    value = cel_duration(member)
    holds: Callable[[Any], bool] = lambda model: (  # noqa: E731 - a rule's predicate
        getattr(model, member) is None or low <= getattr(model, member) <= high
    )
    return Rule(
        cel=f"!has(self.{to_cel(member)}) || ({value} >= duration('{low}s') && {value} <= duration('{high}s'))",
        message=f"{to_alias(member)} must be from {format_duration(low)} to {format_duration(high)}",
        holds=holds,
    )
