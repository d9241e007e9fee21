"""Reads a table of made-up callers, with which people can log in on one's own machine as they would on a tailnet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import yaml

from tailseal.domain.bundle.model import CAPABILITY
from tailseal.domain.caller import Caller, Node, User

_MEMBERS: Final = frozenset({"login", "id", "name", "picture", "groups", "node", "address", "tags", "capabilities"})
_FIRST: Final = ip_address("100.64.0.1")
_TAILNET: Final = "tailnet.example"


class CallersError(ValueError):
    """The table cannot be used; says what is wrong where, and what would be right."""


def read(file: Path) -> tuple[Caller, ...]:
    """The callers of a table, at least one: the first is who calls without saying whom to be.

    Args:
        file: YAML: a list of callers.

    Raises:
        CallersError: it is no such table.
        OSError: it cannot be read.
    """
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CallersError(f"not YAML: {type(error).__name__}") from None
    if not isinstance(found, list) or not found:
        raise CallersError("must be a list of at least one caller, such as `- login: ana@corp.example`")
    callers = tuple(_caller(number, entry) for number, entry in enumerate(found))
    _check_unique([str(address) for caller in callers for address in caller.node.addresses], "address")
    _check_unique([caller.node.stable_id for caller in callers], "node")
    return callers


def _caller(number: int, entry: Any) -> Caller:  # noqa: ANN401 - whatever YAML held
    where = f"[{number}]"
    if not isinstance(entry, dict) or not _MEMBERS.issuperset(entry):
        raise CallersError(f"{where}: must be an object of {', '.join(sorted(_MEMBERS))}")
    login, tags = _text(where, entry, "login", ""), _texts(where, entry, "tags")
    if bool(login) == bool(tags):
        raise CallersError(f"{where}: must have exactly one of login (a person) and tags (a machine)")
    name = _text(where, entry, "node", f"{login.partition('@')[0] or 'machine'}-{number + 1}")
    node = Node(
        stable_id=f"n{name.partition('.')[0]}",
        id=str(1000 + number),
        name=name if "." in name else f"{name}.{_TAILNET}",
        key=f"nodekey:{number + 1:064x}",
        tags=tags,
        addresses=(_address(where, entry, number),),
    )
    return Caller(node, _user(where, entry, login, number) if login else None, _capabilities(where, entry))


def _user(where: str, entry: Mapping[str, Any], login: str, number: int) -> User:
    return User(
        id=_text(where, entry, "id", str(number + 1)),
        login=login,
        display_name=_text(where, entry, "name", login.partition("@")[0]),
        picture=_text(where, entry, "picture", ""),
        groups=_texts(where, entry, "groups"),
    )


def _address(where: str, entry: Mapping[str, Any], number: int) -> Any:  # noqa: ANN401 - IPv4 or IPv6
    try:
        return ip_address(_text(where, entry, "address", str(_FIRST + number)))
    except ValueError:
        raise CallersError(f"{where}.address: must be an IP address of a node, such as 100.64.0.7") from None


def _capabilities(where: str, entry: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Values by name, as the tailnet's policy file has them; a list is of the provider's own capability."""
    found = entry.get("capabilities", {})
    if isinstance(found, list):
        found = {CAPABILITY: found}
    if not isinstance(found, dict) or not all(isinstance(values, list) for values in found.values()):
        raise CallersError(f"{where}.capabilities: must be a list of values, or lists of them by capability")
    return {str(name): tuple(values) for name, values in found.items()}


def _text(where: str, entry: Mapping[str, Any], member: str, default: str) -> str:
    value = entry.get(member, default)
    if not isinstance(value, str):
        raise CallersError(f"{where}.{member}: must be a text (in YAML: put it in quotes)")
    return value


def _texts(where: str, entry: Mapping[str, Any], member: str) -> tuple[str, ...]:
    found = entry.get(member, [])
    if not isinstance(found, list) or not all(isinstance(value, str) and value for value in found):
        raise CallersError(f"{where}.{member}: must be a list of texts")
    return tuple(sorted(found))


def _check_unique(values: list[str], member: str) -> None:
    if twice := sorted(_twice(values)):
        raise CallersError(f"{member} {twice[0]} belongs to more than one caller")


def _twice(values: list[str]) -> Iterator[str]:
    return (value for value in set(values) if values.count(value) > 1)
