"""A subject without a token: the caller, whom the tailnet vouches for, as the core of the exchange sees them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tailseal.domain import capability
from tailseal.domain.bundle.model import Settings
from tailseal.domain.caller import Caller
from tailseal.domain.policy.expressions.cel import Result
from tailseal.domain.policy.grants import GrantRequest
from tailseal.domain.policy.providers import tailnet
from tailseal.domain.policy.providers.granted import CAPABILITIES
from tailseal.domain.policy.trust import Verified
from tailseal.tokens import verify
from tailseal.tokens.compact import Compact, encode
from tailseal.tokens.presented import Presented
from tailseal.tokens.standing import MOST_KEPT


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
        granted: values of the provider's capability, for explanations; empty where they are too many to keep.
        faults: what of it counts for nothing, as members of the audit line.
    """

    subject: str
    node: str
    asked: GrantRequest
    verified: Verified
    claims: dict[str, Any]
    told: tuple[tuple[str, Result], ...]
    url: str
    granted: tuple[Any, ...] = ()
    faults: Mapping[str, Sequence[str]] = {}

    @property
    def presented(self) -> Presented:
        """In place of a token; of which nothing but the claims is ever looked at, and kept for explanations."""
        kept = b"." + encode(json.dumps({**self.claims, CAPABILITIES: self.granted}).encode())
        return Presented(Compact({}, self.claims, kept, b"", tailnet.UNSIGNED, None), verify.JWT, "")


def vouched(caller: Caller, asked: GrantRequest, settings: Settings, url: str) -> Vouched:
    """The caller, as they may ask for tokens.

    Args:
        caller: as the tailnet says.
        asked: what they ask for.
        settings: of the provider.
        url: of the endpoint.
    """
    login = caller.user.login if caller.user is not None else ""
    values = caller.capabilities.get(settings.capability, ())
    granted = capability.read(values, login)
    claims = tailnet.claims(caller, granted, asked.targets)
    return Vouched(
        subject=caller.subject,
        node=caller.node.stable_id,
        asked=asked,
        verified=tailnet.verified(caller, granted, asked.targets, settings),
        claims=claims,
        told=_told(caller),
        url=url,
        granted=values if len(json.dumps(values)) <= MOST_KEPT else (),
        faults=granted.faults(*tailnet.resources(asked.targets)),
    )


def _told(caller: Caller) -> tuple[tuple[str, Result], ...]:
    """Names for people to read, under the names that Tailbone has; of a machine, what it is."""
    if caller.user is None:
        return ("node", caller.node.name), ("tags", caller.node.tags)
    return ("user", caller.user.login), ("display_name", caller.user.display_name)
