"""Reads tailscaled's answers: who an address is, and whether our own node is in a state to know.

Whatever is not as measured means that we do not understand the answer, and then it names nobody.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tailseal.domain.caller import Address, Caller, Node, User
from tailseal.tailnet.errors import NobodyError, Outage, Refusal, UnavailableError

RUNNING: Final = "Running"
"""The one state in which a node knows others."""

_TAGGED: Final = "tagged-devices"
"""The login name that stands in for nobody."""

_UNSET: Final = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class OwnNode:
    """Our own node.

    Args:
        state: `Running`, or why not: `NeedsLogin`, `Starting`, `Stopped`, …
        name: in the tailnet's DNS, without the last dot; empty: none yet.
        id: stable id in the tailnet; empty: none yet.
    """

    state: str
    name: str
    id: str = ""


def own_node(answer: object) -> OwnNode:
    """What `status` answers.

    Raises:
        UnavailableError: it makes no sense.
    """
    status = _object(answer, "status")
    self_ = _object(status.get("Self") or {}, "Self")
    return OwnNode(_text(status, "BackendState"), _text(self_, "DNSName", "").rstrip("."), id=_text(self_, "ID", ""))


def caller(answer: object, now: float) -> Caller:
    """What `whois` answers.

    Args:
        answer: its JSON.
        now: Unix seconds.

    Raises:
        NobodyError: the node has to log in again.
        UnavailableError: it makes no sense.
    """
    found = _object(answer, "whois")
    node, profile = _object(found.get("Node"), "Node"), _object(found.get("UserProfile"), "UserProfile")
    expires = _expiry(node)
    # An expired node keeps its place and its capabilities in every answer; only these two members tell.
    if node.get("Expired", False) is not False or (expires is not None and expires <= now):
        raise NobodyError(Refusal.EXPIRED)
    device = _node(node)
    user = None if device.tags else _user(node, profile)
    return Caller(device, user, _capabilities(found.get("CapMap")))


def _node(node: Mapping[str, Any]) -> Node:
    return Node(
        stable_id=_text(node, "StableID"),
        id=_id(node, "ID"),
        name=_text(node, "Name").rstrip("."),
        key=_text(node, "Key"),
        tags=_texts(node, "Tags"),
        addresses=_addresses(node),
    )


def _user(node: Mapping[str, Any], profile: Mapping[str, Any]) -> User:
    login = _text(profile, "LoginName")
    if login == _TAGGED or _id(node, "User") != _id(profile, "ID"):
        raise _malformed("a node without tags belongs to one user, who is told alike twice")
    return User(
        id=_id(profile, "ID"),
        login=login,
        display_name=_text(profile, "DisplayName", ""),
        picture=_text(profile, "ProfilePicURL", ""),
        groups=_texts(profile, "Groups"),
    )


def _expiry(node: Mapping[str, Any]) -> float | None:
    text = node.get("KeyExpiry")
    if text is None or text == _UNSET:
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise _malformed("KeyExpiry is not a time") from None
    if moment.tzinfo is None:
        raise _malformed("KeyExpiry has no time zone")
    return moment.timestamp()


def _addresses(node: Mapping[str, Any]) -> tuple[Address, ...]:
    try:
        found = tuple(ipaddress.ip_interface(text).ip for text in _texts(node, "Addresses", sort=False))
    except ValueError:
        raise _malformed("Addresses holds something else") from None
    if not found:
        raise _malformed("Addresses is empty")
    return found


def _capabilities(found: object) -> dict[str, tuple[Any, ...]]:
    """Null, where nothing is granted."""
    if found is None:
        return {}
    granted = _object(found, "CapMap")
    if not all(values is None or isinstance(values, list) for values in granted.values()):
        raise _malformed("CapMap holds something else than lists")
    return {name: tuple(values or ()) for name, values in granted.items()}


def _object(found: object, what: str) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise _malformed(f"{what} is not an object")
    return found


def _text(found: Mapping[str, Any], member: str, default: str | None = None) -> str:
    text = found.get(member, default)
    if not isinstance(text, str) or not (text or default == ""):
        raise _malformed(f"{member} is not a text")
    return text


def _texts(found: Mapping[str, Any], member: str, *, sort: bool = True) -> tuple[str, ...]:
    texts = found.get(member) or []
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise _malformed(f"{member} is not a list of texts")
    return tuple(sorted(texts) if sort else texts)


def _id(found: Mapping[str, Any], member: str) -> str:
    number = found.get(member)
    if type(number) is not int or number <= 0:
        raise _malformed(f"{member} is not a number above zero")
    return str(number)


def _malformed(detail: str) -> UnavailableError:
    return UnavailableError(Outage.MALFORMED, detail)
