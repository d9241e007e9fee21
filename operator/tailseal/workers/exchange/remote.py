"""Has a token signed outside of this process, unless trust changes meanwhile: what was signed then is thrown away."""

from __future__ import annotations

from collections.abc import Callable

from tailseal.tokens import refusals
from tailseal.tokens.issue import NeedSignature
from tailseal.tokens.outcomes import Answered, refuse
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.outbound.signing import SigningUnavailable
from tailseal.workers.common.runtime import Runtime


async def signed(
    runtime: Runtime, need: NeedSignature, snapshot: Snapshot | None, again: Callable[[], object]
) -> Answered | None:
    """The answer; None where the decision would be another by now.

    Args:
        runtime: the worker's ports.
        need: what is to be signed.
        snapshot: under which that was decided.
        again: decides once more.
    """
    try:
        signature = await runtime.remote.sign(need.signer, need.unsigned)
    except SigningUnavailable as error:
        return refuse(need.call, need.audit, refusals.unavailable(error.reason))
    if runtime.current() is not snapshot:
        anew = again()
        if not isinstance(anew, NeedSignature) or not anew.is_met_by(need):
            return None
    return need.finish(signature)
