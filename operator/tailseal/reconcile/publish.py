"""Publish: brings every place of an IdentityProvider to what its ledger promises, each at its own pace.

What is published follows the ledger alone, which is written before workers know of a step: so a key is on its way to
readers before it could sign, and leaves when the ledger lets it go. What was seen is told to the issuer's planner.

Before keys are put at a place it is written down in a ConfigMap. A place that is taken out of the spec gets no new
keys; those that are there go as the ledger lets them go, revoked ones at once, and then the place is forgotten.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tailseal.api import meta
from tailseal.api.findings import SpecError
from tailseal.api.identityprovider import IdentityProviderSpec, ObjectStore
from tailseal.api.parse import parse_spec
from tailseal.api.reasons import Reason
from tailseal.cluster import kinds
from tailseal.cluster.port import Ref
from tailseal.domain import canonical
from tailseal.domain.publishing import Wish
from tailseal.domain.publishing.store import Bucket
from tailseal.domain.render import bundle as render
from tailseal.domain.render.common import Provider, decoded
from tailseal.domain.rotation import IssuerLedger, LedgerError
from tailseal.reconcile.context import Context, Done, Key, Objects
from tailseal.reconcile.issuer_ledger import IssuerState, state_of
from tailseal.reconcile.owned import ensure, remove
from tailseal.reconcile.provider_refs import copied
from tailseal.reconcile.provider_spec import intent_of
from tailseal.reconcile.publish_place import Line, Place, Target, addressed, tend
from tailseal.reconcile.publish_seen import cache_ttl, memory_of, said

MANAGER = "tailseal-publish"

_CREDENTIALS = ("access_key_id", "secret_access_key")
_SESSION = "session_token"
_RETRY = 30.0


@dataclass(frozen=True, slots=True)
class _Entry:
    """A place by the spec, or one that was.

    Args:
        name: in status.
        store: as a manifest has it; None: nothing is written.
        target: what is wanted there, without bucket.
        reference: path of the credentials' reference.
    """

    name: str
    store: ObjectStore | None
    target: Target
    reference: str


async def reconcile(ctx: Context, namespace: str, name: str) -> Done:
    """One look at every place of one provider that is due."""
    key = Key("Publish", namespace, name)
    obj = ctx.objects.get(Ref(kinds.IDENTITY_PROVIDER, namespace, name))
    spec = intent_of(ctx.objects, obj).spec if obj is not None else None
    former = _former(ctx.objects, namespace, name)
    if obj is None or spec is None or not (spec.publish or former):
        ctx.memory.pop(key, None)
        return Done()
    memory = memory_of(ctx, namespace, name)
    before = said(memory)
    provider = Provider(namespace, name, obj["metadata"]["uid"])
    try:
        state = _state(ctx.objects, namespace, name, spec.issuer)
        entries = list(_entries(spec, state, former)) if state else []
    except LedgerError as error:
        for place in memory.values():
            place.line = Line(status=None, reason=Reason.LEDGER_UNREADABLE, message=str(error))
        state, entries = None, []
    if state is None:
        return Done(after=_RETRY)
    await _write_down(ctx, provider, entries)
    for gone in memory.keys() - {entry.name for entry in entries}:
        del memory[gone]
    try:
        await asyncio.gather(
            *(_tend(ctx, provider, memory.setdefault(each.name, Place()), each, state) for each in entries)
        )
        await _forget(ctx, provider, entries, memory)
    finally:
        if said(memory) != before:
            ctx.enqueue(Key("IdentityProvider", namespace, name))
    return Done(after=max(0.1, min((place.due for place in memory.values()), default=0.0) - ctx.clock.now()))


async def _tend(ctx: Context, provider: Provider, place: Place, entry: _Entry, state: IssuerState) -> None:
    bucket = _bucket(ctx, provider.namespace, entry)
    if isinstance(bucket, Line):
        place.line, place.seen, place.due = bucket, None, ctx.clock.now() + _RETRY
        return

    async def confirm() -> bool:
        return await _still(ctx, provider, state)

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


def _entries(spec: IdentityProviderSpec, state: IssuerState, former: list[dict[str, Any]]) -> Iterator[_Entry]:
    """The places of the spec, then those that were and are not yet left."""
    # The salt is kept for ever and is no other cluster's; what is made of it here leads back to nothing.
    writer = hashlib.sha256(b"tailseal publish\0" + state.salt).hexdigest()[:16]
    wish = Wish(writer, tuple(dict(key.public_jwk) for key in state.ledger.keys), frozenset(state.ledger.revoked))
    present = set()
    for index, each in enumerate(spec.publish):
        store, url = each.object_store, each.public_url.rstrip("/")
        if store is not None:
            present.add(addressed(store.document()))
        target = Target(
            name=each.name,
            issuer=spec.issuer,
            wish=wish,
            bucket=None,
            prefix=_prefix(store),
            public_url=url,
            cache_ttl=cache_ttl(each, state.ledger.max_age),
            discovery=url == spec.issuer if each.discovery is None else each.discovery,
        )
        yield _Entry(each.name, store, target, f"spec.publish[{index}].objectStore.credentialsSecretRef")
    for record in former:
        if addressed(record["store"]) in present:
            continue
        store = parse_spec(ObjectStore, record["store"])
        digest = canonical.digest(canonical.dumps(addressed(record["store"]))).removeprefix("sha256:")[:8]
        target = Target(record["name"], spec.issuer, replace(wish, adding=False), None, _prefix(store), "", 0, False)
        yield _Entry(f"{record['name']} (former {digest})", store, target, "its credentialsSecretRef")


def _prefix(store: ObjectStore | None) -> str:
    key = (store.key or "").strip("/") if store else ""
    return f"{key}/" if key else ""


def _bucket(ctx: Context, namespace: str, entry: _Entry) -> Bucket | Line | None:
    """Where to write, with credentials; a line where there are none that may be used."""
    store = entry.store
    if store is None:
        return None
    credentials = None
    if store.credentials_secret_ref is not None:
        name = store.credentials_secret_ref.name
        found = copied(ctx.objects, namespace, name, _CREDENTIALS, entry.reference)
        if found.problems:
            problem = found.problems[0]
            return Line(status=False, reason=problem.reason, message=f"{problem.path}: {problem.message}")
        secret = ctx.objects.get(Ref(kinds.SECRET, namespace, name)) or {}
        session = decoded(secret.get("data")).get(_SESSION)
        files = {**found.files, **({_SESSION: session} if session else {})}
        credentials = {file: content.decode(errors="replace").strip() for file, content in files.items()}
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


def _former(objects: Objects, namespace: str, provider: str) -> list[dict[str, Any]]:
    """The places that were written down; what cannot be read is forgotten, and its keys are kept where they are."""
    found = objects.get(Ref(kinds.CONFIG_MAP, namespace, meta.publish_config_map(provider)))
    try:
        records = json.loads(((found or {}).get("data") or {}).get("places.json", "[]"))
        for record in records:
            parse_spec(ObjectStore, record["store"])
            str.encode(record["name"])
    except (ValueError, KeyError, TypeError, SpecError):
        return []
    return list(records)


async def _write_down(ctx: Context, provider: Provider, entries: list[_Entry]) -> None:
    """Remember where keys are, before any is put there."""
    records = [
        {"name": entry.target.name, "store": entry.store.document()} for entry in entries if entry.store is not None
    ]
    if records:
        await ensure(ctx, render.places(provider, canonical.dumps(records)), manager=MANAGER)
    else:
        await remove(
            ctx,
            Ref(kinds.CONFIG_MAP, provider.namespace, meta.publish_config_map(provider.name)),
            provider=provider.name,
        )


async def _forget(ctx: Context, provider: Provider, entries: list[_Entry], memory: dict[str, Place]) -> None:
    """Give up the former places where nothing of ours is left."""
    empty = {entry.name for entry in entries if not entry.target.wish.adding and memory[entry.name].left == frozenset()}
    if empty:
        await _write_down(ctx, provider, [entry for entry in entries if entry.name not in empty])
        for name in empty:
            del memory[name]
