"""The largest object that a schema lets through, for laws about size."""

from __future__ import annotations

import json
import re
from typing import Any

_FIXED = {
    "[0-9]{4}-": "2026-12-20T10:00:00.123456789Z",
    "[0-9]{1,5}h": "24h",
    "[0-9a-f]{8}": "0000000#-0000-0000-0000-000000000000",
    "[0-9]{1,3}$": "10.0.0.#/32",
}
"""What a pattern with this part in it is matched by; `#` is the item's number."""
_PREFIXES = {
    "^https://": "https://",
    "^tag:": "tag:a",
    "^svc:": "svc:",
    "^/": "/",
    r"^[a-z0-9.-]+\.[a-z]+/": "tailseal.dev/",
    "^((https://": "https://a/",
    r"^\s*-----BEGIN PUBLIC KEY": "-----BEGIN PUBLIC KEY-----",
    r"^\s*-----BEGIN": "-----BEGIN CERTIFICATE-----",
}
"""What a value begins with whose pattern begins so."""
_SPECIAL: dict[str, Any] = {
    "storage": {"type": "Postgres", "postgres": {"urlSecretRef": {"name": "s" * 253}}},
    "mode": "Serve",
    "enabled": True,
    "funnel": {"enabled": True},
    "match": None,
    "port": None,
    "algorithm": "PS256",
    "authMethod": "private_key_jwt",
    "rotation": {
        "interval": "99999h",
        "publishLead": "99998h",
        "stallAfter": "720h",
        "onRevokeWithoutSpare": "SignNow",
    },
    "staleness": {"behind": "86400s", "unheard": "2592000s"},
}
"""Members whose largest value is bound by a rule beside the schema."""


def maximal(schema: dict[str, Any], name: str = "", index: int = 0) -> Any:  # noqa: ANN401, PLR0911
    """A value with every member, every list full and every string as long as may be."""
    if name in _SPECIAL:
        return _SPECIAL[name]
    if "enum" in schema:
        return "In" if "In" in schema["enum"] else max(schema["enum"], key=lambda value: len(str(value)))
    if schema.get("x-kubernetes-int-or-string"):
        return "1" * schema["maxLength"]
    kind = schema["type"]
    if kind == "boolean":
        return False
    if kind == "integer":
        return int(schema.get("maximum", 2**53 - 1))
    if kind == "string":
        return _string(schema, index)
    if kind == "array":
        return _list(schema)
    return _object(schema, index)


def _list(schema: dict[str, Any]) -> list[Any]:
    enum = schema["items"].get("enum")
    if enum:
        return list(enum)[: schema["maxItems"]]
    return [maximal(schema["items"], index=index) for index in range(schema["maxItems"])]


def _object(schema: dict[str, Any], index: int) -> dict[str, Any]:
    if "additionalProperties" in schema:
        return _map(schema)
    members = {name: maximal(member, name, index) for name, member in schema.get("properties", {}).items()}
    members = {name: value for name, value in members.items() if value is not None}
    for rule in schema.get("x-kubernetes-validations", ()):
        _obey(rule["message"], members)
    return members


def _obey(message: str, members: dict[str, Any]) -> None:
    """Change what a rule forbids, losing as little size as may be."""
    union = re.match(r"exactly one of (.*) must be given", message)
    if union:
        given = {name: len(json.dumps(members[name])) for name in union[1].split(", ") if name in members}
        largest = max(given, key=lambda name: given[name])
        for name in given.keys() - {largest}:
            del members[name]
    longest = re.match(r"(\w+) must be from \w+ to (\w+)", message)
    if longest:
        members[longest[1]] = longest[2]
    if message.startswith("selector goes with"):
        members["from"] = "Selector"
        del members["names"]
    if message.startswith("rsaBits is for keys that the operator makes"):
        members.pop("rsaBits", None)
    if message.startswith("exactly one of jwks, jwksURI goes with"):
        del members["jwksURI"], members["secretRef"]
    _obey_of_tailnets(message, members)


def _obey_of_tailnets(message: str, members: dict[str, Any]) -> None:
    if message.startswith("with tailnet, idp.replicas is at most 8"):
        members["idp"]["replicas"] = 8
    if message.startswith("funnel does not go with service"):
        members["funnel"]["enabled"] = False
    if message.startswith("sharedBy goes with mode Direct only"):
        members.pop("sharedBy", None)
    if message.startswith("with tailnet.service, the issuer's host"):
        begins = f"https://{members['tailnet']['service'].removeprefix('svc:')}."
        members["issuer"] = begins + members["issuer"][len(begins) :]
    if message.startswith("tags do not go with"):
        members["auth"] = {"workloadIdentity": members["auth"].get("workloadIdentity", {"clientID": "c"})}


def _map(schema: dict[str, Any]) -> dict[str, Any]:
    message = schema["x-kubernetes-validations"][0]["message"]
    keys = message.removeprefix("keys must be of ").split(", ")
    if message.startswith("keys must have"):
        keys = [f"{index:02d}".ljust(317, "k") for index in range(schema["maxProperties"])]
    return {key: maximal(schema["additionalProperties"]) for key in keys}


def _string(schema: dict[str, Any], index: int) -> str:
    pattern = schema.get("pattern", "")
    for part, fixed in _FIXED.items():
        if part in pattern:
            return fixed.replace("#", str(index))
    prefix = next((prefix for part, prefix in _PREFIXES.items() if pattern.startswith(part)), "")
    return f"{prefix}{index:02d}".ljust(schema["maxLength"], "0")
