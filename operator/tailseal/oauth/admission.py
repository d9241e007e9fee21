"""Who may log in to which client, and with which scopes: asked at each login and again at each refresh."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tailseal.domain import capability
from tailseal.domain.caller import Caller
from tailseal.domain.capability import Capabilities
from tailseal.domain.clients.compile import AllowedPeople, CompiledClient
from tailseal.domain.policy.expressions import patterns
from tailseal.oauth.errors import OAuthError

SCOPES: Final = ("openid", "profile", "email", "groups", "offline_access", "tailnet")
"""What means something here; others are the client's own."""

_SILENT: Final = frozenset({"offline_access"})
"""What is left out where it is not allowed, because clients ask for it by habit (OpenID Connect Core section 11)."""


@dataclass(frozen=True, slots=True)
class Person:
    """A caller, and what the tailnet's policy file lets them do here.

    Args:
        caller: as the tailnet knows them; a machine is one, too.
        capabilities: of the provider's capability.
    """

    caller: Caller
    capabilities: Capabilities = field(repr=False)

    @property
    def login(self) -> str:
        """Name that other people know them by; of a machine, its node's."""
        user = self.caller.user
        return user.login if user is not None else self.caller.node.name

    @property
    def groups(self) -> tuple[str, ...]:
        """As the control server reports them."""
        return self.caller.user.groups if self.caller.user is not None else ()


def person(caller: Caller, name: str) -> Person:
    """The caller with what the capability of that name says."""
    login = caller.user.login if caller.user is not None else ""
    return Person(caller, capability.read(caller.capabilities.get(name, ()), login))


def check(client: CompiledClient, who: Person) -> None:
    """Whether they may log in.

    Raises:
        OAuthError: `access_denied`.
    """
    if not _may(client, who):
        text = "you may not log in to this application: its owner says who may, or an app capability of the tailnet"
        raise OAuthError("access_denied", text, status=403, reason="LoginNotAllowed")


def granted(client: CompiledClient, who: Person, asked: Sequence[str]) -> tuple[str, ...]:
    """The scopes that they get, in the order in which they were asked for; unknown words count for nothing.

    Raises:
        OAuthError: `invalid_scope`: one that means something is not this client's.
    """
    allowed = client.scopes | who.capabilities.scopes(capability.client(client.client_id))
    if any(scope in SCOPES and scope not in allowed | _SILENT for scope in asked):
        raise OAuthError("invalid_scope", "the client may not ask for one of the scopes")
    return tuple(scope for scope in asked if scope in allowed)


def kept(client: CompiledClient, who: Person, scopes: Sequence[str]) -> tuple[str, ...]:
    """What is left of scopes that were granted before, after client and capabilities may have been narrowed."""
    allowed = client.scopes | who.capabilities.scopes(capability.client(client.client_id))
    return tuple(scope for scope in scopes if scope in allowed)


def _may(client: CompiledClient, who: Person) -> bool:
    if client.allow is None:
        return who.capabilities.allow("login", capability.client(client.client_id))
    return _allowed(client.allow, client, who)


def _allowed(allow: AllowedPeople, client: CompiledClient, who: Person) -> bool:
    """A machine is nobody: only its tags and capabilities speak for it."""
    if allow.capability is not None and who.capabilities.allow(*allow.capability):
        return True
    if who.caller.user is None:
        return _any(allow.tags, who.caller.node.tags)
    granted_groups = who.capabilities.claims(capability.client(client.client_id)).values.get("groups", ())
    groups = (*who.groups, *(map(str, granted_groups) if isinstance(granted_groups, tuple) else ()))
    return _any(allow.users, (who.caller.user.login,)) or _any(allow.groups, groups)


def _any(tests: Iterable[patterns.Test], values: Sequence[str]) -> bool:
    return any(test(value) for test in tests for value in values)
