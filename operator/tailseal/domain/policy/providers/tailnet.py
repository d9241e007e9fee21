"""Tailnet: people and machines of the provider's own tailnet, by what tailscaled says of the caller.

There is no token whose claims could be asked, so the caller is put into claims of the same kind. They are made by us
and hold what no token can hold, hence nothing that somebody sent is ever held against these rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tailseal.api.findings import Finding
from tailseal.api.trustpolicy import TailnetSource
from tailseal.domain.bundle.model import Settings
from tailseal.domain.caller import Caller
from tailseal.domain.capability import EVERYTHING, Capabilities, audience, read
from tailseal.domain.policy.general import General
from tailseal.domain.policy.providers.block import Block, Either
from tailseal.domain.policy.providers.granted import CAPABILITIES, demand
from tailseal.domain.policy.source import TAILNET
from tailseal.domain.policy.trust import Verified

SUBJECT: Final = "sub"
USER: Final = "user"
DISPLAY_NAME: Final = "display_name"
GROUPS: Final = "groups"
TAGS: Final = "tags"
NODE: Final = "node"

UNSIGNED: Final = ""
"""In place of an algorithm: nothing is signed. No token's algorithm is empty."""


def general(block: TailnetSource, origin: str) -> General:
    """The general form of a `tailnet` block.

    Args:
        block: from the manifest.
        origin: where it stands.
    """
    rules = Block(origin)
    rules.like((USER,), Either("users", block.users))
    rules.any_like((GROUPS,), Either("groups", block.groups))
    rules.any_like((TAGS,), Either("tags", block.tags))
    rules.like((NODE,), Either("nodes", block.nodes))
    findings = [*demand(rules, block.capability, origin), *rules.findings]
    if block.users and block.tags:
        message = "a node with tags belongs to no user, so nobody has both: write one policy for each"
        findings.append(Finding(f"{origin}.tags", message))
    return General(
        origin=origin,
        issuer="",
        rules=rules.rules,
        algorithms=(UNSIGNED,),
        tailnet=True,
        findings=tuple(findings),
    )


def verified(caller: Caller, granted: Capabilities, audiences: Sequence[str], settings: Settings) -> Verified:
    """The caller, as policies see them.

    Args:
        caller: who asks.
        granted: what the provider's capability says of them.
        audiences: that they ask for: what is granted for some of them alone does not count for all.
        settings: of the provider.
    """
    seen = {**claims(caller, granted, audiences), CAPABILITIES: granted}
    return Verified(TAILNET, UNSIGNED, settings.subject_audiences, seen)


def recalled(kept: Mapping[str, Any], settings: Settings) -> Verified:
    """The caller of a decision that is to be explained.

    Args:
        kept: what `claims` gave then, and the values of the capability.
        settings: of the provider, now.
    """
    login, values = kept.get(USER), kept.get(CAPABILITIES)
    granted = read(values if isinstance(values, list) else [], login if isinstance(login, str) else "")
    seen = {**kept, "aud": settings.issuer, CAPABILITIES: granted}
    return Verified(TAILNET, UNSIGNED, settings.subject_audiences, seen)


def claims(caller: Caller, granted: Capabilities, audiences: Sequence[str]) -> dict[str, Any]:
    """What rules are held against and expressions see, but for what was granted; the arguments are `verified`'s."""
    listed = frozenset.intersection(*(_groups(granted, resource) for resource in resources(audiences)))
    reported = caller.user.groups if caller.user is not None else ()
    return {
        SUBJECT: caller.subject,
        USER: caller.user.login if caller.user is not None else None,
        DISPLAY_NAME: caller.user.display_name if caller.user is not None else None,
        GROUPS: sorted({*reported, *listed}),
        TAGS: list(caller.node.tags),
        NODE: caller.node.stable_id,
    }


def resources(audiences: Sequence[str]) -> list[str]:
    """What a token for these audiences is for, in the words of capabilities; of none, for whatever there is."""
    return [audience(uri) for uri in audiences] or [EVERYTHING]


def _groups(granted: Capabilities, resource: str) -> frozenset[str]:
    """Those that are granted for a resource."""
    said = granted.claims(resource).values.get(GROUPS, ())
    return frozenset(group for group in said if isinstance(group, str)) if isinstance(said, tuple) else frozenset()
