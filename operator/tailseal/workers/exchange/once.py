"""Takes what counts once, before anything is given for it."""

from __future__ import annotations

from tailseal.state.protocol import StateUnavailable
from tailseal.tokens import refusals
from tailseal.tokens.once import NeedOnce
from tailseal.tokens.outcomes import Answered, Call, refuse
from tailseal.workers.common.runtime import Runtime


async def taken(runtime: Runtime, need: NeedOnce) -> Call | Answered:
    """The request to go on with, or the refusal where somebody was first or nobody can say.

    Args:
        runtime: the worker's ports.
        need: what is to be taken.
    """
    try:
        ours = await runtime.once.claim(need.keys)
    except StateUnavailable as error:
        return refuse(need.call, need.audit, refusals.unavailable(error.fault))
    if ours:
        return need.taken
    need.call.watch.replayed()
    return refuse(need.call, need.audit, need.replayed)
