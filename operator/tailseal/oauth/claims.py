"""What tokens and userinfo say of somebody: by scope, by name where a client is given more, and by capabilities."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from tailseal.domain import capability
from tailseal.domain.caller import Caller
from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth.admission import Person

BY_SCOPE: Final[Mapping[str, tuple[str, ...]]] = {
    "profile": ("name", "preferred_username", "username", "picture"),
    "email": ("email", "email_verified"),
    "groups": ("groups",),
    "tailnet": ("key", "addresses", "nid", "node", "tailnet", "uid"),
}
"""Names of claims as tsidp has them."""

SUPPORTED: Final = tuple(name for names in BY_SCOPE.values() for name in names)

_SERVICES: Final = frozenset({"username", "groups"})

_BORROWED: Final = ("@github", "@passkey")
"""Ends of login names that are no mail addresses."""


def of(
    who: Person, client: CompiledClient, scopes: Iterable[str], wished: Iterable[str], issuer: str, *, userinfo: bool
) -> dict[str, Any]:
    """The claims about somebody, without those of the protocol.

    Args:
        who: it is.
        client: whom they are for.
        scopes: granted.
        wished: names by parameter `claims`: they count where the client's scopes or its own list have them.
        issuer: ours.
        userinfo: whether they are for the userinfo endpoint.
    """
    # Of a client that introduced itself, people agreed to scopes: a wish goes around none of that.
    scopes = tuple(scopes)
    asked = scopes if client.introduced else tuple(client.scopes)
    allowed = {name for scope in asked for name in BY_SCOPE.get(scope, ())}
    names = {name for scope in scopes for name in BY_SCOPE.get(scope, ())} | client.claims
    names |= allowed & set(wished)
    known = _known(who.caller, issuer)
    found = {name: known[name] for name in names & known.keys()}
    said = who.capabilities.claims(capability.client(client.client_id), userinfo=userinfo).values
    return dict(sorted((found | _said(found, said, names)).items()))


def for_services(who: Person, client: CompiledClient, scopes: Collection[str]) -> dict[str, Any]:
    """What an access token says of somebody: what services and policies decide by, if its scopes tell it.

    Args:
        who: it is.
        client: whom it is given to; one with subjects of its own shows no service who they are.
        scopes: of the token.
    """
    names = _SERVICES & {name for scope in scopes for name in BY_SCOPE.get(scope, ())}
    if client.sector or not names:
        return {}
    found = of(who, client, scopes, (), "", userinfo=False)
    return {name: found[name] for name in sorted(names & found.keys())}


def _said(found: Mapping[str, Any], said: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """What capabilities add; of what scopes govern, only what was asked for."""
    added = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in said.items()
        if name in names or name not in SUPPORTED
    }
    if isinstance(added.get("groups"), list):
        added["groups"] = sorted({*map(str, added["groups"]), *found.get("groups", ())})
    return added


def _known(caller: Caller, issuer: str) -> dict[str, Any]:
    """Everything that the tailnet knows; what is empty is left out."""
    node, user = caller.node, caller.user
    found: dict[str, Any] = {
        "key": node.key,
        "addresses": [str(address) for address in node.addresses],
        "nid": node.id,
        "node": node.name,
        "tailnet": node.tailnet,
    }
    if user is not None:
        mail, verified = email(user.login, urlsplit(issuer).hostname or "")
        found |= {
            "uid": user.id,
            "name": user.display_name,
            "preferred_username": user.login.partition("@")[0],
            "username": user.login,
            "picture": user.picture,
            "groups": list(user.groups),
            "email": mail,
        }
        found |= {"email_verified": verified} if mail else {}
    else:
        found |= {"name": node.name, "preferred_username": node.name, "groups": list(node.tags)}
    return {name: value for name, value in found.items() if value not in ("", [])}


def email(login: str, host: str) -> tuple[str, bool]:
    """A mail address by tsidp's rule, and whether mail sent there reaches them; empty: there is none.

    Logins by GitHub or passkey only look like addresses: with our host behind them they still do, and are nobody's.

    Args:
        login: such as `ana@corp.example`.
        host: of the issuer.
    """
    local, at, domain = login.rpartition("@")
    if not at or not local or not domain:
        return "", False
    if login.endswith(_BORROWED):
        return f"{login}.{host}", False
    return login, "." in domain
