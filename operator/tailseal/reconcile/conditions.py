"""Writes status as every kind does it: only what was measured, only when it says something new.

A reconciler states facts; from them come the conditions, the summary `Ready`, and kstatus's `Reconciling` and
`Stalled`, which are there only while they are true. When `Ready` flips or its reason changes, people get an event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tailseal.api.conditions import Condition, conditions_of, set_condition
from tailseal.api.reasons import Reason
from tailseal.cluster.port import Object
from tailseal.reconcile.context import Context


@dataclass(frozen=True, slots=True)
class Fact:
    """One condition as it stands now.

    Args:
        type: the condition's type, e.g. `Accepted`.
        status: None where it is not known.
        reason: one of `api.reasons.Reason`.
        message: for people: what is wrong, where, what would be right. No ticking figures, nothing secret.
        stalled: whether it stays as it is until a person acts.
    """

    type: str
    status: bool | None
    reason: str
    message: str = ""
    stalled: bool = False


def summarise(facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """The facts, then `Ready`, then `Reconciling` or `Stalled` while one of them holds.

    The first fact that is not true, in the order given, says why the object is not ready.
    """
    blocking = [fact for fact in facts if fact.status is not True]
    if not blocking:
        return (*facts, Fact("Ready", status=True, reason=Reason.READY, message="it works now"))
    first = blocking[0]
    known = any(fact.status is False for fact in blocking)
    ready = Fact("Ready", status=False if known else None, reason=first.reason, message=first.message)
    stalled = next((fact for fact in blocking if fact.stalled), None)
    why = stalled or first
    pair = Fact("Stalled" if stalled else "Reconciling", status=True, reason=why.reason, message=why.message)
    return (*facts, ready, pair)


def unrepaired(facts: Sequence[Fact], text: str) -> tuple[Fact, ...]:
    """What works, works; but whoever looks at it is to see that there is something of others in it, if so."""
    if not text:
        return tuple(facts)
    why = Reason.NOT_REPAIRED
    told = (
        replace(fact, reason=why, message=text) if (fact.type, fact.status) == ("Ready", True) else fact
        for fact in facts
    )
    return (*told, Fact("Repaired", status=False, reason=why, message=text))


async def write_status(
    ctx: Context, obj: Object, facts: Sequence[Fact], fields: Mapping[str, Any], *, manager: str
) -> bool:
    """Write the object's status if it differs from what is there, and say whether it was written.

    Args:
        ctx: the ports; the store remembers what was written.
        obj: the object as last seen; its generation becomes `observedGeneration`.
        facts: all conditions of the object: one that is not among them is removed.
        fields: the other members of status, as JSON.
        manager: field manager.
    """
    status = next_status(obj, facts, fields, ctx.clock.now())
    if status == obj.get("status", {}):
        return False
    meta = obj["metadata"]
    written = await ctx.cluster.apply_status(
        {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
            "status": status,
        },
        manager=manager,
    )
    ctx.objects.put(written)
    await _announce(ctx, obj, status)
    return True


def next_status(obj: Object, facts: Sequence[Fact], fields: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The status to stand next: `lastTransitionTime` moves only where a condition's status flips."""
    generation = obj["metadata"].get("generation", 0)
    wanted = {fact.type for fact in facts}
    conditions = tuple(condition for condition in conditions_of(obj) if condition.type in wanted)
    for fact in facts:
        conditions = set_condition(conditions, _condition(fact, generation), now)
    return {
        **{name: value for name, value in fields.items() if value is not None},
        "observedGeneration": generation,
        "conditions": [condition.document() for condition in conditions],
    }


async def _announce(ctx: Context, obj: Object, status: Mapping[str, Any]) -> None:
    before, after = _find(obj.get("status", {}), "Ready"), _find(status, "Ready")
    stalled = bool(_find(status, "Stalled"))
    flipped = (before.get("status"), before.get("reason")) != (after.get("status"), after.get("reason"))
    said = after["reason"] == Reason.NOT_REPAIRED  # by who tried
    if flipped and not said and (before or stalled or after.get("status") == "True"):
        await ctx.recorder.event(obj, warning=stalled, reason=after["reason"], message=after["message"])


def _find(status: Mapping[str, Any], type_: str) -> Mapping[str, Any]:
    return next((entry for entry in status.get("conditions", ()) if entry["type"] == type_), {})


def _condition(fact: Fact, generation: int) -> Condition:
    status = {True: "True", False: "False", None: "Unknown"}[fact.status]
    return Condition.model_validate(
        {
            "type": fact.type,
            "status": status,
            "reason": str(fact.reason),
            "message": fact.message,
            "observedGeneration": generation,
        }
    )
