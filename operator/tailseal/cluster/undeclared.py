"""Older CRDs lack fields of ours or take fewer items, and an API server refuses all of an apply for one such."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tailseal.cluster.port import Object

_REFUSED = re.compile(r"(\.status(?:\.\w+|\[[^\]]*\])+): field not declared in schema")
_WHOLE = "keys"
"""A SigningKey's keys: whoever reads them must not take part of them for all, so rather the write fails."""

_TOO_MANY = re.compile(r"\bstatus\.(\w+): Too many: (\d+): must have at most (\d+) items")


def declared(obj: Object, refusal: str) -> Object:
    """The object without what the API server says that its schema lacks; the same where it says nothing of the kind.

    Of a list of the status that is too long, the last go: a condition that is new to the object comes last. Of a
    SigningKey's keys none goes.

    Args:
        obj: what was applied.
        refusal: what the API server said of it.
    """
    for path in _REFUSED.findall(refusal):
        obj = _without(obj, re.findall(r"\.(\w+)", re.sub(r"\[[^\]]*\]", "", path)))
    for name, there, most in _TOO_MANY.findall(refusal):
        obj = _shortened(obj, name, by=int(there) - int(most))
    return obj


def _shortened(obj: Object, name: str, *, by: int) -> Object:
    status = obj["status"]
    return obj | {"status": status | {name: status[name][:-by]}} if name in status.keys() - {_WHOLE} and by > 0 else obj


def _without(value: Any, path: Sequence[str]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, list):
        return [_without(each, path) for each in value]
    if not isinstance(value, dict) or path[0] not in value:
        return value
    if len(path) == 1:
        return {name: member for name, member in value.items() if name != path[0]}
    return value | {path[0]: _without(value[path[0]], path[1:])}
