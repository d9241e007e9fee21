"""A subject without a token: the caller, whom the tailnet vouches for, as the core of the exchange sees them."""

from __future__ import annotations

from typing import Any, NamedTuple

from tailseal.domain import capability
from tailseal.domain.bundle.model import Settings
from tailseal.domain.caller import Caller
from tailseal.domain.policy.cel import Result
from tailseal.domain.policy.grants import GrantRequest
from tailseal.domain.policy.providers import tailnet
from tailseal.domain.policy.trust import Verified
from tailseal.tokens import verify
from tailseal.tokens.compact import Compact
from tailseal.tokens.trust import Presented


class Vouched(NamedTuple):
    """A caller, and what they ask for.

    Args:
        subject: `sub` of what is issued to them.
        node: stable id of their node.
        asked: what they ask for.
        verified: as policies see them.
        claims: as expressions see them.
        told: names and values that tokens for them carry.
        url: of the endpoint, for proofs of possession.
    """

    subject: str
    node: str
    asked: GrantRequest
    verified: Verified
    claims: dict[str, Any]
    told: tuple[tuple[str, Result], ...]
    url: str

    @property
    def presented(self) -> Presented:
        """In place of a token; nothing but its claims is ever looked at."""
        return Presented(Compact({}, self.claims, b"", b"", tailnet.UNSIGNED, None), verify.JWT, "")


def vouched(caller: Caller, asked: GrantRequest, settings: Settings, url: str) -> Vouched:
    """The caller, as they may ask for tokens.

    Args:
        caller: as the tailnet says.
        asked: what they ask for.
        settings: of the provider.
        url: of the endpoint.
    """
    login = caller.user.login if caller.user is not None else ""
    granted = capability.read(caller.capabilities.get(settings.capability, ()), login)
    claims = tailnet.claims(caller, granted, asked.targets)
    return Vouched(
        subject=caller.subject,
        node=caller.node.stable_id,
        asked=asked,
        verified=tailnet.verified(caller, granted, asked.targets, settings),
        claims=claims,
        told=_told(caller),
        url=url,
    )


def _told(caller: Caller) -> tuple[tuple[str, Result], ...]:
    """Names for people to read, under the names that Tailbone has; of a machine, what it is."""
    if caller.user is None:
        return ("node", caller.node.name), ("tags", caller.node.tags)
    return ("user", caller.user.login), ("display_name", caller.user.display_name)
