"""Compares what we want with what is there, so that nothing is written twice: what the API server adds is no drift."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

Value = Any  # what JSON can say

LIST_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "containers": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "ports": ("containerPort", "port", "protocol"),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
"""Lists that merge by key; all others are replaced as one."""

_EMPTY: Final = "value"
"""Of an environment variable: the API server leaves it out where it is empty."""

_QUANTITY: Final = re.compile(r"([+-]?[0-9.]+)(?:([eE][+-]?[0-9]+)|([numkMGTPE]|[KMGTPE]i)?)", re.ASCII)
_SCALE: Final = {
    **{
        suffix: Decimal(10) ** (3 * power)
        for power, suffix in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), -3)
    },
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}


def differs(wanted: Value, present: Value) -> bool:
    """Whether applying `wanted` would change `present`; what only `present` has (defaults) does not count."""
    return _differs("", wanted, present)


def must_be_replaced(wanted: Mapping[str, Value], present: Mapping[str, Value]) -> bool:
    """Whether no update can lead from `present` to `wanted`, as a field that differs cannot be changed."""
    if present.get("immutable"):
        return any((present.get(name) or {}) != wanted[name] for name in ("data", "binaryData") if name in wanted)
    if wanted["kind"] == "Secret":
        return bool(wanted["type"] != present.get("type", "Opaque"))
    if wanted["kind"] == "RoleBinding":
        return bool(wanted["roleRef"] != present.get("roleRef"))
    if wanted["kind"] == "Deployment":
        return bool(wanted["spec"]["selector"] != present["spec"]["selector"])
    return False


def _differs(field: str, wanted: Value, present: Value) -> bool:
    if wanted == present:  # mostly, and that is found out much faster than by looking into both
        return False
    if isinstance(wanted, Mapping) and isinstance(present, Mapping):
        compare = _quantities_differ if field in {"requests", "limits"} else _differs
        return any(compare(name, entry, present.get(name)) for name, entry in wanted.items())
    if isinstance(wanted, list) and isinstance(present, list):
        return _lists_differ(field, wanted, present)
    if isinstance(wanted, Mapping | list):
        return bool(wanted) or present is not None
    return bool(present) or field != _EMPTY or wanted != ""


def _lists_differ(field: str, wanted: list[Value], present: list[Value]) -> bool:
    keys = LIST_KEYS.get(field)
    if keys is None:
        return len(wanted) != len(present) or any(map(differs, wanted, present))
    entries = {key_of(entry, keys): entry for entry in present}
    return any(differs(entry, entries.get(key_of(entry, keys))) for entry in wanted)


def key_of(entry: Mapping[str, Value], keys: tuple[str, ...]) -> tuple[Value, ...]:
    """What tells it from others of its list, by `LIST_KEYS`."""
    return tuple(entry.get(key) for key in keys)


def _quantities_differ(_: str, wanted: Value, present: Value) -> bool:
    return bool(wanted != present) and _quantity(wanted) != _quantity(present)


def _quantity(text: Value) -> int | Value:
    """Thousandths that a quantity stands for: the API server rewrites `1000m` as `1`, and rounds `0.0005` to `1m`."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        return text
    number, exponent, suffix = match.groups()
    return math.ceil(Decimal(number + (exponent or "")) * _SCALE[suffix or ""] * 1000)
