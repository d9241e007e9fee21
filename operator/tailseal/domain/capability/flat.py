"""The schemas of tsidp and of Goa's tscap plugin, as they are: rules written for those keep their meaning.

Both are read as their own programs read them: what they do not know they ignore, and null is as good as nothing.
"""

from __future__ import annotations

from typing import Any, Final

from tailseal.domain.capability import claims, v1
from tailseal.domain.capability.faults import Fault, Read, texts
from tailseal.domain.capability.model import EVERYTHING, Action, Grant, Rule, audience

TSIDP: Final = frozenset({"allow_admin_ui", "allow_dcr", "users", "resources", "extraClaims", "includeInUserInfo"})
"""Members of tsidp's rule."""

_ALL: Final = frozenset({EVERYTHING})


def tsidp(value: dict[str, Any], login: str) -> Read:
    """A rule of tsidp: flags, audiences for the users it names, and claims for every client.

    It says nothing about logging in to clients, since tsidp let everybody do that.

    Args:
        value: the rule.
        login: of the caller; empty: only rules for all users are meant.

    Raises:
        Fault: a member is of another type.
    """
    flags = {Action.ADMIN: "allow_admin_ui", Action.REGISTER: "allow_dcr"}
    actions = frozenset(str(action) for action, member in flags.items() if _flag(value, member))
    grants = [Grant(actions, _ALL)] if actions else []
    users, resources = _texts(value, "users"), _texts(value, "resources")
    if EVERYTHING in users or (login and login in users):
        named = frozenset(uri if uri == EVERYTHING else audience(uri) for uri in resources)
        grants.append(Grant(frozenset({Action.EXCHANGE}), named))
    said, left_out = _claims(value.get("extraClaims"))
    if said:
        grants.append(Grant(frozenset({Action.SCOPE}), _ALL))
    return Read(Rule(tuple(grants), said, in_userinfo=_flag(value, "includeInUserInfo")), left_out)


def tscap(value: dict[str, Any]) -> Read:
    """A grant of tscap: `{"action": […], "resources": […]}`.

    Raises:
        Fault: a member is of another type.
    """
    return Read(Rule((Grant(_texts(value, "action"), _texts(value, "resources")),)))


def _claims(found: Any) -> tuple[dict[str, claims.Value], tuple[Fault, ...]]:  # noqa: ANN401 - any JSON value
    """Tsidp drops what it cannot say; it fails the login for a claim that is its own, we leave that out as well."""
    if found is None:
        return {}, ()
    if not isinstance(found, dict) or len(found) > claims.MAX_CLAIMS:
        raise Fault("extraClaims", f"must be an object of at most {claims.MAX_CLAIMS} members")
    said: dict[str, claims.Value] = {}
    left_out: list[Fault] = []
    for name, one in found.items():
        try:
            said[name] = v1.claim(f"extraClaims.{name}", name, one)
        except Fault as fault:
            left_out.append(Fault(fault.where, f"{fault.message}; the claim is left out"))
    return said, tuple(left_out)


def _flag(value: dict[str, Any], member: str) -> bool:
    found = value.get(member)
    if found is not None and not isinstance(found, bool):
        raise Fault(member, "must be true or false")
    return bool(found)


def _texts(value: dict[str, Any], member: str) -> frozenset[str]:
    found = value.get(member)
    return frozenset() if found is None else texts(member, found)
