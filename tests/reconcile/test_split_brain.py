"""Two operators at once, by force: whoever planned from the past writes nothing over what is newer."""

from __future__ import annotations

import pytest

from fakes.provider import NS, provider, signing, signing_key, world
from tailseal.api import meta
from tailseal.api.times import format_time
from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError, Conflict
from tailseal.cluster.port import Ref


async def test_keys_are_not_handed_out_over_a_secret_that_another_operator_wrote_meanwhile() -> None:
    """He wrote between our ledger and our signing Secret, and our watch has told us by then."""
    seen = world(signing_key(), provider())
    await seen.converge()
    await seen.run_for(600)
    text = {meta.ROTATE_ANNOTATION: format_time(seen.clock.now())}
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["metadata"].update(annotations=text))
    await seen.reconcile("SigningKey", NS, "corp")

    def meanwhile(verb: str, ref: Ref) -> ClusterError | None:
        if (verb, ref.name) == ("apply", "corp-issuer"):
            seen.cluster.user_edit(kinds.SECRET, NS, "corp-signing", lambda obj: obj["metadata"].update(annotations={}))
        return None

    seen.cluster.refuse = meanwhile
    before = signing(seen)
    with pytest.raises(Conflict):
        await seen.reconcile("IdentityProvider", NS, "corp")
    assert signing(seen) == before
    seen.cluster.refuse = lambda _verb, _ref: None
    await seen.run_for(600)
    assert signing(seen)["active"] != before["active"]
