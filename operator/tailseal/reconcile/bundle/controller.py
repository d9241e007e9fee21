"""Writes the volume `policies` of a provider's bundle: one ConfigMap a shard, one with settings and manifest.

The manifest commits. Shards are written before the manifest that names them, so that whoever sees a manifest finds
its shards already there; a shard that became empty is deleted only after a manifest that no longer names it. So the
last policy of a shard is refused as soon as the manifest arrives, and in between a worker keeps the last set that fits
together, for 30 s at most. Where one run brings removals and additions, shards that lose or change a policy are
committed first, with the settings, before those that only gain.

The clients' file goes with them: before the manifest that names it, and at once, whatever changes in it. Settings that
change what shards hold are committed before all of that, over what is there: a bound withdrawn is one write.

A shard that cannot be written holds up nobody else's: the manifest names it as it is if it would only gain, and else
leaves it out, so that it grants nothing.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from tailseal.api import meta
from tailseal.api.reasons import Reason
from tailseal.cluster import kinds
from tailseal.cluster.errors import Forbidden, Invalid
from tailseal.cluster.port import Ref
from tailseal.domain import canonical
from tailseal.domain.bundle import build, model
from tailseal.domain.render import bundle as render
from tailseal.domain.render.common import Provider, decoded
from tailseal.reconcile.bundle import attached_clients
from tailseal.reconcile.bundle import clients as bundle_clients
from tailseal.reconcile.bundle.attached import attached_versions
from tailseal.reconcile.bundle.attached_policies import gather, settings_of
from tailseal.reconcile.bundle.memory import BundleMemory, Gathered, ShardContent, memory_of
from tailseal.reconcile.conditions import Fact
from tailseal.reconcile.context import Context, Done, Key, Objects
from tailseal.reconcile.identityprovider.spec import intent_of
from tailseal.reconcile.owned import ensure, remove
from tailseal.reconcile.ownership import Leaving, NameTaken
from tailseal.reconcile.repairs import has_spoiled_files

MANAGER = "tailseal-bundle"

_CLIENTS = -1
"""The clients' file among numbers of shards."""

_RETRY = 60.0
"""Seconds after which a write that a person must clear the way for is tried again."""


async def reconcile(ctx: Context, namespace: str, name: str) -> Done:
    """Bring the volume `policies` of one provider to what its policies and settings say."""
    key = Key("Bundle", namespace, name)
    provider = ctx.objects.get(Ref(kinds.IDENTITY_PROVIDER, namespace, name))
    if provider is None:
        ctx.memory.pop(key, None)
        return Done()
    spec = intent_of(ctx.objects, provider).spec
    if spec is None:
        await _withdraw(ctx, Provider(namespace, name, provider["metadata"]["uid"]))
        return Done()
    memory = memory_of(ctx, namespace, name)
    settings = settings_of(ctx, provider, spec)
    clients = attached_clients.gather(ctx, provider, settings, memory.clients)
    memory.clients = clients
    gathered = await gather(ctx, provider, settings.model_copy(update={"client_ids": clients.chosen}))
    failed: dict[int, Exception] = {}
    try:
        failed = await _write(ctx, Provider(namespace, name, provider["metadata"]["uid"]), gathered, clients.content)
    except (NameTaken, Forbidden, Invalid) as error:
        _blame(ctx, memory, key, error)
        return Done(after=_RETRY)
    _announce(ctx, memory, gathered, failed)
    if _CLIENTS not in failed:
        bundle_clients.announce(ctx, memory, clients)
    memory.problem = None
    for reason in failed.values():
        if isinstance(reason, Leaving):
            raise reason
        _blame(ctx, memory, key, reason)
    return Done(after=_RETRY if failed or has_spoiled_files(ctx, namespace, name) else None)


def _blame(ctx: Context, memory: BundleMemory, key: Key, error: Exception) -> None:
    """Have the provider's status say why not everything could be written."""
    reason = Reason.NAME_TAKEN if isinstance(error, NameTaken) else Reason.FORBIDDEN
    memory.problem = Fact("Programmed", status=False, reason=reason, message=str(error), stalled=True)
    ctx.enqueue(Key("IdentityProvider", key.namespace, key.name))


async def _withdraw(ctx: Context, provider: Provider) -> None:
    """Take out of a written bundle what was deleted or changed since.

    Without a spec that we can read nothing new can be judged, but workers may serve what an earlier one allowed.
    """
    settings, present = _present_manifest(ctx.objects, provider)
    named = _named(present)
    if not named and not present.clients:
        return
    current = attached_versions(ctx.objects, kinds.TRUST_POLICY, provider.namespace, provider.name)
    files = {}
    for number, content in _present_shards(ctx.objects, provider):
        records = _records(content) if canonical.digest(content) == named.get(number) else []
        kept = [record for record in records if current.get(record.id) == (record.uid, record.generation)]
        if kept:
            files[number] = content if len(kept) == len(records) else build.shard(kept)[0]
    clients = bundle_clients.withdrawn(ctx.objects, provider, present.clients or "")
    await _commit(ctx, provider, settings, files, sorted(files), clients)


def _records(content: bytes) -> list[model.PolicyRecord]:
    """The policies in a shard's file; none if it cannot be read, as no worker can either."""
    try:
        shard = model.Shard.model_validate_json(gzip.decompress(content))
        return [model.PolicyRecord.model_validate(record) for record in shard.policies]
    except (OSError, EOFError, zlib.error, ValueError):
        return []


async def _write(ctx: Context, provider: Provider, gathered: Gathered, clients: bytes) -> dict[int, Exception]:
    """Write what differs, in the order that the module's docstring explains; which shards could not be written."""
    present = dict(_present_shards(ctx.objects, provider))
    settings, manifest = _present_manifest(ctx.objects, provider)
    named = _named(manifest)
    wanted = {number: shard.content for number, shard in gathered.shards.items()}
    gone = sorted(present.keys() - wanted.keys())
    changed = [number for number in wanted if present.get(number) != wanted[number]]
    later = [
        number for number in changed if not _urgent(present.get(number), named.get(number), gathered.shards[number])
    ]
    urgent = [number for number in changed if number not in later]
    if settings != gathered.settings and named and (changed or gone):
        await _narrow(ctx, provider, gathered.settings, present, manifest)
        settings = gathered.settings
    if later and named and (urgent or gone or settings != gathered.settings):
        files = {number: present[number] if number in later else wanted[number] for number in wanted if number in named}
        await _commit(ctx, provider, gathered.settings, files, urgent, clients)
    kept = {number: present[number] for number in later if number in named}
    failed = await _commit(ctx, provider, gathered.settings, wanted, sorted(wanted), clients, kept)
    await bundle_clients.clear(ctx, provider, clients)
    for number in gone:
        await remove(
            ctx,
            Ref(kinds.CONFIG_MAP, provider.namespace, meta.shard_config_map(provider.name, number)),
            provider=provider.name,
        )
    return failed


async def _narrow(
    ctx: Context, provider: Provider, settings: bytes, present: Mapping[int, bytes], manifest: model.Manifest
) -> None:
    """New settings over shards as they are: workers hold these against bounds, so one write takes away all it can."""
    named = _named(manifest)
    files = {number: content for number, content in present.items() if canonical.digest(content) == named.get(number)}
    clients = bundle_clients.present(ctx.objects, provider, manifest.clients or "")
    await _commit(ctx, provider, settings, files, (), clients)


async def _commit(
    ctx: Context,
    provider: Provider,
    settings: bytes,
    files: Mapping[int, bytes],
    numbers: Sequence[int],
    clients: bytes,
    kept: Mapping[int, bytes] | None = None,
) -> dict[int, Exception]:
    """Write shards, then the manifest.

    Args:
        ctx: the ports.
        provider: whose.
        settings: `settings.json`.
        files: every shard that the manifest is to name.
        numbers: those to write.
        clients: the clients' file.
        kept: what a shard goes on holding if it cannot be written; without that it is left out.
    """
    named, failed = dict(files), dict[int, Exception]()
    for number in numbers:
        try:
            await ensure(ctx, render.shard(provider, number, files[number]), manager=MANAGER)
        except (NameTaken, Forbidden, Invalid, Leaving) as error:
            failed[number] = error
            del named[number]
            if kept and number in kept:
                named[number] = kept[number]
    _, manifest = _present_manifest(ctx.objects, provider)
    clients, obstacle = await bundle_clients.write(ctx, provider, clients, manifest.clients or "")
    if obstacle is not None:
        failed[_CLIENTS] = obstacle
    await ensure(ctx, render.policies(provider, settings, build.manifest(settings, named, clients)), manager=MANAGER)
    return failed


def _present_shards(objects: Objects, provider: Provider) -> Iterator[tuple[int, bytes]]:
    names = {meta.shard_config_map(provider.name, number): number for number in range(meta.SHARDS)}
    for found in objects.select(kinds.CONFIG_MAP, provider.namespace, {meta.PROVIDER_LABEL: provider.name}):
        number = names.get(found["metadata"]["name"])
        if number is not None:
            yield number, decoded(found.get("binaryData")).get(model.shard_file(number), b"")


def _present_manifest(objects: Objects, provider: Provider) -> tuple[bytes, model.Manifest]:
    """`settings.json` and `manifest.json` as they are there; a manifest that names nothing where it cannot be read."""
    found = objects.get(Ref(kinds.CONFIG_MAP, provider.namespace, meta.policies_config_map(provider.name)))
    data: dict[str, str] = (found or {}).get("data") or {}
    try:
        manifest = model.Manifest.model_validate_json(data.get(model.MANIFEST_FILE, "{}"))
        _named(manifest)
    except ValueError:
        manifest = model.Manifest(settings="")
    return data.get(model.SETTINGS_FILE, "").encode(), manifest


def _named(manifest: model.Manifest) -> dict[int, str]:
    return {int(number): digest for number, digest in manifest.shards.items()}


def _urgent(present: bytes | None, named: str | None, wanted: ShardContent) -> bool:
    """Whether writing the shard takes something away or repairs it, rather than only adding."""
    if named is None:
        return False
    if present is None or canonical.digest(present) != named:
        return True
    try:
        records: list[dict[str, Any]] = json.loads(gzip.decompress(present))["policies"]
        return any(
            wanted.held.get(f"{record['namespace']}/{record['name']}") != (record["uid"], record["generation"])
            for record in records
        )
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
        return True


def _announce(ctx: Context, memory: BundleMemory, gathered: Gathered, failed: Collection[int]) -> None:
    """Wake the policies whose place in the bundle changed: their status tells of it."""
    former, present = memory.places, gathered.places
    if failed:
        present = {
            policy: place for policy, place in present.items() if build.shard_of(*policy.split("/", 1)) not in failed
        }
    memory.places = present
    if former != present:
        for policy in sorted(former.keys() | present.keys()):
            if former.get(policy) != present.get(policy):
                ctx.enqueue(Key("TrustPolicy", *policy.split("/", 1)))
