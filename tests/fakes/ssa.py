"""Server-side apply over plain dicts: which leaf is whose, and what an apply adds, takes over and removes.

A path is a tuple of steps: a string is a member of an object, a tuple an item of a list-map, by its key values.
What is not a non-empty object or list-map is a leaf; lists without known keys are leaves as a whole (atomic).
"""

# ruff: noqa: ANN401 - JSON values have no narrower type
from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Path = tuple[Any, ...]
"""Strings and tuples of key values."""

LIST_KEYS: dict[str, tuple[str, ...]] = {
    "conditions": ("type",),
    "containers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "hostAliases": ("ip",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
"""Merge keys by the last member name of the list's path."""

_PATH_KEYS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("containers", "ports"): ("containerPort", "protocol"),
    ("initContainers", "ports"): ("containerPort", "protocol"),
    ("spec", "ports"): ("port", "protocol"),
    ("status", "keys"): ("keyID",),
    ("status", "podIPs"): ("ip",),
}
_KEY_DEFAULTS = {"protocol": "TCP"}


def keys_of(path: Path) -> tuple[str, ...]:
    """The merge keys of the list at the path; empty if it is atomic."""
    names = tuple(step for step in path if isinstance(step, str))
    return _PATH_KEYS.get(names[-2:], ()) or LIST_KEYS.get(names[-1], ())


def item_key(item: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    """How the item is told from its neighbours."""
    return tuple(item.get(key, _KEY_DEFAULTS.get(key)) for key in keys)


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf with its path; nulls are left out, as the API server prunes them."""
    if isinstance(value, dict) and value:
        for name, member in value.items():
            yield from leaves(member, (*path, name))
    elif isinstance(value, list) and value and path and keys_of(path):
        keys = keys_of(path)
        for item in value:
            yield from leaves(item, (*path, item_key(item, keys)))
    elif value is not None:
        yield path, value


def apply(live: dict[str, Any], owners: dict[str, set[Path]], wanted: dict[str, Any], manager: str) -> None:
    """Apply with force, in place: take over what is named, remove what only this manager named before."""
    named = dict(leaves(wanted))
    before = owners.get(manager, set())
    for path, value in named.items():
        present = read(live, path)
        if isinstance(present, type(value)) and (value == {} or (value == [] and keys_of(path))):
            continue  # naming an empty map or list-map says nothing of what others put into it
        if present != value:
            _disown(owners, path, but=manager)
            write(live, path, copy.deepcopy(value))
    owners[manager] = set(named)
    for path in sorted(before - set(named), key=len, reverse=True):
        if not any(_keeps(owned, path) for owned in owners.values()):
            remove(live, path)


def _disown(owners: dict[str, set[Path]], path: Path, *, but: str) -> None:
    for manager, owned in owners.items():
        if manager != but:
            owned -= {other for other in owned if _covers(path, other) or _covers(other, path)}


def _keeps(owned: Iterable[Path], path: Path) -> bool:
    """Whether an owner of these paths keeps the leaf: it owns it, something below it, or its list item's sibling."""
    item = path[:-1] if len(path) > 1 and isinstance(path[-2], tuple) and path[-1] in keys_of(path[:-2]) else path
    return any(_covers(item, other) for other in owned)


def _covers(prefix: Path, path: Path) -> bool:
    return path[: len(prefix)] == prefix


def read(value: Any, path: Path) -> Any:
    """What is at the path, or None."""
    for depth, step in enumerate(path):
        if isinstance(step, tuple):
            value = _item(value, path[:depth], step)
        else:
            value = value.get(step) if isinstance(value, dict) else None
        if value is None:
            return None
    return value


def write(value: Any, path: Path, leaf: Any) -> None:
    """Set the leaf, making the objects and list items that lead to it."""
    for depth, step in enumerate(path[:-1]):
        following = path[depth + 1]
        if isinstance(step, tuple):
            value = _make_item(value, path[:depth], step)
        else:
            empty: Any = [] if isinstance(following, tuple) else {}
            if not isinstance(value.get(step), type(empty)):
                value[step] = empty
            value = value[step]
    if isinstance(path[-1], tuple):
        _make_item(value, path[:-1], path[-1])
    else:
        value[path[-1]] = leaf


def remove(value: dict[str, Any], path: Path) -> None:
    """Remove the leaf, its list item if that was a merge key, and every object or list left empty."""
    if len(path) > 1 and isinstance(path[-2], tuple) and path[-1] in keys_of(path[:-2]):
        path = path[:-1]
    parent = read(value, path[:-1])
    if parent is None:
        return
    if isinstance(path[-1], tuple):
        item = _item(parent, path[:-1], path[-1])
        if item is not None:
            parent.remove(item)
    else:
        parent.pop(path[-1], None)
    if not parent and len(path) > 1 and not isinstance(path[-2], tuple):
        remove(value, path[:-1])


def _item(value: Any, path: Path, step: tuple[Any, ...]) -> Any:
    keys = keys_of(path)
    return next((item for item in value or () if item_key(item, keys) == step), None)


def _make_item(value: list[Any], path: Path, step: tuple[Any, ...]) -> dict[str, Any]:
    item = _item(value, path, step)
    if item is None:
        item = {key: part for key, part in zip(keys_of(path), step, strict=True) if part is not None}
        value.append(item)
    return item  # type: ignore[no-any-return]
