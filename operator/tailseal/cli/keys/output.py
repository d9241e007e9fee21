"""What `tailseal keys` prints of a SigningKey: what its status says, never anything that only its Secret holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import yaml

from tailseal.cli.output import envelope, printable, table
from tailseal.cluster.port import Object

_TIMES: Final = ("creationTime", "publishTime", "activationTime", "removalTime")
_KEY_HEADS: Final = ("KEY", "ALGORITHM", "STATE", "MADE", "PUBLISHED", "SIGNED FROM", "LEAVES")
_LIST_HEADS: Final = ("NAMESPACE", "NAME", "READY", "SIGNS WITH", "NEXT ROTATION", "KEYS", "WAITS FOR")
_NOTHING: Final = "-"
_UNSEEN: Final = "the operator, which has not looked at it yet"


def listing(objects: Sequence[Object], output: str) -> str:
    """Several SigningKeys, a line each.

    Args:
        objects: SigningKeys.
        output: `text`, `json` or `yaml`.
    """
    if output == "text":
        return table(_LIST_HEADS, [_line(obj) for obj in objects])
    return _structured("SigningKeyList", {"items": [summary(obj) for obj in objects]}, output)


def timeline(obj: Object, output: str) -> str:
    """One SigningKey: its keys from the oldest to the next, and what the next step waits for."""
    if output != "text":
        return _structured("SigningKey", summary(obj), output)
    status = obj.get("status") or {}
    lines = [
        f"SigningKey {_name(obj)}",
        f"  signs with:     {_text(status.get('activeKeyID'))}",
        f"  next rotation:  {_text(status.get('nextRotationTime'))}",
        f"  waits for:      {_waits_for(obj)}",
        *(f"  beware:         {printable(found['message'])}" for found in _warnings(obj)),
        "",
    ]
    rows = [[_text(entry.get(name)) for name in ("keyID", "algorithm", "state", *_TIMES)] for entry in _keys(obj)]
    return "\n".join([*lines, table(_KEY_HEADS, rows) if rows else "It has no key."])


def summary(obj: Object) -> dict[str, Any]:
    """What the structured outputs say of a SigningKey."""
    status = obj.get("status") or {}
    return {
        "namespace": obj["metadata"]["namespace"],
        "name": obj["metadata"]["name"],
        "activeKeyID": status.get("activeKeyID"),
        "nextRotationTime": status.get("nextRotationTime"),
        "waitsFor": None if _waits_for(obj) == _NOTHING else _waits_for(obj),
        "keys": [
            {name: entry[name] for name in ("keyID", "algorithm", "state", *_TIMES) if name in entry}
            for entry in _keys(obj)
        ],
        "conditions": [
            {name: entry.get(name, "") for name in ("type", "status", "reason", "message")}
            for entry in status.get("conditions", ())
        ],
    }


def _structured(kind: str, content: Mapping[str, Any], output: str) -> str:
    text = envelope(kind, content)
    return text if output == "json" else yaml.safe_dump(json.loads(text), sort_keys=False).rstrip()


def _line(obj: Object) -> list[str]:
    status, keys = obj.get("status") or {}, _keys(obj)
    present = sum(entry.get("state") not in ("Retired", "Revoked") for entry in keys)
    return [
        printable(obj["metadata"]["namespace"]),
        printable(obj["metadata"]["name"]),
        _condition(obj, "Ready").get("status", "Unknown"),
        _text(status.get("activeKeyID")),
        _text(status.get("nextRotationTime")),
        str(present),
        _waits_for(obj),
    ]


def _waits_for(obj: Object) -> str:
    """Why the next step is not taken yet: a person, evidence, or only time."""
    if not (obj.get("status") or {}).get("conditions"):
        return _UNSEEN
    for type_ in ("Stalled", "Reconciling", "Rotating"):
        if (found := _condition(obj, type_)).get("status") == "True":
            return f"{printable(found.get('reason', ''))}: {printable(found.get('message', ''))}"
    return _NOTHING


def _warnings(obj: Object) -> list[Mapping[str, str]]:
    """What a revocation left to do, or broke."""
    found = (_condition(obj, type_) for type_ in ("VerifiersUnreached", "OverlapBroken"))
    return [each for each in found if each.get("status") == "True" and "message" in each]


def _condition(obj: Object, type_: str) -> Mapping[str, str]:
    conditions: Iterable[Mapping[str, str]] = (obj.get("status") or {}).get("conditions", ())
    return next((entry for entry in conditions if entry.get("type") == type_), {})


def _keys(obj: Object) -> list[Mapping[str, str]]:
    """In the order of their lives."""
    found: Iterable[Mapping[str, str]] = (obj.get("status") or {}).get("keys", ())
    return sorted(found, key=lambda entry: entry.get("creationTime", ""))


def _name(obj: Object) -> str:
    return printable(f"{obj['metadata']['namespace']}/{obj['metadata']['name']}")


def _text(value: str | None) -> str:
    return printable(value) if value else _NOTHING
