"""Gathers the TrustPolicies that may grant at a provider, as the shards that its bundle should hold."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.cluster import kinds
from tailseal.cluster.port import Object
from tailseal.domain import canonical
from tailseal.domain.bundle import build, model
from tailseal.domain.policy.compile import CompiledPolicy, accepted
from tailseal.domain.tenancy import bounds
from tailseal.reconcile.conditions import Fact
from tailseal.reconcile.context import Context, Key, Objects

if TYPE_CHECKING:
    from tailseal.reconcile.bundle.attached_clients import ClientsContent
    from tailseal.reconcile.bundle.attached_clients import Version as ClientVersion

Version = tuple[str, int]
"""uid and generation."""


class Placement(StrEnum):
    """Where a policy stands in the written bundle."""

    HELD = "Held"
    """The written shards hold exactly this generation of it."""
    NO_ROOM = "NoRoom"
    """Its shard, or its namespace's `maxPolicies`, is full."""
    ABSENT = "Absent"
    """It was refused, or has not been written yet."""


@dataclass(frozen=True, slots=True)
class ShardContent:
    """One shard as it should be.

    Args:
        made_from: settings and generations that it follows from: while they are the same, so is the rest.
        content: its file.
        held: uid and generation of each policy in it, by id.
        refused: ids of policies that it has no room for.
        longest_ttl: longest lifetime in seconds of any token that its policies let us sign.
    """

    made_from: object
    content: bytes
    held: Mapping[str, Version]
    refused: frozenset[str]
    longest_ttl: int


@dataclass(slots=True)
class BundleMemory:
    """What is kept between runs, so that one changed policy costs one shard's work.

    Args:
        shards: the last built content of each shard.
        latest: what was last gathered.
        places: as in `Gathered`, as of the last complete write.
        problem: why writing fails, if it does.
        clients: the last built content of the clients' file.
        client_places: where clients stand, as of the last complete write.
    """

    shards: dict[int, ShardContent] = field(default_factory=dict)
    latest: Gathered | None = None
    places: Mapping[str, Version | Placement] = field(default_factory=dict)
    problem: Fact | None = None
    clients: ClientsContent | None = None
    client_places: Mapping[str, ClientVersion | Placement] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gathered:
    """The wanted volume `policies`.

    Args:
        settings: `settings.json`.
        shards: those that are not empty, by number.
        places: by id, the version of each policy that they hold, or that there is no room for it.
        attached: how many policies they hold.
        longest_ttl: as in `ShardContent`, of all.
    """

    settings: bytes
    shards: Mapping[int, ShardContent]
    places: Mapping[str, Version | Placement]
    attached: int
    longest_ttl: int


async def gather(ctx: Context, provider: Object, settings: model.Settings) -> Gathered:
    """What the volume should hold; only shards that something changed in are built anew.

    Args:
        ctx: the ports.
        provider: whose.
        settings: its own, with the client ids that are reserved.
    """
    metadata = provider["metadata"]
    memory = memory_of(ctx, metadata["namespace"], metadata["name"])
    written = build.settings_file(settings)
    spread, over = _spread(ctx.objects, provider, settings)
    about = canonical.digest(written), settings.client_ids
    built: dict[int, ShardContent] = {}
    for number, policies in sorted(spread.items()):
        made_from = (about, tuple((_id(policy), *_version(policy)) for policy in policies))
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
        settings=written,
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


def placement(ctx: Context, namespace: str, name: str, policy: Object) -> Placement:
    """Where the policy stands in the bundle that was last written for the provider `namespace/name`."""
    memory: BundleMemory | None = ctx.memory.get(Key("Bundle", namespace, name))
    place = memory.places.get(_id(policy), Placement.ABSENT) if memory else Placement.ABSENT
    if isinstance(place, Placement):
        return place
    return Placement.HELD if place == _version(policy) else Placement.ABSENT


def problem(ctx: Context, namespace: str, name: str) -> Fact | None:
    """Why the volume cannot be written, if so: for the provider's status."""
    return memory_of(ctx, namespace, name).problem


def provider_of(policy: Object) -> tuple[str, str]:
    """Namespace and name of the IdentityProvider that a TrustPolicy or OAuthClient names."""
    reference = policy.get("spec", {}).get("identityProviderRef", {})
    return reference.get("namespace") or policy["metadata"]["namespace"], reference.get("name", "")


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


def memory_of(ctx: Context, namespace: str, name: str) -> BundleMemory:
    """What the controller `Bundle` remembers of the provider."""
    memory: BundleMemory = ctx.memory.setdefault(Key("Bundle", namespace, name), BundleMemory())
    return memory


def attached_versions(objects: Objects, namespace: str, name: str) -> dict[str, Version]:
    """The present version, by id, of every policy that names the provider, whether it may grant there or not."""
    return {_id(policy): _version(policy) for policy in _attached(objects, namespace, name)}


def _attached(objects: Objects, namespace: str, name: str) -> list[Object]:
    return [
        policy
        for policy in objects.select(kinds.TRUST_POLICY)
        if provider_of(policy) == (namespace, name) and "deletionTimestamp" not in policy["metadata"]
    ]


def _id(policy: Object) -> str:
    return f"{policy['metadata']['namespace']}/{policy['metadata']['name']}"


def _version(policy: Object) -> Version:
    return policy["metadata"]["uid"], policy["metadata"].get("generation", 1)


def _seniority(policy: Object) -> tuple[str, str]:
    return policy["metadata"].get("creationTimestamp", ""), _id(policy)


def _spread(
    objects: Objects, provider: Object, settings: model.Settings
) -> tuple[dict[int, list[Object]], frozenset[str]]:
    """The provider's policies by shard, eldest first, and the ids of those beyond their namespace's number."""
    attached = _attached(objects, provider["metadata"]["namespace"], provider["metadata"]["name"])
    attached.sort(key=_seniority)
    counted: dict[str, int] = defaultdict(int)
    spread: dict[int, list[Object]] = defaultdict(list)
    over = set()
    for policy in attached:
        namespace, name = policy["metadata"]["namespace"], policy["metadata"]["name"]
        counted[namespace] += 1
        most = bounds.policy_quota(namespace, settings)
        if most is not None and counted[namespace] > most:
            over.add(_id(policy))
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
            ttls[_id(policy)] = compiled.longest_ttl
    content, refused = build.shard(records, settings.namespace)
    left_out = frozenset(f"{record.namespace}/{record.name}" for record in refused)
    held = {_id(policy): _version(policy) for policy in policies if _id(policy) in ttls.keys() - left_out}
    return ShardContent(made_from, content, held, left_out, max((ttls[name] for name in held), default=0))
