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
from tailseal.cluster.port import Object, Ref
from tailseal.domain.clients.secrets import SecretLedger
from tailseal.domain.render import drift
from tailseal.domain.render.common import decoded, encoded
from tailseal.reconcile.attached_clients import owns, read_ledger, secrets_of
from tailseal.reconcile.context import Context
from tailseal.reconcile.issuer_ledger import NameTaken
from tailseal.reconcile.owned import Leaving

MANAGER = "tailseal-oauthclient"


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
    ref = Ref(kinds.SECRET, client["metadata"]["namespace"], name)
    # The store sees only what carries our label, so an absent object may be somebody else's: look before creating.
    present = ctx.objects.get(ref)
    if present is None:
        present = await ctx.cluster.get(ref)
        if present is not None and owns(client, present):
            ctx.objects.put(present)
    if present is not None:
        _refuse_foreign(client, present)
    for secret in ([present] if present is not None else []) or secrets_of(ctx.objects, client):
        return Held(present, _secret_in(secret), read_ledger(secret))
    return Held(None, "", SecretLedger())


async def write(
    ctx: Context, client: Object, held: Held, name: str, data: Mapping[str, str], ledger: SecretLedger
) -> None:
    """Make the Secret hold exactly this, on top of exactly the version that was read; equal content is not written.

    Raises:
        Conflict: somebody else wrote first; plan again.
        ClusterError: whatever else the API server said.
    """
    wanted, present = _rendered(client, name, data, ledger), held.obj
    ref = kinds.ref(wanted)
    if present is not None and drift.must_be_replaced(wanted, present):
        await ctx.cluster.delete(ref, uid=present["metadata"]["uid"])
        present = None
    if present is not None and (patch := drift.foreign(wanted, present)) is not None:
        version = {"metadata": {"resourceVersion": present["metadata"]["resourceVersion"]}}
        present = await ctx.cluster.merge(ref, {**version, **patch})
        ctx.objects.put(present)
    if present is not None and not drift.differs(wanted, present):
        return
    seen = {key: present["metadata"][key] for key in ("resourceVersion", "uid")} if present is not None else {}
    written = await ctx.cluster.apply({**wanted, "metadata": {**wanted["metadata"], **seen}}, manager=MANAGER)
    ctx.objects.put(written)


async def sweep(ctx: Context, client: Object, keep: str) -> None:
    """Delete the client's Secrets of other names than `keep` (empty: all of them)."""
    for secret in list(secrets_of(ctx.objects, client)):
        metadata = secret["metadata"]
        if metadata["name"] != keep and "deletionTimestamp" not in metadata:
            await ctx.cluster.delete(kinds.ref(secret), uid=metadata["uid"])


def _refuse_foreign(client: Object, present: Object) -> None:
    name, what = client["metadata"]["name"], f"Secret {present['metadata']['name']}"
    marks = {meta.MANAGED_BY: meta.MANAGER, meta.OAUTH_CLIENT_LABEL: name}.items()
    if not (owns(client, present) or marks <= present["metadata"].get("labels", {}).items()):
        text = f"{what} is there but not ours: delete or rename it, or choose another spec.secretName"
        raise NameTaken(text)
    if not owns(client, present) or "deletionTimestamp" in present["metadata"]:
        raise Leaving(f"{what} is being deleted with its former owner")


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
