"""Publish: brings every place of an IdentityProvider to what its ledger promises, each at its own pace.

What is published follows the ledger alone, which is written before workers know of a step: so a key is on its way to
readers before it could sign, and leaves when the ledger lets it go. What was seen is told to the issuer's planner.

Before keys are put at a place it is written down in a ConfigMap. A place that is taken out of the spec gets no new
keys; those that are there go as the ledger lets them go, revoked ones at once, and then the place is forgotten.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

from tailseal.api import meta
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.reasons import Reason
from tailseal.cluster import kinds
from tailseal.cluster.port import Ref
from tailseal.domain.publishing import Wish
from tailseal.domain.publishing.store import Bucket
from tailseal.domain.render.common import Provider
from tailseal.domain.rotation import IssuerLedger, LedgerError
from tailseal.reconcile.context import Context, Done, Key, Objects
from tailseal.reconcile.identityprovider.refs import copied
from tailseal.reconcile.identityprovider.spec import intent_of
from tailseal.reconcile.issuer_ledger import IssuerState, state_of
from tailseal.reconcile.publish.place import Confirm, Entry, Line, Place, Target, prefix_of, tend
from tailseal.reconcile.publish.record import Record, addressed, recorded, write_down
from tailseal.reconcile.publish.seen import cache_ttl, memory_of, said
from tailseal.reconcile.publish.withdrawal import explain, withdrawals

_CREDENTIALS = ("access_key_id", "secret_access_key")
_SESSION = "session_token"
_RETRY = 30.0


async def reconcile(ctx: Context, namespace: str, name: str) -> Done:
    """One look at every place of one provider that is due."""
    obj = ctx.objects.get(Ref(kinds.IDENTITY_PROVIDER, namespace, name))
    spec = intent_of(ctx.objects, obj).spec if obj is not None else None
    records = recorded(ctx.objects, namespace, name)
    if obj is None or not ((spec is not None and spec.publish) or records):
        ctx.memory.pop(Key("Publish", namespace, name), None)
        return Done()
    memory = memory_of(ctx, namespace, name)
    before = said(memory)
    provider = Provider(namespace, name, obj["metadata"]["uid"])
    try:
        state = _state(ctx.objects, namespace, name, spec.issuer) if spec is not None else None
        if spec is None or state is None:
            return await _withdraw(ctx, provider, records, "the spec, or the issuer's ledger, is not there to be read")
        return await _publish(ctx, provider, list(_entries(spec, state, records)), state)
    except LedgerError as error:
        return await _withdraw(ctx, provider, records, str(error))
    finally:
        if said(memory) != before:
            ctx.enqueue(Key("IdentityProvider", namespace, name))


async def _publish(ctx: Context, provider: Provider, entries: list[Entry], state: IssuerState) -> Done:
    """Bring every place to what the ledger promises."""
    memory = memory_of(ctx, provider.namespace, provider.name)
    await _write_down(ctx, provider, entries)
    for gone in memory.keys() - {entry.name for entry in entries}:
        del memory[gone]

    async def confirm() -> bool:
        return await _still(ctx, provider, state)

    await _tend_all(ctx, provider, memory, entries, confirm)
    await _forget(ctx, provider, entries, memory)
    return Done(after=max(0.1, min((place.due for place in memory.values()), default=0.0) - ctx.clock.now()))


async def _withdraw(ctx: Context, provider: Provider, records: list[Record], why: str) -> Done:
    """Take out what is revoked, where nothing else can be decided."""
    memory = memory_of(ctx, provider.namespace, provider.name)

    async def confirm() -> bool:
        return False

    await _tend_all(ctx, provider, memory, withdrawals(ctx, provider.namespace, records), confirm)
    explain(memory.values(), why)
    return Done(after=_RETRY)


async def _tend_all(
    ctx: Context, provider: Provider, memory: dict[str, Place], entries: Iterable[Entry], confirm: Confirm
) -> None:
    """All places at once and each to its end, also where one fails: the next run must not meet this one's rest."""
    looks = (_tend(ctx, provider, memory.setdefault(each.name, Place()), each, confirm) for each in entries)
    for error in await asyncio.gather(*looks, return_exceptions=True):
        if error is not None:
            raise error


async def _tend(ctx: Context, provider: Provider, place: Place, entry: Entry, confirm: Confirm) -> None:
    bucket = _bucket(ctx, provider.namespace, entry)
    if isinstance(bucket, Line):
        place.line, place.seen, place.due = bucket, None, ctx.clock.now() + _RETRY
        return
    await tend(place, replace(entry.target, bucket=bucket), ctx.outside, ctx.clock.now, confirm)


async def _still(ctx: Context, provider: Provider, state: IssuerState) -> bool:
    """Whether the ledger is at the API server what we planned from: what we know of it may be old."""
    live = await ctx.cluster.get(Ref(kinds.SECRET, provider.namespace, meta.issuer_secret(provider.name)))
    try:
        return live is not None and _promised(state_of(live).ledger) == _promised(state.ledger)
    except LedgerError:
        return False


def _promised(ledger: IssuerLedger) -> set[str]:
    return {key.kid for key in ledger.keys}


def _state(objects: Objects, namespace: str, provider: str, issuer: str) -> IssuerState | None:
    """The ledger; None while there is none, or none of this issuer.

    Raises:
        LedgerError: it cannot be read.
    """
    secret = objects.get(Ref(kinds.SECRET, namespace, meta.issuer_secret(provider)))
    if secret is None or not secret.get("data"):
        return None
    state = state_of(secret)
    return state if state.issuer == issuer else None


def _entries(spec: IdentityProviderSpec, state: IssuerState, records: list[Record]) -> Iterator[Entry]:
    """The places of the spec, then those that were and are not yet left."""
    # The salt is kept for ever and is no other cluster's; what is made of it here leads back to nothing.
    writer = hashlib.sha256(b"tailseal publish\0" + state.salt).hexdigest()[:16]
    wish = Wish(writer, tuple(dict(key.public_jwk) for key in state.ledger.keys), frozenset(state.ledger.revoked))
    present = set()
    for index, each in enumerate(spec.publish):
        store, url = each.object_store, each.public_url.rstrip("/")
        if store is not None:
            present.add(addressed(store))
        target = Target(
            name=each.name,
            issuer=spec.issuer,
            wish=wish,
            bucket=None,
            prefix=prefix_of(store),
            public_url=url,
            cache_ttl=cache_ttl(each, state.ledger.max_age),
            discovery=url == spec.issuer if each.discovery is None else each.discovery,
        )
        yield Entry(each.name, store, target, f"spec.publish[{index}].objectStore.credentialsSecretRef")
    for record in records:
        if addressed(record.store) not in present:
            left = replace(wish, adding=False)
            target = Target(record.name, spec.issuer, left, None, prefix_of(record.store), "", 0, False)
            yield Entry(record.former_name, record.store, target, "its credentialsSecretRef")


def _bucket(ctx: Context, namespace: str, entry: Entry) -> Bucket | Line | None:
    """Where to write, with credentials; a line where there are none that may be used."""
    store = entry.store
    if store is None:
        return None
    credentials = None
    if store.credentials_secret_ref is not None:
        name = store.credentials_secret_ref.name
        found = copied(ctx.objects, namespace, name, _CREDENTIALS, entry.reference, optional=(_SESSION,))
        if found.problems:
            problem = found.problems[0]
            return Line(status=False, reason=problem.reason, message=f"{problem.path}: {problem.message}")
        credentials = {file: content.decode(errors="replace").strip() for file, content in found.files.items()}
        for file, text in credentials.items():
            if not (text and text.isascii() and text.isprintable()):
                message = f"{entry.reference}: Secret {name}: {file} must have visible ASCII characters only"
                return Line(status=False, reason=Reason.REF_INVALID, message=message)
    elif namespace not in ctx.settings.ambient_credentials:
        text = (
            "without credentialsSecretRef the operator's own cloud identity is meant, and this installation does not "
            f"open it to namespace {namespace}: name a Secret, or start the operator with "
            f"--ambient-credentials={namespace}"
        )
        return Line(status=False, reason=Reason.REF_NOT_PERMITTED, message=text)
    return Bucket(
        bucket=store.bucket,
        region=store.region or "",
        endpoint=store.endpoint or "",
        path_style=bool(store.force_path_style),
        credentials=credentials,
    )


async def _write_down(ctx: Context, provider: Provider, entries: list[Entry]) -> None:
    """Remember where keys are, before any is put there."""
    places = [(entry.target.name, entry.store, entry.target.wish.writer) for entry in entries]
    await write_down(
        ctx, provider, [Record(name, store, writer) for name, store, writer in places if store is not None]
    )


async def _forget(ctx: Context, provider: Provider, entries: list[Entry], memory: dict[str, Place]) -> None:
    """Give up the former places where nothing of ours is left."""
    empty = {entry.name for entry in entries if not entry.target.wish.adding and memory[entry.name].left == frozenset()}
    if empty:
        await _write_down(ctx, provider, [entry for entry in entries if entry.name not in empty])
        for name in empty:
            del memory[name]
