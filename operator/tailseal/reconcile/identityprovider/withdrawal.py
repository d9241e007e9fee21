"""Takes revoked keys from the workers where nothing else can be decided: no readable issuer's ledger, or no spec.

Without the ledger nobody knows what verifiers hold, so nothing is added and no other key signs. A revocation needs no
such knowledge. When the ledger is back, its planner finds the same ids revoked by their SigningKeys.
"""

from __future__ import annotations

from collections.abc import Iterator

from tailseal.api import meta
from tailseal.api.reasons import Reason
from tailseal.cluster import kinds
from tailseal.cluster.port import Object
from tailseal.domain.bundle import narrow
from tailseal.domain.render import bundle as render
from tailseal.domain.render.common import Provider
from tailseal.domain.rotation import LedgerError, OfferedKey, offers
from tailseal.reconcile.context import Context, Key, Objects
from tailseal.reconcile.identityprovider.refs import files_of
from tailseal.reconcile.owned import ensure
from tailseal.reconcile.signingkey.inputs import revoked_ids


async def withdraw(ctx: Context, obj: Object, provider: Provider, *, manager: str) -> None:
    """Write the signing Secret without what is revoked by now, if there is any.

    Raises:
        Conflict: somebody else wrote first; reconcile again.
        NameTaken, Leaving, ClusterError: as `ensure` does.
    """
    files = files_of(ctx.objects, provider.namespace, meta.signing_secret(provider.name))
    gone = narrow.key_ids(files) & revoked_ids_of(ctx.objects, provider.namespace)
    if not gone:
        return
    await ensure(ctx, render.signing(provider, narrow.without(files, gone)), manager=manager, exact=True)
    for kid in sorted(gone):
        message = f"key {kid} is revoked: not published, not signed with any more; nothing else could be decided"
        await ctx.recorder.event(obj, warning=True, reason=Reason.KEY_REVOKED, message=message)
    ctx.enqueue(Key("Publish", provider.namespace, provider.name))


def revoked_ids_of(objects: Objects, namespace: str) -> frozenset[str]:
    """What the namespace's SigningKeys revoke, by spec or ledger; none revokes what another has."""
    revoked = {
        (kid, obj["metadata"]["name"])
        for obj in objects.select(kinds.SIGNING_KEY, namespace)
        for kid in revoked_ids(obj)
    }
    offered = list(_offered(objects, namespace))
    revoked |= {(key.kid, key.source) for key in offered if key.revoked}
    owners = {key.kid: key.source for key in offered if not key.revoked}
    return frozenset(kid for kid, source in revoked if owners.get(kid, source) == source)


def _offered(objects: Objects, namespace: str) -> Iterator[OfferedKey]:
    for secret in objects.select(kinds.SECRET, namespace):
        if meta.SIGNING_KEY_LABEL in secret["metadata"].get("labels", {}):
            try:
                yield from offers(secret).keys
            except LedgerError:
                continue  # its SigningKey says so; what its spec revokes counts all the same
