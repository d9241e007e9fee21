"""What the controller `Bundle` keeps between runs, so that one changed policy costs one shard's work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tailseal.domain.bundle import model
from tailseal.reconcile.bundle.attached import Version
from tailseal.reconcile.conditions import Fact
from tailseal.reconcile.context import Context, Key

ClientVersion = tuple[str, int, tuple[model.ClientSecret, ...]]
"""uid, generation and hashes."""


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


@dataclass(frozen=True, slots=True)
class ClientsContent:
    """The clients' file as it should be.

    Args:
        made_from: what it follows from: while that is the same, so is the rest.
        content: of the file; empty if there are no clients.
        places: by id, the version that it holds, or that there is no room for it.
        chosen: client ids of those that it holds, but for ids that are made from names.
        admissions: of each client that is let in, by id; see `domain.clients.admission`.
    """

    made_from: object = None
    content: bytes = b""
    places: Mapping[str, ClientVersion | Placement] = field(default_factory=dict)
    chosen: frozenset[str] = frozenset()
    admissions: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class BundleMemory:
    """What is kept of one provider.

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


def memory_of(ctx: Context, namespace: str, name: str) -> BundleMemory:
    """What the controller `Bundle` remembers of the provider."""
    memory: BundleMemory = ctx.memory.setdefault(Key("Bundle", namespace, name), BundleMemory())
    return memory
