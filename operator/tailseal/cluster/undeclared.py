"""Older CRDs lack fields of ours, and an API server refuses the whole of an apply for one that it does not know."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tailseal.cluster.port import Object

_REFUSED = re.compile(r"(\.status(?:\.\w+|\[[^\]]*\])+): field not declared in schema")


def declared(obj: Object, refusal: str) -> Object:
    """The object without what the API server says that its schema lacks; the same where it says nothing of the kind.

    Args:
        obj: what was applied.
        refusal: what the API server said of it.
    """
    for path in _REFUSED.findall(refusal):
        obj = _without(obj, re.findall(r"\.(\w+)", re.sub(r"\[[^\]]*\]", "", path)))
    return obj


def _without(value: Any, path: Sequence[str]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, list):
        return [_without(each, path) for each in value]
    if not isinstance(value, dict) or path[0] not in value:
        return value
    if len(path) == 1:
        return {name: member for name, member in value.items() if name != path[0]}
    return value | {path[0]: _without(value[path[0]], path[1:])}
