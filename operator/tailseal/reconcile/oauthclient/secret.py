"""The Secret of an OAuthClient's application: id, secret and endpoints, written beside the client, in its namespace.

Hashes and times of the secrets stand in an annotation of the same object, in the same write as the secret. Whoever can
change that can read the secret as well, so it is no weaker a place than the secret's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.port import Object
from tailseal.domain.clients.secrets import SecretLedger
from tailseal.domain.render.common import decoded, encoded
from tailseal.reconcile import owned, repairs
from tailseal.reconcile.bundle.attached_clients import read_ledger, secrets_of
from tailseal.reconcile.context import Context

MANAGER = "tailseal-oauthclient"

_REMEDY = "choose another spec.secretName"


@dataclass(frozen=True, slots=True)
class Held:
    """What the application was told so far.

    Args:
        obj: the Secret of the wanted name; None if there is none.
        secret: the client's secret; empty if there is none.
        ledger: what is known of secrets.
    """

    obj: Object | None
    secret: str
    ledger: SecretLedger


async def read(ctx: Context, client: Object, name: str) -> Held:
    """The Secret, or what stands in the one of a former name.

    Raises:
        NameTaken: an object that is not ours holds the name.
        Leaving: it is being deleted, or still belongs to a deleted client of the same name.
    """
    rendered = _rendered(client, name, {}, SecretLedger())
    present = await owned.find(ctx, rendered, remedy=_REMEDY)
    if present is not None:
        ctx.objects.put(present)  # it may have lost our label
        # Where a policy changes it in each write, that is no loss of the secret, which would be followed by another.
        meant = repairs.meant(ctx, rendered, present) or present
        return Held(present, _secret_in(meant), read_ledger(meant))
    for secret in secrets_of(ctx.objects, client):
        return Held(present, _secret_in(secret), read_ledger(secret))
    return Held(None, "", SecretLedger())


async def write(
    ctx: Context, client: Object, held: Held, name: str, data: Mapping[str, str], ledger: SecretLedger
) -> str:
    """Make the Secret hold exactly this, on top of exactly the version that was read; equal content is not written.

    Returns:
        what others put into it and no write takes out, in words that hold still; empty if there is nothing.

    Raises:
        Conflict: somebody else wrote first; plan again.
        ClusterError: whatever else the API server said.
    """
    wanted = _rendered(client, name, data, ledger)
    await owned.ensure(ctx, wanted, manager=MANAGER, exact=True, seen=held.obj, remedy=_REMEDY)
    return repairs.not_repaired(ctx, wanted)


async def sweep(ctx: Context, client: Object, keep: str) -> None:
    """Delete the client's Secrets of other names than `keep` (empty: all of them)."""
    for secret in list(secrets_of(ctx.objects, client)):
        metadata = secret["metadata"]
        if metadata["name"] == keep:
            continue
        repairs.give_up(ctx, _rendered(client, metadata["name"], {}, SecretLedger()))
        if "deletionTimestamp" not in metadata:
            await ctx.cluster.delete(kinds.ref(secret), uid=metadata["uid"])


def _secret_in(secret: Object) -> str:
    return decoded(secret.get("data")).get("client_secret", b"").decode(errors="replace")


def _rendered(client: Object, name: str, data: Mapping[str, str], ledger: SecretLedger) -> Object:
    metadata = client["metadata"]
    owner: dict[str, Any] = {
        "apiVersion": meta.API_VERSION,
        "kind": kinds.OAUTH_CLIENT.kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": {meta.MANAGED_BY: meta.MANAGER, meta.OAUTH_CLIENT_LABEL: metadata["name"]},
            "annotations": {meta.CLIENT_LEDGER_ANNOTATION: ledger.to_json()},
            "ownerReferences": [owner],
        },
        "type": "Opaque",
        "data": encoded({file: content.encode() for file, content in data.items()}),
    }
