"""A SigningKey's status: a mirror of its ledger, and why the next step waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tailseal.api.conditions import ConditionType
from tailseal.api.findings import Finding, SpecError
from tailseal.api.meta import ROTATE_ANNOTATION
from tailseal.api.parse import parse
from tailseal.api.reasons import Reason
from tailseal.api.signingkey import Rotation
from tailseal.api.times import format_time, parse_time
from tailseal.cluster.port import Object
from tailseal.domain.rotation.issuer.evidence import without
from tailseal.domain.rotation.signingkey.plan import Issuer, KeyState, SigningKeyPlan
from tailseal.reconcile.conditions import Fact, summarise, write_status
from tailseal.reconcile.context import Context
from tailseal.reconcile.identityprovider.refs import AWAITED
from tailseal.reconcile.publish import seen as publish_seen
from tailseal.reconcile.signingkey.unreached import unreached

MAX_KEYS: Final = 64
"""As the CRD allows; the ledger forgets what is gone long before there are more."""

_ACTIVE: Final = "Active"
"""Part of `Ready`, not a condition of its own."""


@dataclass(frozen=True, slots=True)
class View:
    """What status is made from.

    Args:
        obj: the SigningKey.
        plan: what was just written.
        issuers: who uses its keys.
        refused: what of the spec was refused.
        taken: why the public keys could not be written; None if they were.
        missing: what stands in the way of the key to import; None if none is to be imported.
    """

    obj: Object
    plan: SigningKeyPlan
    issuers: tuple[Issuer, ...]
    refused: tuple[Finding, ...]
    taken: Fact | None
    missing: tuple[Finding, ...] | None = None


async def write(ctx: Context, view: View, *, manager: str) -> float | None:
    """Write status if it says something new; when to look again because a wait will have become too long."""
    facts = [accepted(view.refused, _unanswered(view)), *resolved(view.missing), _published(view), _active(view)]
    summary = [fact for fact in summarise(facts) if fact.type != _ACTIVE]
    stall_at = _stall_at(view)
    if stall_at is not None:
        summary = _waiting(ctx, view, summary, stalled=ctx.clock.now() >= stall_at)
    summary += [fact for fact in (_overlap_broken(view), unreached(ctx, view.obj, view.plan.ledger)) if fact]
    await write_status(ctx, view.obj, summary, _fields(view.plan), manager=manager)
    return stall_at if stall_at is not None and stall_at > ctx.clock.now() else None


def accepted(refused: Sequence[Finding], beside: str = "") -> Fact:
    """Whether the spec is what we go by; `beside` is what has to be said although it is."""
    if not refused:
        message = "; ".join(filter(None, ("the spec is valid", beside)))
        return Fact(ConditionType.ACCEPTED, status=True, reason=Reason.ACCEPTED, message=message)
    message = "; ".join(map(str, refused)) + "; what was accepted last goes on"
    return Fact(ConditionType.ACCEPTED, status=False, reason=refused[0].reason, message=message, stalled=True)


def _unanswered(view: View) -> str:
    """That a request to rotate waits for its author, who alone can bring the next key; empty if none does."""
    ledger, signer = view.plan.ledger, view.plan.signer
    text = view.obj["metadata"].get("annotations", {}).get(ROTATE_ANNOTATION)
    if text is None or view.refused or not ledger.schedule.imported:
        return ""
    if signer is not None and signer.created_at >= parse_time(text):
        return ""
    where = "import" if ((view.obj["spec"].get("source") or {}).get("import")) else "pkcs11"
    return f"metadata.annotations[{ROTATE_ANNOTATION}] waits for you: bring another key by spec.source.{where}"


def resolved(missing: Sequence[Finding] | None) -> tuple[Fact, ...]:
    """Whether the key to import is there; nothing is said where none is asked for."""
    if missing is None:
        return ()
    if not missing:
        return (Fact(ConditionType.RESOLVED_REFS, status=True, reason=Reason.RESOLVED, message="the key is there"),)
    message = "; ".join(map(str, missing)) + "; the key that was imported last, if any, goes on"
    stalled = any(finding.reason not in AWAITED for finding in missing)
    return (
        Fact(ConditionType.RESOLVED_REFS, status=False, reason=missing[0].reason, message=message, stalled=stalled),
    )


def remembered(obj: Object) -> Mapping[str, Any]:
    """The members of status that stay as they are while nothing can be said of the keys."""
    status: Mapping[str, Any] = obj.get("status", {})
    return {name: status.get(name) for name in ("activeKeyID", "nextRotationTime", "keys")}


def _published(view: View) -> Fact:
    if view.taken is not None:
        return view.taken
    record = view.plan.active or view.plan.signer
    state = next((state for state in view.plan.states if record and state.record.kid == record.kid), None)
    if state is None:
        return Fact(ConditionType.PUBLISHED, status=False, reason=Reason.PENDING, message="there is no key")
    if crowded := _crowded(view, state.record.kid):
        return Fact(ConditionType.PUBLISHED, status=False, reason=Reason.KEY_SET_FULL, message=crowded)
    if state.publish_time is None:
        missing = ", ".join(_not_serving(view, state))
        message = f"key {state.record.kid} is not yet seen on every replica of IdentityProvider {missing}"
        return Fact(ConditionType.PUBLISHED, status=False, reason=Reason.WAITING_FOR_REPLICAS, message=message)
    message = f"key {state.record.kid} is served by every replica of every IdentityProvider that lists this key"
    if not any(issuer.listed for issuer in view.issuers):
        message = "no IdentityProvider lists this key; the ConfigMap has its public keys"
    return Fact(ConditionType.PUBLISHED, status=True, reason=Reason.PUBLISHED, message=message)


def _crowded(view: View, kid: str) -> str:
    """Which issuers have no room for the key, and till when; empty if all that list it have it."""
    full = [issuer for issuer in view.issuers if issuer.listed and issuer.full and kid not in issuer.usage]
    return "; ".join(f"key {kid} is not published by IdentityProvider {issuer.name}: {issuer.full}" for issuer in full)


def _not_serving(view: View, state: KeyState) -> list[str]:
    return [issuer.name for issuer in view.issuers if issuer.listed and not _serves(issuer, state.record.kid)]


def _serves(issuer: Issuer, kid: str) -> bool:
    usage = issuer.usage.get(kid)
    return usage is not None and usage.served_at is not None


def _active(view: View) -> Fact:
    if view.plan.active is not None:
        return Fact(_ACTIVE, status=True, reason=Reason.READY)
    ledger, signer = view.plan.ledger, view.plan.signer
    if ledger.succeeds_lost and all(key.activated_at is None for key in ledger.keys):
        message = "former key material is lost: the new key signs when no verifier can hold a set without it"
        return Fact(_ACTIVE, status=False, reason=Reason.KEY_MATERIAL_LOST, message=message)
    if ledger.revoked and signer is not None and not ledger.schedule.sign_now:
        message = f"the signer was revoked; key {signer.kid} signs when no verifier can hold a set without it"
        return Fact(_ACTIVE, status=False, reason=Reason.SIGNING_STOPPED, message=message)
    if signer is None and ledger.schedule.imported:
        message = "there is no key that may sign: import one"
        return Fact(_ACTIVE, status=False, reason=Reason.SIGNING_STOPPED, message=message, stalled=True)
    message = "no IdentityProvider signs with a key of this one yet"
    return Fact(_ACTIVE, status=False, reason=Reason.WAITING_FOR_PROVIDER, message=message)


def _stall_at(view: View) -> float | None:
    """When a rotation that is under way will have waited too long for replicas; None if none waits for them."""
    signer = view.plan.signer
    if signer is None or signer.activated_at is not None or signer.wanted_at is None:
        return None
    if not any(issuer.listed for issuer in view.issuers):
        return None
    return signer.wanted_at + stall_after(view.obj)


def stall_after(obj: Object) -> int:
    """`spec.rotation.stallAfter` in seconds; the default while the spec is refused."""
    try:
        spec = parse("SigningKey", obj)
    except SpecError:
        return Rotation().stall_after
    return spec.rotation.stall_after


def _waiting(ctx: Context, view: View, facts: list[Fact], *, stalled: bool) -> list[Fact]:
    """Say that a key follows another or, if that takes too long, which pods hold it up."""
    signer = view.plan.signer
    if signer is None or any(fact.type == ConditionType.STALLED for fact in facts):
        return facts
    others = [fact for fact in facts if fact.type != ConditionType.RECONCILING]
    works = any(fact.type == ConditionType.READY and fact.status for fact in facts)
    under_way = ConditionType.ROTATING if works else ConditionType.RECONCILING
    if crowded := _crowded(view, signer.kid):
        return [*others, Fact(under_way, status=True, reason=Reason.KEY_SET_FULL, message=crowded)]
    pods = _pods_behind(ctx, view, signer.kid)
    if stalled and pods:
        message = f"key {signer.kid} may not sign before it is served and held by " + ", ".join(pods)
        return [*others, Fact(ConditionType.STALLED, status=True, reason=Reason.STALLED, message=message)]
    return [*others, Fact(under_way, status=True, reason=Reason.ROTATING, message=_next_step(view, signer.kid))]


def _next_step(view: View, kid: str) -> str:
    """What the key that is to sign next waits for, by instants that do not move."""
    text = f"key {kid} is to sign next"
    state = next((state for state in view.plan.states if state.record.kid == kid), None)
    if state is None:
        return text
    if state.publish_time is not None:
        return f"{text}: served by all since {format_time(state.publish_time)}, it waits until no cache can lack it"
    missing = ", ".join(_not_serving(view, state))
    return f"{text}: it waits for every replica of IdentityProvider {missing} to serve it" if missing else text


def _pods_behind(ctx: Context, view: View, kid: str) -> list[str]:
    namespace = view.obj["metadata"]["namespace"]
    behind: list[str] = []
    for issuer in view.issuers:
        if issuer.listed:
            counted = [pod for pod in ctx.replicas.of(namespace, issuer.name) if pod.ever_ready]
            behind += without(counted, kid)
            behind += publish_seen.behind(ctx, namespace, issuer.name, kid)
    return sorted(behind)


def _overlap_broken(view: View) -> Fact | None:
    broken = [issuer.name for issuer in view.issuers if any(use.overlap_broken for use in issuer.usage.values())]
    if not broken:
        return None
    message = (
        "a revocation made a new key sign at once: verifiers that cached the key set of IdentityProvider "
        + ", ".join(broken)
        + " may refuse new tokens until they fetch it again"
    )
    return Fact(ConditionType.OVERLAP_BROKEN, status=True, reason=Reason.OVERLAP_BROKEN, message=message)


def _fields(plan: SigningKeyPlan) -> dict[str, Any]:
    return {
        "activeKeyID": plan.active.kid if plan.active is not None else None,
        "nextRotationTime": _time(plan.next_rotation),
        "keys": [_key(state) for state in plan.states[-MAX_KEYS:]],
    }


def _key(state: KeyState) -> dict[str, Any]:
    times = {
        "creationTime": state.record.created_at,
        "publishTime": state.publish_time,
        "activationTime": state.activation_time,
        "removalTime": state.removal_time,
    }
    said = {name: _time(value) for name, value in times.items() if value is not None}
    return {"keyID": state.record.kid, "algorithm": state.record.algorithm, "state": str(state.state), **said}


def _time(value: float | None) -> str | None:
    return None if value is None else format_time(value)
