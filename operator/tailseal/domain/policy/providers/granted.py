"""What the tailnet's policy file grants whoever asks, as rules of `tailnet` and `session` blocks are held against it.

It stands beside the claims under a name of theirs, as a value that no token can hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tailseal.api.findings import Finding
from tailseal.api.trustpolicy import CallerCapability
from tailseal.domain.capability import Action, Capabilities, v1
from tailseal.domain.policy.matchers import Verdict
from tailseal.domain.policy.providers.block import Block

CAPABILITIES: Final = "capabilities"


def demand(rules: Block, wanted: CallerCapability | None, origin: str) -> tuple[Finding, ...]:
    """Add the rule of member `capability`; what no rule of a capability can ever grant.

    Args:
        rules: of the block.
        wanted: the member; None: nothing.
        origin: where the block stands.
    """
    if wanted is None:
        return ()
    expected = f"{wanted.action} {wanted.resource}"
    rules.add("capability", (CAPABILITIES,), _Granted(wanted.action, wanted.resource), expected)
    found = []
    if wanted.action not in v1.ACTIONS:
        found.append(Finding(f"{origin}.capability.action", f"must be of {', '.join(Action)}, or a lone *"))
    if not v1.is_resource(wanted.resource):
        found.append(Finding(f"{origin}.capability.resource", v1.RESOURCE_FORM))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Granted:
    """Whether they were granted what the block asks for."""

    action: str
    resource: str

    def __call__(self, claims: Mapping[str, Any]) -> Verdict:
        granted = claims.get(CAPABILITIES)
        if not isinstance(granted, Capabilities):
            return Verdict.MISSING if granted is None else Verdict.WRONG_TYPE
        return Verdict.MATCH if granted.allow(self.action, self.resource) else Verdict.MISMATCH
