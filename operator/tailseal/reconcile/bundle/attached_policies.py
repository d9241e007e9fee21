"""Gathers the TrustPolicies that may grant at a provider, as the shards that its bundle should hold."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from tailseal.api import meta
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.cluster import kinds
from tailseal.cluster.port import Object, Ref
from tailseal.domain import canonical
from tailseal.domain.bundle import build, model, versions
from tailseal.domain.policy.compile import CompiledPolicy, accepted
from tailseal.domain.tenancy import bounds
from tailseal.reconcile.bundle.attached import Version, attached, id_of, version_of
from tailseal.reconcile.bundle.memory import BundleMemory, Gathered, Placement, ShardContent, memory_of
from tailseal.reconcile.context import Context, Key, Objects


async def gather(ctx: Context, provider: Object, settings: model.Settings) -> Gathered:
    """What the volume should hold; only shards that something changed in are built anew.

    Args:
        ctx: the ports.
        provider: whose.
        settings: its own, with the client ids that are reserved.
    """
    metadata = provider["metadata"]
    memory = memory_of(ctx, metadata["namespace"], metadata["name"])
    spread, over = _spread(ctx.objects, provider, settings)
    about = canonical.digest(build.settings_file(settings)), settings.client_ids
    built: dict[int, ShardContent] = {}
    for number, policies in sorted(spread.items()):
        made_from = (about, tuple((id_of(policy), *version_of(policy)) for policy in policies))
        known = memory.shards.get(number)
        if known is not None and known.made_from == made_from:
            built[number] = known
            continue
        built[number] = _shard(policies, settings, made_from)
        await asyncio.sleep(0)  # thousands of policies are compiled at start: let others run in between
    memory.shards = built
    places: dict[str, Version | Placement] = dict.fromkeys(over, Placement.NO_ROOM)
    for shard in built.values():
        places |= {**shard.held, **dict.fromkeys(shard.refused, Placement.NO_ROOM)}
    memory.latest = Gathered(
        settings=build.settings_file(settings, readable(ctx, metadata["namespace"], metadata["name"])),
        shards={number: shard for number, shard in built.items() if shard.content},
        places=places,
        attached=sum(len(shard.held) for shard in built.values()),
        longest_ttl=max((shard.longest_ttl for shard in built.values()), default=0),
    )
    return memory.latest


async def latest(ctx: Context, provider: Object, spec: IdentityProviderSpec) -> Gathered:
    """What the controller `Bundle` last gathered; gathered now if it never did."""
    known = memory_of(ctx, provider["metadata"]["namespace"], provider["metadata"]["name"]).latest
    return known or await gather(ctx, provider, settings_of(ctx, provider, spec))


def readable(ctx: Context, namespace: str, name: str) -> int:
    """The version of settings that every replica of a provider reads: while one of a former release runs, its own."""
    found = ctx.objects.get(Ref(kinds.CONFIG_MAP, namespace, meta.policies_config_map(name))) or {}
    written = (found.get("data") or {}).get(model.SETTINGS_FILE, "")
    replicas = [replica for replica in ctx.replicas.of(namespace, name) if replica.ever_ready or replica.report]
    reads = (replica.report.reads if replica.report is not None else 0 for replica in replicas)
    return versions.lowest_reader(reads, written.encode())


def placement(ctx: Context, namespace: str, name: str, policy: Object) -> Placement:
    """Where the policy stands in the bundle that was last written for the provider `namespace/name`."""
    memory: BundleMemory | None = ctx.memory.get(Key("Bundle", namespace, name))
    place = memory.places.get(id_of(policy), Placement.ABSENT) if memory else Placement.ABSENT
    if isinstance(place, Placement):
        return place
    return Placement.HELD if place == version_of(policy) else Placement.ABSENT


def settings_of(ctx: Context, provider: Object, spec: IdentityProviderSpec) -> model.Settings:
    """What the provider's workers act on, and its policies are held against."""
    metadata = provider["metadata"]
    return build.settings_of(
        spec,
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        open_hosts=ctx.settings.open_hosts,
        extra_ca=ctx.settings.extra_ca,
        namespaces=ctx.objects.namespaces() or {},
    )


def record_of(policy: Object) -> model.PolicyRecord:
    """The policy as a shard holds it."""
    metadata = policy["metadata"]
    return model.PolicyRecord(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 1),
        spec=policy["spec"],
    )


def _spread(
    objects: Objects, provider: Object, settings: model.Settings
) -> tuple[dict[int, list[Object]], frozenset[str]]:
    """The provider's policies by shard, eldest first, and the ids of those beyond their namespace's number."""
    counted: dict[str, int] = defaultdict(int)
    spread: dict[int, list[Object]] = defaultdict(list)
    over = set()
    for policy in attached(
        objects, kinds.TRUST_POLICY, provider["metadata"]["namespace"], provider["metadata"]["name"]
    ):
        namespace, name = policy["metadata"]["namespace"], policy["metadata"]["name"]
        counted[namespace] += 1
        most = bounds.policy_quota(namespace, settings)
        if most is not None and counted[namespace] > most:
            over.add(id_of(policy))
        else:
            spread[build.shard_of(namespace, name)].append(policy)
    return spread, frozenset(over)


def _shard(policies: Sequence[Object], settings: model.Settings, made_from: object) -> ShardContent:
    records = []
    ttls: dict[str, int] = {}
    for policy in policies:
        record = record_of(policy)
        # Why one is refused, its own reconciler tells its owner.
        compiled = accepted(record, settings)
        if isinstance(compiled, CompiledPolicy):
            records.append(record)
            ttls[id_of(policy)] = compiled.longest_ttl
    content, refused = build.shard(records, settings.namespace)
    left_out = frozenset(record.id for record in refused)
    held = {id_of(policy): version_of(policy) for policy in policies if id_of(policy) in ttls.keys() - left_out}
    return ShardContent(made_from, content, held, left_out, max((ttls[name] for name in held), default=0))
