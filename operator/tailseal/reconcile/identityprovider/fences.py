"""Whether the fences stand: asks in a dry run to do to our own objects what no fence lets us do.

RBAC cannot say "only what is marked as ours"; the chart's ValidatingAdmissionPolicies do. One that is missing, or whose
binding is, changes nothing that works, so nobody would notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tailseal.api.meta import MANAGED_BY, PROVIDER_LABEL
from tailseal.api.reasons import Reason
from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError
from tailseal.cluster.port import Ref
from tailseal.reconcile.conditions import Fact
from tailseal.reconcile.context import Context
from tailseal.reconcile.measured import memory_of

EVERY: Final = 600.0
"""Seconds after which an answer is asked for anew, at the next occasion."""

PROBE: Final[Mapping[str, Any]] = {"metadata": {"labels": {MANAGED_BY: "nobody"}}}
"""A patch that every fence refuses: it would give away an object of ours."""

FENCED: Final = (kinds.POD, kinds.DEPLOYMENT, kinds.CONFIG_MAP, kinds.ROLE)
"""One kind of each fence of the chart, and Roles, which a fence from before nodes had any does not know."""


async def missing(ctx: Context, namespace: str, provider: str) -> Fact | None:
    """The condition `Fenced`, which is there only while it is False.

    A kind of which there is no object yet is not judged; where we have no right to patch it, it needs no fence.
    """
    answers = memory_of(ctx, namespace, provider).fences
    for kind in FENCED:
        known = answers.get(kind.plural)
        if known is None or ctx.clock.now() - known[0] >= EVERY:
            found = next(iter(ctx.objects.select(kind, namespace, {PROVIDER_LABEL: provider})), None)
            if found is not None and (answer := await _ask(ctx, Ref(kind, namespace, found["metadata"]["name"]))):
                answers[kind.plural] = answer
    open_ = [kind.plural for kind in FENCED if not answers.get(kind.plural, (0.0, True))[1]]
    if not open_:
        return None
    text = (
        f"nothing but RBAC limits what the operator's account may do to {', '.join(open_)} here: install the "
        "ValidatingAdmissionPolicies of the chart (fence.*) with their bindings"
    )
    return Fact("Fenced", status=False, reason=Reason.NOT_FENCED, message=text)


async def _ask(ctx: Context, ref: Ref) -> tuple[float, bool] | None:
    try:
        return ctx.clock.now(), not await ctx.cluster.admits(ref, PROBE)
    except ClusterError:
        return None  # gone by now, or no answer: asked again next time
