"""Reads the values of a capability, each in the schema that it is written in; what makes no sense counts for nothing.

Three schemas are told apart by their members: ours has `v`, tscap's `action`, and tsidp's the members of its flat rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from tailseal.domain.capability import flat, v1
from tailseal.domain.capability.faults import Fault, Read
from tailseal.domain.capability.model import Capabilities, Malformed, Rule

_UNKNOWN: Final = Fault("", 'no schema that is known: write {"v": 1, "allow": [{"action": […], "resource": […]}]}')

_Reader = Callable[[dict[str, Any]], Read]


def read(values: Sequence[Any], login: str = "") -> Capabilities:
    """What the identity provider's capability says.

    Args:
        values: what the caller was granted, in any order: any JSON.
        login: of the caller, whom tsidp's rules may name; empty: nobody's.
    """
    return _read(values, lambda value: _by_members(value, login))


def read_tscap(values: Sequence[Any]) -> Capabilities:
    """What a capability of any other service says, in tscap's schema or ours, with actions of its own."""
    return _read(values, lambda value: v1.read(value, known=None) if "v" in value else flat.tscap(value))


def _by_members(value: dict[str, Any], login: str) -> Read:
    if "v" in value:
        return v1.read(value, known=v1.ACTIONS)
    if "action" in value:
        return flat.tscap(value)
    if flat.TSIDP & value.keys():
        return flat.tsidp(value, login)
    raise _UNKNOWN


def _read(values: Iterable[Any], reader: _Reader) -> Capabilities:
    rules: list[Rule] = []
    malformed: list[Malformed] = []
    for number, value in enumerate(values):
        try:
            found = reader(_object(value))
        except Fault as fault:
            malformed.append(Malformed(number, fault.where, fault.message))
            continue
        rules.append(found.rule)
        malformed += (Malformed(number, left.where, left.message, skipped=False) for left in found.left_out)
    return Capabilities(tuple(rules), tuple(malformed))


def _object(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    if not isinstance(value, dict):
        raise Fault("", "must be a JSON object")
    return value
