"""The condition `ClockSkew`: which replicas' clocks are off by more than verifiers are told to put up with."""

from __future__ import annotations

from tailseal.api.conditions import ConditionType
from tailseal.api.reasons import Reason
from tailseal.cluster.port import Object
from tailseal.domain import clocks
from tailseal.reconcile.conditions import Fact
from tailseal.reconcile.context import Context
from tailseal.reconcile.measured import counted

_SHOWN = 3
_RELIEF = 0.8
"""Part of the limit below which a clock that was off is right again, so that one on the edge does not flap."""


def skewed(ctx: Context, obj: Object, allowed: int) -> Fact | None:
    """The condition, which is there only while a clock is off.

    Args:
        ctx: ports.
        obj: the IdentityProvider.
        allowed: `spec.tokens.clockSkew` in seconds.
    """
    metadata = obj["metadata"]
    conditions = obj.get("status", {}).get("conditions", ())
    said = any(entry["type"] == ConditionType.CLOCK_SKEW for entry in conditions)
    limit = allowed * _RELIEF if said else allowed
    found = []
    for replica in counted(ctx.replicas.of(metadata["namespace"], metadata["name"])):
        off = clocks.offset(replica.report) if replica.report is not None else 0.0
        if abs(off) > limit:
            found.append(f"{replica.name} is more than {_about(off)} {'ahead' if off > 0 else 'behind'}")
    if not found:
        return None
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    text = (
        f"clocks differ from the operator's: {', '.join(sorted(found)[:_SHOWN])}{more}; set the nodes' clocks: tokens "
        "of such a replica may be refused, and no key follows another while it cannot be believed"
    )
    return Fact(ConditionType.CLOCK_SKEW, status=True, reason=Reason.CLOCK_SKEW, message=text)


def _about(off: float) -> str:
    step = clocks.coarse(off)
    return clocks.text(step) if step else "a few seconds"
