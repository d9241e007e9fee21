"""Which spec of an IdentityProvider holds: its present one, or the last accepted while the present one is refused.

Keys must go on rotating and leases be extended whatever somebody typed into the spec, so the last accepted one is
kept in a ConfigMap of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tailseal.api import meta
from tailseal.api.findings import Finding, SpecError
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.parse import parse, parse_spec
from tailseal.api.reasons import Reason
from tailseal.api.unsupported import unsupported
from tailseal.cluster import kinds
from tailseal.cluster.port import Object, Ref
from tailseal.reconcile.conditions import Fact
from tailseal.reconcile.context import Objects

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Intent:
    """What holds for a provider.

    Args:
        spec: what to do; None while nothing was ever accepted.
        verdict: the condition `Accepted`, about the present spec.
    """

    spec: IdentityProviderSpec | None
    verdict: Fact

    @property
    def accepted(self) -> bool:
        """Whether it is the present spec that holds."""
        return self.verdict.status is True


def intent_of(objects: Objects, provider: Object) -> Intent:
    """The spec that holds for the provider, and the verdict on its present one."""
    try:
        spec = parse("IdentityProvider", provider)
    except SpecError as error:
        return Intent(_last_accepted(objects, provider), _refused(Reason.INVALID_SPEC, error.findings))
    if lacking := unsupported(spec):
        return Intent(_last_accepted(objects, provider), _refused(Reason.NOT_SUPPORTED_YET, lacking))
    if blind := list(_unselectable(objects, spec)):
        return Intent(_last_accepted(objects, provider), _refused(Reason.NAMESPACES_UNREADABLE, blind))
    if rival := _older_rival(objects, provider, spec.issuer):
        text = f"spec.issuer: IdentityProvider {rival} already speaks for it; choose another issuer"
        return Intent(
            _last_accepted(objects, provider),
            Fact("Accepted", status=False, reason=Reason.ISSUER_TAKEN, message=text, stalled=True),
        )
    return Intent(spec, Fact("Accepted", status=True, reason=Reason.ACCEPTED, message="the spec is valid"))


def _unselectable(objects: Objects, spec: IdentityProviderSpec) -> Iterator[Finding]:
    """Rules that select namespaces where nobody can tell which those are. One that held before selects none then."""
    message = (
        "this operator may not read namespaces, so it cannot select any: list them by from: Names, or install it"
        " for policies of all namespaces"
    )
    for index, bound in enumerate(spec.bounds):
        if bound.namespaces.from_ == "Selector" and objects.namespaces() is None:
            yield Finding(f"spec.bounds[{index}].namespaces.from", message)


def _refused(reason: Reason, findings: Sequence[Finding]) -> Fact:
    text = "; ".join(f"{finding.path}: {finding.message}" for finding in findings[:_SHOWN])
    more = f"; and {len(findings) - _SHOWN} more" if len(findings) > _SHOWN else ""
    return Fact("Accepted", status=False, reason=reason, message=text + more, stalled=True)


def _last_accepted(objects: Objects, provider: Object) -> IdentityProviderSpec | None:
    metadata = provider["metadata"]
    kept = objects.get(Ref(kinds.CONFIG_MAP, metadata["namespace"], meta.accepted_config_map(metadata["name"])))
    if kept is None:
        return None
    try:
        return parse_spec(IdentityProviderSpec, json.loads(kept["data"]["spec.json"]))
    except (KeyError, ValueError, SpecError):
        return None


def _older_rival(objects: Objects, provider: Object, issuer: str) -> str:
    """The provider that was first with this issuer, if that is another one: two would publish different keys."""
    claims = sorted(
        (
            other["metadata"].get("creationTimestamp", ""),
            other["metadata"]["namespace"],
            other["metadata"]["name"],
        )
        for other in objects.select(kinds.IDENTITY_PROVIDER)
        if other.get("spec", {}).get("issuer") == issuer
    )
    own = (provider["metadata"]["namespace"], provider["metadata"]["name"])
    return "/".join(claims[0][1:]) if claims and claims[0][1:] != own else ""
