"""Whether objects that people have would still be taken: what a changed CRD lost or forbids that it had or allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

_UPPER: Final = ("maximum", "maxLength", "maxItems", "maxProperties")
_LOWER: Final = ("minimum", "minLength", "minItems", "minProperties")
_SAME: Final = ("type", "pattern", "format", "x-kubernetes-list-type", "x-kubernetes-map-type")
_NEVER_LESS: Final = ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string", "nullable")


_MEMBER: Final = re.compile(r"\bself\.(\w+)")


def tightened(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What stands in the way of objects of the former CRD, a line each: `Kind.path: what`.

    Args:
        before: the CustomResourceDefinition that people have installed.
        after: the one to come.
    """
    kind = before["spec"]["names"]["kind"]
    now = {version["name"]: version for version in after["spec"]["versions"]}
    found: list[str] = []
    for version in before["spec"]["versions"]:
        name = version["name"]
        if name not in now or not now[name]["served"]:
            found.append(f"{kind}: version {name} is served no more")
            continue
        found += _compare(version["schema"]["openAPIV3Schema"], now[name]["schema"]["openAPIV3Schema"], kind)
        gone = {field["jsonPath"] for field in version.get("selectableFields", ())}
        gone -= {field["jsonPath"] for field in now[name].get("selectableFields", ())}
        found += [f"{kind}{path}: no longer selectable" for path in sorted(gone)]
    return found


def _compare(before: Schema, after: Schema, path: str) -> Iterator[str]:
    yield from _values(before, after, path)
    yield from _rules(before, after, path)
    yield from _members(before, after, path)
    for name in ("items", "additionalProperties"):
        if isinstance(before.get(name), Mapping):
            if isinstance(after.get(name), Mapping):
                yield from _compare(before[name], after[name], f"{path}[]")
            else:
                yield f"{path}: {name} is gone"


def _values(before: Schema, after: Schema, path: str) -> Iterator[str]:
    for name in _SAME:
        if after.get(name) != before.get(name) and (name in after or name == "type"):
            yield f"{path}: {name} {before.get(name)} became {after.get(name)}"
    for name in (*_UPPER, *_LOWER):
        if name in after and (name not in before or _is_tighter(name, before[name], after[name])):
            yield f"{path}: {name} {before.get(name)} became {after[name]}"
    if "enum" in after and (
        gone := [value for value in before.get("enum", ["anything"]) if value not in after["enum"]]
    ):
        yield f"{path}: no longer allowed: {', '.join(map(str, gone))}"
    for name in _NEVER_LESS:
        if before.get(name) and not after.get(name):
            yield f"{path}: {name} is gone"
    if "default" in before and after.get("default") != before["default"] and not isinstance(before["default"], dict):
        yield f"{path}: default {before['default']} became {after.get('default')}"


def _is_tighter(name: str, before: float, after: float) -> bool:
    return after < before if name in _UPPER else after > before


def _rules(before: Schema, after: Schema, path: str) -> Iterator[str]:
    known = {rule["rule"] for rule in before.get("x-kubernetes-validations", ())}
    for rule in after.get("x-kubernetes-validations", ()):
        if rule["rule"] not in known and not _spares(rule["rule"], before.get("properties", {})):
            yield f"{path}: new rule: {rule.get('message', rule['rule'])}"


def _spares(rule: str, former: Mapping[str, Any]) -> bool:
    """Whether a rule is only about members that nobody had, and holds without each of them."""
    about = set(_MEMBER.findall(rule))
    guarded = all(f"!has(self.{name}) ||" in rule for name in about)
    return bool(former and about) and about.isdisjoint(former) and guarded


def _members(before: Schema, after: Schema, path: str) -> Iterator[str]:
    present = after.get("properties", {})
    for name, member in before.get("properties", {}).items():
        if name in present:
            yield from _compare(member, present[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}: gone"
    for name in after.get("required", ()):
        if name not in before.get("required", ()) and "default" not in present.get(name, {}):
            yield f"{path}.{name}: required now"
