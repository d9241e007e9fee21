"""Tells the owner of a TrustPolicy what became of it: accepted or not and why, and whether every replica serves it.

It writes status and nothing else. The controller `Bundle` takes accepted policies to the workers, by the same verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tailseal.api.conditions import Condition, ConditionType, conditions_of, get_condition
from tailseal.api.findings import Finding
from tailseal.api.reasons import Reason
from tailseal.api.times import parse_time
from tailseal.cluster import kinds
from tailseal.cluster.port import Object, Ref
from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.compile import CompiledPolicy, accepted
from tailseal.domain.policy.programmed import spread
from tailseal.reconcile.attached import Placement, placement, provider_of, record_of, settings_of
from tailseal.reconcile.conditions import Fact, summarise, write_status
from tailseal.reconcile.context import Context, Done, Key
from tailseal.reconcile.measured import UNREACHABLE, wanted_digests
from tailseal.reconcile.provider_spec import intent_of

MANAGER = "tailseal-trustpolicy"

_SHOWN = 5
_REFERENCES = frozenset({Reason.REF_NOT_FOUND, Reason.REF_NOT_PERMITTED, Reason.REF_INVALID, Reason.REF_NOT_READY})
_NOT_SERVED = "a policy that is not accepted and resolved is not served: it grants nothing"


async def reconcile(ctx: Context, namespace: str, name: str) -> Done:
    """Bring one policy's status to what is true now."""
    policy = ctx.objects.get(Ref(kinds.TRUST_POLICY, namespace, name))
    if policy is None or "deletionTimestamp" in policy["metadata"]:
        return Done()
    facts = _facts(ctx, policy)
    await write_status(ctx, policy, summarise(facts), {}, manager=MANAGER)
    waiting = facts[-1].reason == Reason.WAITING_FOR_REPLICAS
    # New reports wake us; that none comes we must notice by ourselves.
    return Done(after=UNREACHABLE + 1 if waiting else None)


def _facts(ctx: Context, policy: Object) -> tuple[Fact, Fact, Fact]:
    """Accepted, ResolvedRefs, Programmed."""
    settings = _remembered_settings(ctx, *provider_of(policy))
    if isinstance(settings, Fact):
        accepted_ = Fact(ConditionType.ACCEPTED, None, settings.reason, settings.message)
        return accepted_, settings, Fact(ConditionType.PROGRAMMED, False, settings.reason, _NOT_SERVED)
    accepted_, resolved = _verdict(ctx, policy, settings)
    for fact in (accepted_, resolved):
        if fact.status is not True:
            return accepted_, resolved, Fact(ConditionType.PROGRAMMED, False, fact.reason, _NOT_SERVED)
    return accepted_, resolved, _served(ctx, policy)


def _verdict(ctx: Context, policy: Object, settings: Settings) -> tuple[Fact, Fact]:
    """Accepted and ResolvedRefs, by the very function by which the bundle takes a policy or leaves it out."""
    compiled = accepted(record_of(policy), settings)
    findings = () if isinstance(compiled, CompiledPolicy) else compiled
    refused = [finding for finding in findings if finding.reason not in _REFERENCES]
    broken = [finding for finding in findings if finding.reason in _REFERENCES]
    resolved = Fact(ConditionType.RESOLVED_REFS, True, Reason.RESOLVED, "everything that the spec names is there")
    verdict = Fact(ConditionType.ACCEPTED, True, Reason.ACCEPTED, "the spec is valid and within bounds")
    if not findings and placement(ctx, *provider_of(policy), policy) is Placement.NO_ROOM:
        text = "the IdentityProvider has no room for it: maxPolicies of its bounds or the policy's shard is full"
        verdict = Fact(ConditionType.ACCEPTED, False, Reason.CAPACITY_EXCEEDED, text, stalled=True)
    if refused:
        verdict = Fact(ConditionType.ACCEPTED, False, refused[0].reason, _text(refused), stalled=True)
    if broken:
        resolved = Fact(ConditionType.RESOLVED_REFS, False, broken[0].reason, _text(broken))
    return verdict, resolved


def _served(ctx: Context, policy: Object) -> Fact:
    """Programmed, of a policy that may grant: once every replica was seen to serve this generation, it stays so."""
    provider, now = provider_of(policy), ctx.clock.now()
    former = get_condition(conditions_of(policy), ConditionType.PROGRAMMED)
    generation = policy["metadata"].get("generation", 0)
    done = _programmed(True, Reason.PROGRAMMED, "every replica serves it")
    # One message for all of the way: status is written when there is news, not at every step.
    waiting = _programmed(False, Reason.WAITING_FOR_REPLICAS, "waiting until every replica serves it")
    if former is not None and former.status == "True" and former.observed_generation == generation:
        return done
    if placement(ctx, *provider, policy) is not Placement.HELD:
        return waiting
    wanted = wanted_digests(ctx.objects, *provider).get("policies", "")
    pods = spread(ctx.replicas.of(*provider), wanted, now=now, since=_waiting_since(former, now), patience=UNREACHABLE)
    if pods.silent:
        text = f"no answer for {UNREACHABLE:.0f} s from {', '.join(pods.silent[:_SHOWN])}: see the IdentityProvider"
        return _programmed(None, Reason.REPLICA_UNREACHABLE, text)
    if pods.serving or pods.lagging:
        return done if pods.complete else waiting
    return _programmed(False, Reason.NO_REPLICAS, "no replica runs that could serve it")


def _waiting_since(former: Condition | None, now: float) -> float:
    """Since when a replica that never reported is waited for: one that counted as silent stays so until it reports."""
    if former is None or former.last_transition_time is None:
        return now
    if former.reason == Reason.REPLICA_UNREACHABLE:
        return float("-inf")
    return parse_time(former.last_transition_time) if former.reason == Reason.WAITING_FOR_REPLICAS else now


def _programmed(status: bool | None, reason: Reason, message: str) -> Fact:  # noqa: FBT001 - as in Fact
    return Fact(ConditionType.PROGRAMMED, status, reason, message)


@dataclass(frozen=True, slots=True)
class _Remembered:
    """A provider's settings as of one version of it: thousands of policies ask for the same."""

    version: tuple[str, str]
    settings: Settings | Fact


def _remembered_settings(ctx: Context, namespace: str, name: str) -> Settings | Fact:
    """What the provider's spec says to policies, or why ResolvedRefs is not true."""
    provider = ctx.objects.get(Ref(kinds.IDENTITY_PROVIDER, namespace, name))
    key = Key("TrustPolicySettings", namespace, name)
    if provider is None:
        ctx.memory.pop(key, None)
        text = f"spec.identityProviderRef: there is no IdentityProvider {namespace}/{name}"
        return Fact(ConditionType.RESOLVED_REFS, False, Reason.REF_NOT_FOUND, text)
    version = (provider["metadata"].get("uid", ""), provider["metadata"].get("resourceVersion", ""))
    known: _Remembered | None = ctx.memory.get(key)
    if known is None or known.version != version:
        known = ctx.memory[key] = _Remembered(version, _read_settings(ctx, provider))
    return known.settings


def _read_settings(ctx: Context, provider: Object) -> Settings | Fact:
    metadata = provider["metadata"]
    spec = intent_of(ctx.objects, provider).spec
    if spec is None:
        text = f"spec.identityProviderRef: IdentityProvider {metadata['namespace']}/{metadata['name']} is not accepted"
        return Fact(ConditionType.RESOLVED_REFS, False, Reason.REF_NOT_READY, text)
    return settings_of(ctx, provider, spec)


def _text(findings: Sequence[Finding]) -> str:
    more = f"; and {len(findings) - _SHOWN} more" if len(findings) > _SHOWN else ""
    return "; ".join(map(str, findings[:_SHOWN])) + more
