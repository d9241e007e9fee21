"""Schema v1, strictly: a member that is not known is a slip or of a later version, and either means something else."""

from __future__ import annotations

import re
from typing import Any, Final

from tailseal.domain.capability import claims
from tailseal.domain.capability.faults import Fault, Read, entries, texts
from tailseal.domain.capability.model import EVERYTHING, Action, Grant, Rule

VERSION: Final = 1

ACTIONS: Final = frozenset({*Action, EVERYTHING})
"""What can be done at the identity provider."""

_MEMBERS: Final = frozenset({"v", "allow", "claims", "scopes"})
_ALLOW: Final = frozenset({"action", "resource"})
RESOURCE_FORM: Final = "must be client/<id> or audience/<uri>, without wildcards, or a lone *"
_RESOURCE: Final = re.compile(r"(?:client|audience)/[^*]+|\*")
_SCOPE: Final = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]{1,256}")
"""RFC 6749 section 3.3."""


def read(value: dict[str, Any], known: frozenset[str] | None) -> Read:
    """A rule.

    Args:
        value: with the member `v`.
        known: actions that there are, which also means that resources are `client/<id>` and `audience/<uri>`; None:
            those of some other service.

    Raises:
        Fault: it is malformed.
    """
    if type(value["v"]) is not int or value["v"] != VERSION:
        raise Fault("v", f"this version reads {VERSION} only")
    _only(value, _MEMBERS, "")
    found = entries("allow", value.get("allow", []))
    grants = tuple(_grant(f"allow[{number}]", entry, known) for number, entry in enumerate(found))
    if not grants:
        raise Fault("allow", "allows nothing, and claims and scopes hold for what is named there: name resources")
    return Read(Rule(grants, _claims(value.get("claims", {})), _scopes(value.get("scopes", []))))


def is_resource(text: str) -> bool:
    """Whether it names something that the identity provider has, or is a lone `*`."""
    return _RESOURCE.fullmatch(text) is not None


def _grant(where: str, entry: Any, known: frozenset[str] | None) -> Grant:  # noqa: ANN401 - any JSON value
    if not isinstance(entry, dict):
        raise Fault(where, "must be an object with action and resource")
    _only(entry, _ALLOW, f"{where}.")
    actions = texts(f"{where}.action", entry.get("action"))
    resources = texts(f"{where}.resource", entry.get("resource"))
    if known is not None and not actions <= known:
        raise Fault(f"{where}.action", f"must be of {', '.join(Action)}, or a lone *")
    if known is not None and not all(map(is_resource, resources)):
        raise Fault(f"{where}.resource", RESOURCE_FORM)
    return Grant(actions, resources)


def _claims(found: Any) -> dict[str, claims.Value]:  # noqa: ANN401
    if not isinstance(found, dict) or len(found) > claims.MAX_CLAIMS:
        raise Fault("claims", f"must be an object of at most {claims.MAX_CLAIMS} members")
    return {name: claim(f"claims.{name}", name, one) for name, one in found.items()}


def claim(where: str, name: str, found: Any) -> claims.Value:  # noqa: ANN401
    """The value of one claim.

    Raises:
        Fault: it is none, or the name is ours.
    """
    if name in claims.RESERVED:
        raise Fault(where, "is set by the identity provider alone: choose another name")
    if not name or not claims.is_text(name):
        raise Fault("claims", f"must have names of 1 to {claims.MAX_TEXT} characters")
    try:
        return claims.value(found)
    except ValueError as error:
        raise Fault(where, str(error)) from None


def _scopes(found: Any) -> frozenset[str]:  # noqa: ANN401
    scopes = texts("scopes", found)
    if not all(map(_SCOPE.fullmatch, scopes)):
        raise Fault("scopes", "must be scopes of RFC 6749 section 3.3: visible ASCII without quotes and backslashes")
    return scopes


def _only(found: dict[str, Any], members: frozenset[str], where: str) -> None:
    if unknown := sorted(found.keys() - members):
        raise Fault(f"{where}{unknown[0]}", f"is not known: there are {', '.join(sorted(members))}")
