"""Instants: Unix seconds in Python, RFC 3339 in UTC in a status."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import StringConstraints

Timestamp = Annotated[
    str,
    StringConstraints(max_length=32, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,9})?(Z|[+-][0-9:]{5})$"),
]
"""An RFC 3339 time as text, as Kubernetes writes it."""


def format_time(seconds: float) -> str:
    """The instant in UTC, cut to whole seconds as Kubernetes does."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> float:
    """Unix seconds of an RFC 3339 time.

    Raises:
        ValueError: the text is no RFC 3339 time with an offset.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("an RFC 3339 time needs an offset, such as Z")
    return instant.timestamp()
