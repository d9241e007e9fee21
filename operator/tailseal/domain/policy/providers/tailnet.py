"""Tailnet: people and machines of the provider's own tailnet, by what tailscaled says of the caller.

There is no token whose claims could be asked, so the caller is put into claims of the same kind. They are made by us
and hold what no token can hold, hence nothing that somebody sent is ever held against these rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tailseal.api.findings import Finding
from tailseal.api.trustpolicy import CallerCapability, TailnetSource
from tailseal.domain.caller import Caller
from tailseal.domain.capability import Action, Capabilities, v1
from tailseal.domain.policy.matchers import Rule, Verdict
from tailseal.domain.policy.providers.block import Block, Either

SUBJECT: Final = "sub"
USER: Final = "user"
GROUPS: Final = "groups"
TAGS: Final = "tags"
NODE: Final = "node"
CAPABILITIES: Final = "capabilities"


@dataclass(frozen=True, slots=True)
class FromTailnet:
    """A compiled `tailnet` block.

    Args:
        origin: its place in the manifest.
        rules: on the claims of a caller; all must hold.
        findings: what is wrong with the block; a policy with any of them grants nothing.
    """

    origin: str
    rules: tuple[Rule, ...]
    findings: tuple[Finding, ...]


def compiled(block: TailnetSource, origin: str) -> FromTailnet:
    """The rules of a `tailnet` block.

    Args:
        block: from the manifest.
        origin: where it stands.
    """
    rules = Block(origin)
    rules.like((USER,), Either("users", block.users))
    rules.any_like((GROUPS,), Either("groups", block.groups))
    rules.any_like((TAGS,), Either("tags", block.tags))
    rules.like((NODE,), Either("nodes", block.nodes))
    findings = [*rules.findings]
    if block.users and block.tags:
        message = "a node with tags belongs to no user, so nobody has both: write one policy for each"
        findings.append(Finding(f"{origin}.tags", message))
    if (wanted := block.capability) is not None:
        findings += _faults(wanted, f"{origin}.capability")
        expected = f"{wanted.action} {wanted.resource}"
        rules.add("capability", (CAPABILITIES,), _Granted(wanted.action, wanted.resource), expected)
    return FromTailnet(origin, rules.rules, tuple(findings))


def claims(caller: Caller, granted: Capabilities, resource: str) -> Mapping[str, Any]:
    """What the rules are held against.

    Args:
        caller: who asks.
        granted: what the provider's capability says of them.
        resource: what they ask for, e.g. `audience/https://billing.corp.example`: groups may be granted for it alone.
    """
    said = granted.claims(resource).values.get(GROUPS, ())
    reported = caller.user.groups if caller.user is not None else ()
    listed = (group for group in said if isinstance(group, str)) if isinstance(said, tuple) else ()
    return {
        SUBJECT: caller.subject,
        USER: caller.user.login if caller.user is not None else None,
        GROUPS: sorted({*reported, *listed}),
        TAGS: list(caller.node.tags),
        NODE: caller.node.stable_id,
        CAPABILITIES: granted,
    }


@dataclass(frozen=True, slots=True)
class _Granted:
    """Whether the caller was granted what the block asks for."""

    action: str
    resource: str

    def __call__(self, claims: Mapping[str, Any]) -> Verdict:
        granted = claims.get(CAPABILITIES)
        if not isinstance(granted, Capabilities):
            return Verdict.MISSING if granted is None else Verdict.WRONG_TYPE
        return Verdict.MATCH if granted.allow(self.action, self.resource) else Verdict.MISMATCH


def _faults(wanted: CallerCapability, where: str) -> list[Finding]:
    """What no rule of a capability can ever grant."""
    found = []
    if wanted.action not in v1.ACTIONS:
        found.append(Finding(f"{where}.action", f"must be of {', '.join(Action)}, or a lone *"))
    if not v1.is_resource(wanted.resource):
        found.append(Finding(f"{where}.resource", v1.RESOURCE_FORM))
    return found
