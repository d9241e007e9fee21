"""Whether what an owner wrote is served everywhere, and by which settings it is judged: for all that tenants attach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tailseal.api.conditions import Condition, ConditionType, conditions_of, get_condition
from tailseal.api.reasons import Reason
from tailseal.api.times import parse_time
from tailseal.cluster import kinds
from tailseal.cluster.port import Object, Ref
from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.programmed import Spread, spread
from tailseal.reconcile.bundle import attached_clients
from tailseal.reconcile.bundle.attached import provider_of
from tailseal.reconcile.bundle.attached_policies import settings_of
from tailseal.reconcile.bundle.memory import Placement, memory_of
from tailseal.reconcile.conditions import Fact
from tailseal.reconcile.context import Context, Key
from tailseal.reconcile.identityprovider.spec import intent_of
from tailseal.reconcile.measured import UNREACHABLE, wanted_digests

_SHOWN = 5


def served(ctx: Context, obj: Object, placed: Placement) -> Fact:
    """Programmed, of what may be served: once every replica was seen to serve this generation, it stays so.

    Args:
        ctx: the ports.
        obj: a TrustPolicy or an OAuthClient.
        placed: where it stands in the written bundle.
    """
    now = ctx.clock.now()
    former = get_condition(conditions_of(obj), ConditionType.PROGRAMMED)
    generation = obj["metadata"].get("generation", 0)
    done = _programmed(True, Reason.PROGRAMMED, "every replica serves it")
    # One message for all of the way: status is written when there is news, not at every step.
    waiting = _programmed(False, Reason.WAITING_FOR_REPLICAS, "waiting until every replica serves it")
    if former is not None and former.status == "True" and former.observed_generation == generation:
        return done
    if placed is not Placement.HELD:
        return waiting
    pods = _spread(ctx, obj, since=_waiting_since(former, now))
    if pods.silent:
        text = f"no answer for {UNREACHABLE:.0f} s from {', '.join(pods.silent[:_SHOWN])}: see the IdentityProvider"
        return _programmed(None, Reason.REPLICA_UNREACHABLE, text)
    if pods.serving or pods.lagging:
        return done if pods.complete else waiting
    return _programmed(False, Reason.NO_REPLICAS, "no replica runs that could serve it")


def everywhere(ctx: Context, obj: Object, placed: Placement) -> bool:
    """Whether no replica serves anything older now; where none runs, none does."""
    pods = _spread(ctx, obj, since=ctx.clock.now())
    return placed is Placement.HELD and not (pods.lagging or pods.silent)


def remembered_settings(ctx: Context, namespace: str, name: str) -> Settings | Fact:
    """What the provider's spec says to those attached to it, or why ResolvedRefs is not true."""
    provider = ctx.objects.get(Ref(kinds.IDENTITY_PROVIDER, namespace, name))
    key = Key("AttachedSettings", namespace, name)
    if provider is None:
        ctx.memory.pop(key, None)
        text = f"spec.identityProviderRef: there is no IdentityProvider {namespace}/{name}"
        return Fact(ConditionType.RESOLVED_REFS, False, Reason.REF_NOT_FOUND, text)
    version = (provider["metadata"].get("uid", ""), provider["metadata"].get("resourceVersion", ""))
    namespaces = ctx.objects.namespaces()
    known: _Remembered | None = ctx.memory.get(key)
    clients = memory_of(ctx, namespace, name).clients
    seen = (version, clients.chosen if clients is not None else None)
    if known is None or known.version != seen or known.namespaces is not namespaces:
        known = ctx.memory[key] = _Remembered(seen, namespaces, _read_settings(ctx, provider))
    return known.settings


@dataclass(frozen=True, slots=True)
class _Remembered:
    """A provider's settings as of one version of it, of reserved ids and of namespaces: thousands of policies ask."""

    version: object
    namespaces: Mapping[str, Mapping[str, str]] | None
    settings: Settings | Fact


def _read_settings(ctx: Context, provider: Object) -> Settings | Fact:
    metadata = provider["metadata"]
    spec = intent_of(ctx.objects, provider).spec
    if spec is None:
        text = f"spec.identityProviderRef: IdentityProvider {metadata['namespace']}/{metadata['name']} is not accepted"
        return Fact(ConditionType.RESOLVED_REFS, False, Reason.REF_NOT_READY, text)
    settings, memory = settings_of(ctx, provider, spec), memory_of(ctx, metadata["namespace"], metadata["name"])
    if memory.clients is None:  # the bundle was not looked at yet
        memory.clients = attached_clients.gather(ctx, provider, settings, None)
    return settings.model_copy(update={"client_ids": memory.clients.chosen})


def _spread(ctx: Context, obj: Object, *, since: float) -> Spread:
    provider = provider_of(obj)
    wanted = wanted_digests(ctx.objects, *provider).get("policies", "")
    return spread(ctx.replicas.of(*provider), wanted, now=ctx.clock.now(), since=since, patience=UNREACHABLE)


def _waiting_since(former: Condition | None, now: float) -> float:
    """Since when a replica that never reported is waited for: one that counted as silent stays so until it reports."""
    if former is None or former.last_transition_time is None:
        return now
    if former.reason == Reason.REPLICA_UNREACHABLE:
        return float("-inf")
    return parse_time(former.last_transition_time) if former.reason == Reason.WAITING_FOR_REPLICAS else now


def _programmed(status: bool | None, reason: Reason, message: str) -> Fact:  # noqa: FBT001 - as in Fact
    return Fact(ConditionType.PROGRAMMED, status, reason, message)
