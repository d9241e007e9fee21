"""One struct for all schemas of app capabilities: who may do what to which resources, and what tokens then say.

Actions and resources are compared as they are, code point by code point; only a lone `*` stands for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from tailseal.domain.capability.claims import Merged, Value, merge

EVERYTHING: Final = "*"
"""As an action or a resource: all there are, now and later."""

MOST_TOLD: Final = 8
"""Of each kind of fault, in one audit line: whoever writes the policy file may err a thousand times at once."""

_LONGEST_TOLD: Final = 256


class Action(StrEnum):
    """What a caller can be allowed to do at the identity provider."""

    LOGIN = "login"
    """Log in to a client: `client/<id>`."""
    REGISTER = "register"
    """Register clients: `*`."""
    ADMIN = "admin"
    """See all clients: `*`."""
    EXCHANGE = "exchange"
    """Have tokens for an audience: `audience/<uri>`."""
    SCOPE = "scope"
    """Nothing by itself: names resources for the rule's claims and scopes."""


def client(client_id: str) -> str:
    """The resource that a client is."""
    return f"client/{client_id}"


def audience(uri: str) -> str:
    """The resource that an audience is."""
    return f"audience/{uri}"


@dataclass(frozen=True, slots=True)
class Requirement:
    """What somebody must be allowed to do.

    Args:
        action: e.g. `login`.
        resources: at least one, e.g. `client/grafana`; `*`: whatever there is.

    Raises:
        ValueError: no resource: then anybody would do.
    """

    action: str
    resources: frozenset[str]

    def __post_init__(self) -> None:
        if not self.resources:
            raise ValueError("a requirement must name at least one resource")


@dataclass(frozen=True, slots=True)
class Grant:
    """Each of the actions, to each of the resources."""

    actions: frozenset[str]
    resources: frozenset[str]

    def satisfies(self, requirement: Requirement) -> bool:
        """Whether it covers the action and every resource that the requirement denotes."""
        return _covers(self.actions, requirement.action) and all(
            _covers(self.resources, resource) for resource in requirement.resources
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """One value of a capability.

    Args:
        grants: what it allows.
        claims: what tokens for its resources say.
        scopes: what may be asked for there.
        in_userinfo: whether its claims are told at the userinfo endpoint as well.
    """

    grants: tuple[Grant, ...] = ()
    claims: dict[str, Value] = field(default_factory=dict)
    scopes: frozenset[str] = frozenset()
    in_userinfo: bool = True

    def holds_for(self, resource: str) -> bool:
        """Whether its claims and scopes are about the resource."""
        return any(_covers(grant.resources, resource) for grant in self.grants)


@dataclass(frozen=True, slots=True)
class Malformed:
    """What could not be taken of a value, for people to see and metrics to count.

    Args:
        number: of the value, as the capability lists them.
        where: member, e.g. `allow[0].action`; empty: the value itself.
        message: what would be right.
        skipped: whether the whole value counts for nothing; False: only that member.
    """

    number: int
    where: str
    message: str
    skipped: bool = True

    def __str__(self) -> str:
        place = f"[{self.number}]{'.' if self.where else ''}{self.where}"
        return f"{place}: {self.message}{'; the rule is skipped' if self.skipped else ''}"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Everything that one capability says of a caller; nothing, if it is not granted."""

    rules: tuple[Rule, ...] = ()
    malformed: tuple[Malformed, ...] = ()

    def allow(self, action: str, *resources: str) -> bool:
        """Whether a single grant covers the action for all of the resources.

        Raises:
            ValueError: no resource was named.
        """
        requirement = Requirement(action, frozenset(resources))
        return any(grant.satisfies(requirement) for rule in self.rules for grant in rule.grants)

    def scopes(self, resource: str) -> frozenset[str]:
        """What may be asked for at the resource beyond what everybody may."""
        return frozenset[str]().union(*(rule.scopes for rule in self._about(resource)))

    def claims(self, resource: str, *, userinfo: bool = False) -> Merged:
        """What tokens for the resource say beyond what they say of everybody.

        Args:
            resource: e.g. `client/grafana`.
            userinfo: only what the userinfo endpoint tells.
        """
        return merge(rule.claims for rule in self._about(resource) if rule.in_userinfo or not userinfo)

    def faults(self, *resources: str) -> dict[str, list[str]]:
        """What counts for nothing, as members of an audit line: empty ones are left out, and no values told.

        Args:
            resources: which tokens are for, e.g. `client/grafana`: also told are the claims that differ there.
        """
        differing = sorted({name for resource in resources for name in self.claims(resource).conflicts})
        found = {"malformedRules": list(map(str, self.malformed[:MOST_TOLD])), "differingClaims": differing}
        return {kind: [text[:_LONGEST_TOLD] for text in texts[:MOST_TOLD]] for kind, texts in found.items() if texts}

    def _about(self, resource: str) -> Iterable[Rule]:
        return (rule for rule in self.rules if rule.holds_for(resource))


def _covers(granted: frozenset[str], wanted: str) -> bool:
    """The wanted `*` denotes everything, which only a granted one covers."""
    return EVERYTHING in granted or wanted in granted
