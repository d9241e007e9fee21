"""The status of an IdentityProvider: as its replicas were measured, and not once for every policy that changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tailseal.api.conditions import MESSAGE_LENGTH, ConditionType
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.meta import PROVIDER_LABEL
from tailseal.api.reasons import Reason
from tailseal.cluster import kinds
from tailseal.cluster.port import Object
from tailseal.domain.bundle import build, digest
from tailseal.domain.bundle.model import VERSION
from tailseal.domain.render.common import COMPONENTS, Provider
from tailseal.domain.render.service import url
from tailseal.domain.rotation import IssuerPlan
from tailseal.reconcile import measured, repairs
from tailseal.reconcile.bundle import attached_policies
from tailseal.reconcile.bundle.memory import memory_of
from tailseal.reconcile.conditions import Fact, next_status, summarise, unrepaired, write_status
from tailseal.reconcile.context import Context, Key
from tailseal.reconcile.identityprovider import fences, nodes, trouble
from tailseal.reconcile.identityprovider import tailnet as provider_tailnet
from tailseal.reconcile.identityprovider.clocks import skewed
from tailseal.reconcile.identityprovider.refs import Problem, resolved
from tailseal.reconcile.identityprovider.spec import Intent
from tailseal.reconcile.publish import seen as publish_seen

MANAGER: Final = "tailseal-identityprovider"

QUIET: Final = 5.0
"""Seconds for which counts and digests are gathered before status is written for their sake alone."""

LOOK_AGAIN: Final = 30.0
"""Seconds after which what a person should clear away, where we cannot watch him do it, is looked at again."""

_QUIET_FIELDS: Final = frozenset({"bundleDigest", "replicas", "servingReplicas", "attachedPolicies"})


@dataclass(frozen=True, slots=True)
class Seen:
    """What one reconcile found, beside the replicas.

    Args:
        intent: the spec that holds, and the verdict on the present one.
        plan: of the issuer's keys; None if it could not be made or written.
        problems: references that do not lead where they should.
        stuck: writes that a person must clear the way for.
        policies: how many policies the bundle should hold.
    """

    intent: Intent
    plan: IssuerPlan | None
    problems: Sequence[Problem]
    stuck: Sequence[Fact]
    policies: int


async def report(ctx: Context, obj: Object, spec: IdentityProviderSpec, seen: Seen) -> float | None:
    """Write the provider's status if it is due; seconds after which to look again, if nothing happens before."""
    provider = Provider(obj["metadata"]["namespace"], obj["metadata"]["name"], obj["metadata"]["uid"])
    replicas = measured.measure(ctx, provider.namespace, provider.name)
    stuck = _stuck(ctx, provider, seen)
    down = _down(ctx, provider)
    programmed = stuck or _programmed(obj, spec, seen.plan, replicas, down)
    facts = summarise([seen.intent.verdict, resolved(seen.problems), programmed])
    if slow := _slow(ctx, provider):
        facts = (*facts, slow)
    if waiting := _waiting(ctx, provider):
        facts = (*facts, waiting)
    if down:
        text = trouble.describe(down)
        facts = (*facts, Fact("WorkersAvailable", status=False, reason=Reason.WORKLOAD_UNAVAILABLE, message=text))
    spoiled = "; ".join(await repairs.unrepaired(ctx, provider.namespace, provider.name))[:MESSAGE_LENGTH]
    facts = unrepaired(facts, spoiled)
    if unfenced := await fences.missing(ctx, provider.namespace, provider.name):
        facts = (*facts, unfenced)
    facts = (*facts, *provider_tailnet.facts(ctx, provider.namespace, provider.name, spec))
    facts = (*facts, *nodes.left_behind(ctx, provider, spec))
    if skew := skewed(ctx, obj, spec.tokens.clock_skew):
        facts = (*facts, skew)
    spoken = publish_seen.lines(ctx, obj, spec)
    if published := publish_seen.published(spoken):
        facts = (*facts, published)
    fields = {
        "publish": spoken,
        "endpoints": list(_endpoints(ctx, provider, spec)),
        "bundleDigest": digest.stamp(replicas.wanted),
        "replicas": replicas.replicas,
        "servingReplicas": len(replicas.serving),
        "attachedPolicies": seen.policies,
    }
    if left := _held_back(ctx, obj, next_status(obj, facts, fields, ctx.clock.now())):
        return left
    await write_status(ctx, obj, facts, fields, manager=MANAGER)
    if stuck or spoiled or not seen.intent.accepted:
        return LOOK_AGAIN
    return None if replicas.everywhere else QUIET


def _held_back(ctx: Context, obj: Object, status: dict[str, Any]) -> float:
    """Seconds for which a status that differs in counts and digests only is not written yet.

    Otherwise every changed policy would be a write here, and a watch event for everybody who looks at providers.
    """
    key = Key("IdentityProvider", obj["metadata"]["namespace"], obj["metadata"]["name"])
    present = obj.get("status", {})
    differing = {name for name in status.keys() | present.keys() if status.get(name) != present.get(name)}
    if not differing or not differing <= _QUIET_FIELDS or not present:
        ctx.memory.pop(key, None)
        return 0.0
    since: float = ctx.memory.setdefault(key, ctx.clock.now())
    left = since + QUIET - ctx.clock.now()
    if left <= 0:
        ctx.memory.pop(key, None)
    return max(left, 0.0)


def _stuck(ctx: Context, provider: Provider, seen: Seen) -> Fact | None:
    """The first write that a person must clear the way for."""
    return next(iter(seen.stuck), None) or memory_of(ctx, provider.namespace, provider.name).problem


def _down(ctx: Context, provider: Provider) -> tuple[trouble.Trouble, ...]:
    """What keeps worker pods from coming up."""
    labels = {PROVIDER_LABEL: provider.name}
    return trouble.troubles(
        ctx.objects.select(kinds.POD, provider.namespace, labels),
        ctx.objects.select(kinds.DEPLOYMENT, provider.namespace, labels),
    )


def _programmed(
    obj: Object,
    spec: IdentityProviderSpec,
    plan: IssuerPlan | None,
    replicas: measured.Measured,
    down: tuple[trouble.Trouble, ...],
) -> Fact:
    """The condition `Programmed`: every replica serves what was written, and a key signs."""
    fact = measured.programmed(replicas, needed=_needed(spec), latched=_latched(obj))
    if fact.reason == Reason.NO_REPLICAS and down:
        text = f"{fact.message}: {trouble.describe(down)}"
        return replace(fact, reason=Reason.WORKLOAD_UNAVAILABLE, message=text, stalled=down[0].stuck)
    if fact.status is not True or plan is None or plan.active:
        return fact
    if plan.ledger.revoked:
        text = "no key may sign: the last one was revoked, and no other was ready"
        return Fact("Programmed", status=False, reason=Reason.SIGNING_STOPPED, message=text)
    text = plan.blocked[0].message if plan.blocked else "no key may sign yet"
    return Fact("Programmed", status=False, reason=Reason.WAITING_FOR_REPLICAS, message=text)


def _needed(spec: IdentityProviderSpec) -> frozenset[str]:
    """The components that must have a replica: those that run and are not scaled to zero."""
    sts = {"sts"} if spec.sts.enabled and spec.sts.replicas != 0 else set()
    idp = {"idp"} if spec.idp.enabled and spec.idp.replicas != 0 else set()
    return frozenset(sts | idp)


def _latched(obj: Object) -> bool:
    """Whether this generation was programmed already."""
    return any(
        entry["type"] == "Programmed"
        and entry["status"] == "True"
        and entry.get("observedGeneration") == obj["metadata"].get("generation")
        for entry in obj.get("status", {}).get("conditions", ())
    )


def _slow(ctx: Context, provider: Provider) -> Fact | None:
    """The condition `FastPropagation`, which is there only while it is False."""
    if ctx.settings.fast_propagation and not measured.memory_of(ctx, provider.namespace, provider.name).forbidden:
        return None
    text = "annotating worker pods is not allowed to the operator: changes arrive within 90 s instead of 1 s"
    return Fact("FastPropagation", status=False, reason=Reason.KUBELET_SPEED, message=text)


def _waiting(ctx: Context, provider: Provider) -> Fact | None:
    """The condition `SettingsCurrent`, which is there only while it is False."""
    version = attached_policies.readable(ctx, provider.namespace, provider.name)
    if version >= VERSION:
        return None
    text = f"a worker of a former release reads settings up to version {version}: what came later waits for its end"
    return Fact(ConditionType.SETTINGS_CURRENT, status=False, reason=Reason.FORMER_WORKERS, message=text)


def _endpoints(ctx: Context, provider: Provider, spec: IdentityProviderSpec) -> Iterator[dict[str, str]]:
    """Where the services are reached: as the spec says, and inside the cluster."""
    found = {endpoint.name: endpoint.url for endpoint in spec.serving.endpoints}
    tls = spec.serving.tls is not None
    enabled = {"sts": spec.sts.enabled, "idp": spec.idp.enabled}
    inside: dict[str, str] = {name: url(provider, name, tls=tls) for name in COMPONENTS if enabled[name]}
    names = provider_tailnet.names(ctx, provider.namespace, provider.name, spec)
    jwks = {"jwks": f"{build.base_url(spec)}/.well-known/jwks.json"}
    yield from ({"name": name, "url": where} for name, where in {**inside, **jwks, **names, **found}.items())
