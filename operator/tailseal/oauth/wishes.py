"""Parameter `claims` (OpenID Connect Core section 5.5): which claims are wished for, and which are insisted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tailseal.domain import canonical
from tailseal.oauth.errors import OAuthError
from tailseal.tokens import compact
from tailseal.tokens.errors import TokenError

_MOST: Final = 64


@dataclass(frozen=True, slots=True)
class Wish:
    """One claim.

    Args:
        essential: whether the client insists on it.
        values: that would do; empty: any.
    """

    essential: bool = False
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Wishes:
    """All of them, by where they are wished for.

    Args:
        id_token: by name of the claim.
        userinfo: by name of the claim.
        text: as it is kept: canonical JSON; empty: nothing is wished for.
    """

    id_token: Mapping[str, Wish] = field(default_factory=dict)
    userinfo: Mapping[str, Wish] = field(default_factory=dict)
    text: str = ""


NOTHING: Final = Wishes()


def read(text: str) -> Wishes:
    """What is wished for; members and claims that nobody knows are ignored.

    Raises:
        OAuthError: `invalid_request`: it is no such object.
    """
    if not text:
        return NOTHING
    try:
        found = compact.json_object(text.encode())
        id_token, userinfo = _members(found, "id_token"), _members(found, "userinfo")
        return Wishes(id_token, userinfo, canonical.dumps(found).decode())
    except (TokenError, ValueError, TypeError):
        text = "parameter `claims` must be a JSON object with the members id_token and userinfo, each an object"
        raise OAuthError("invalid_request", text) from None


def _members(found: Mapping[str, Any], member: str) -> dict[str, Wish]:
    wished = found.get(member)
    if wished is None:
        return {}
    if type(wished) is not dict or len(wished) > _MOST:
        raise ValueError(member)
    return {name: _wish(value) for name, value in wished.items()}


def _wish(value: object) -> Wish:
    if value is None:
        return Wish()
    if type(value) is not dict:
        raise ValueError("no object")
    values = value.get("values", [])
    if type(values) is not list or type(value.get("essential", False)) is not bool:
        raise ValueError("values is no list")
    single = (value["value"],) if "value" in value else ()
    return Wish(value.get("essential", False), (*single, *values))
