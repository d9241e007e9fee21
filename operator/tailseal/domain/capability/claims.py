"""Claims that capabilities add to tokens: which names and values they may have, and what several rules say together.

Values keep their types: `1`, `1.0`, `"1"` and `true` are four different things, in lists as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Scalar = str | int | float | bool
Value = Scalar | tuple[Scalar, ...]

MAX_CLAIMS: Final = 64
"""Most claims of one rule."""

MAX_ITEMS: Final = 256
"""Most elements of a list."""

MAX_TEXT: Final = 2048
"""Longest string in characters."""

_LARGEST: Final = 2**53 - 1
"""Of whole numbers: readers that know no others than floating ones take it for what it is (RFC 8259 section 6)."""

RESERVED: Final = frozenset(
    {
        *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "act", "may_act", "cnf", "client_id", "scope", "azp"),
        *("nonce", "auth_time", "acr", "amr", "at_hash", "c_hash", "s_hash", "sid", "events", "typ"),
        *("email", "name", "preferred_username", "username", "user", "display_name", "picture", "policy", "tags"),
        *("key", "addresses", "nid", "node", "tailnet", "uid", "active", "token_type"),
    }
)
"""Claims that we set ourselves, from what Tailscale says of the caller or from what was asked for."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What all rules say together.

    Args:
        values: by name; lists are sorted and hold each element once.
        conflicts: names on which rules differ, sorted: they are left out.
    """

    values: Mapping[str, Value]
    conflicts: tuple[str, ...] = ()


def value(found: Any) -> Value:  # noqa: ANN401 - any JSON value
    """A claim's value.

    Raises:
        ValueError: it is none that a claim may have; says what would be right.
    """
    if isinstance(found, list):
        if len(found) > MAX_ITEMS or not all(map(_is_scalar, found)):
            raise ValueError(f"a list holds at most {MAX_ITEMS} strings, numbers and booleans")
        return tuple(found)
    if not _is_scalar(found):
        raise ValueError(f"a claim is a string of at most {MAX_TEXT} characters, number or boolean, or a list of them")
    scalar: Scalar = found
    return scalar


def merge(said: Iterable[Mapping[str, Value]]) -> Merged:
    """Lists are united; what differs otherwise is left out, so that a slip in one rule locks nobody out."""
    by_name: dict[str, list[Value]] = {}
    for claims in said:
        for name, one in claims.items():
            by_name.setdefault(name, []).append(one)
    together = {name: _together(values) for name, values in sorted(by_name.items())}
    return Merged(
        {name: one for name, one in together.items() if one is not None},
        tuple(name for name, one in together.items() if one is None),
    )


def _together(values: list[Value]) -> Value | None:
    lists = [one for one in values if isinstance(one, tuple)]
    if len(lists) == len(values):
        united = {_typed(item): item for one in lists for item in one}
        return tuple(united[key] for key in sorted(united))
    if lists:
        return None
    scalars = [one for one in values if not isinstance(one, tuple)]
    return scalars[0] if len(set(map(_typed, scalars))) == 1 else None


def _typed(scalar: Scalar) -> tuple[str, Scalar]:
    """Sorts and compares by type first: Python takes `True`, `1` and `1.0` for the same."""
    return type(scalar).__name__, scalar


def is_text(found: object) -> bool:
    """Whether it is a string of at most `MAX_TEXT` characters that can be sent: JSON can also say half a character."""
    if not isinstance(found, str) or len(found) > MAX_TEXT:
        return False
    try:
        found.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_scalar(found: object) -> bool:
    if isinstance(found, int):
        return -_LARGEST <= found <= _LARGEST
    return is_text(found) or (isinstance(found, float) and math.isfinite(found))
