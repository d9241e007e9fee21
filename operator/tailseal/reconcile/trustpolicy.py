"""Tells the owner of a TrustPolicy what became of it: accepted or not and why, and whether every replica serves it.

It writes status and nothing else. The controller `Bundle` takes accepted policies to the workers, by the same verdict.
"""

from __future__ import annotations

from collections.abc import Sequence

from tailseal.api.conditions import ConditionType
from tailseal.api.findings import Finding
from tailseal.api.reasons import Reason
from tailseal.cluster import kinds
from tailseal.cluster.port import Object, Ref
from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.compile import CompiledPolicy, accepted
from tailseal.reconcile.bundle.attached import provider_of
from tailseal.reconcile.bundle.attached_policies import placement, record_of
from tailseal.reconcile.bundle.memory import Placement
from tailseal.reconcile.conditions import Fact, summarise, write_status
from tailseal.reconcile.context import Context, Done
from tailseal.reconcile.measured import UNREACHABLE
from tailseal.reconcile.overlapping import gone, overlapping
from tailseal.reconcile.served import remembered_settings, served

MANAGER = "tailseal-trustpolicy"

_SHOWN = 5
_REFERENCES = frozenset({Reason.REF_NOT_FOUND, Reason.REF_NOT_PERMITTED, Reason.REF_INVALID, Reason.REF_NOT_READY})
_NOT_SERVED = "a policy that is not accepted and resolved is not served: it grants nothing"


async def reconcile(ctx: Context, namespace: str, name: str) -> Done:
    """Bring one policy's status to what is true now."""
    policy = ctx.objects.get(Ref(kinds.TRUST_POLICY, namespace, name))
    if policy is None or "deletionTimestamp" in policy["metadata"]:
        await gone(ctx, namespace, name)
        return Done()
    facts = _facts(ctx, policy)
    beside = await _beside(ctx, policy)
    await write_status(ctx, policy, summarise((*facts, *beside)), {}, manager=MANAGER)
    waiting = facts[-1].reason == Reason.WAITING_FOR_REPLICAS
    # New reports wake us; that none comes we must notice by ourselves.
    return Done(after=UNREACHABLE + 1 if waiting else None)


def _facts(ctx: Context, policy: Object) -> tuple[Fact, Fact, Fact]:
    """Accepted, ResolvedRefs, Programmed."""
    settings = remembered_settings(ctx, *provider_of(policy))
    if isinstance(settings, Fact):
        accepted_ = Fact(ConditionType.ACCEPTED, None, settings.reason, settings.message)
        return accepted_, settings, Fact(ConditionType.PROGRAMMED, False, settings.reason, _NOT_SERVED)
    accepted_, resolved = _verdict(ctx, policy, settings)
    for fact in (accepted_, resolved):
        if fact.status is not True:
            return accepted_, resolved, Fact(ConditionType.PROGRAMMED, False, fact.reason, _NOT_SERVED)
    return accepted_, resolved, served(ctx, policy, placement(ctx, *provider_of(policy), policy))


async def _beside(ctx: Context, policy: Object) -> tuple[Fact, ...]:
    """What other policies of the namespace do to this one; it is true of a policy that works, and no fault of it."""
    settings = remembered_settings(ctx, *provider_of(policy))
    found = None if isinstance(settings, Fact) else await overlapping(ctx, policy, settings)
    return () if found is None else (found,)


def _verdict(ctx: Context, policy: Object, settings: Settings) -> tuple[Fact, Fact]:
    """Accepted and ResolvedRefs, by the very function by which the bundle takes a policy or leaves it out."""
    compiled = accepted(record_of(policy), settings)
    findings = () if isinstance(compiled, CompiledPolicy) else compiled
    refused = [finding for finding in findings if finding.reason not in _REFERENCES]
    broken = [finding for finding in findings if finding.reason in _REFERENCES]
    resolved = Fact(ConditionType.RESOLVED_REFS, True, Reason.RESOLVED, "everything that the spec names is there")
    verdict = Fact(ConditionType.ACCEPTED, True, Reason.ACCEPTED, "the spec is valid and within bounds")
    if not findings and placement(ctx, *provider_of(policy), policy) is Placement.NO_ROOM:
        text = (
            "the IdentityProvider has no room for it: maxPolicies of its bounds is reached, or the policy's shard is"
            " full and this namespace takes more of it than others"
        )
        verdict = Fact(ConditionType.ACCEPTED, False, Reason.CAPACITY_EXCEEDED, text, stalled=True)
    if refused:
        verdict = Fact(ConditionType.ACCEPTED, False, refused[0].reason, _text(refused), stalled=True)
    if broken:
        resolved = Fact(ConditionType.RESOLVED_REFS, False, broken[0].reason, _text(broken))
    return verdict, resolved


def _text(findings: Sequence[Finding]) -> str:
    more = f"; and {len(findings) - _SHOWN} more" if len(findings) > _SHOWN else ""
    return "; ".join(map(str, findings[:_SHOWN])) + more
