"""Tells the owners of a namespace where one of its policies stands in the way of another: within the namespace only.

What policies of other namespaces do is nobody's business here; `tailseal lint` shows it to whoever has all of them.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tailseal.api.conditions import ConditionType
from tailseal.api.reasons import Reason
from tailseal.cluster import kinds
from tailseal.cluster.port import Object, Ref
from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.compile import CompiledPolicy, accepted
from tailseal.domain.policy.review import overlap
from tailseal.reconcile.bundle.attached import Version, provider_of, version_of
from tailseal.reconcile.bundle.attached_policies import record_of
from tailseal.reconcile.conditions import Fact
from tailseal.reconcile.context import Context, Key
from tailseal.reconcile.served import remembered_settings

MOST: Final = 200
"""Policies of a namespace that are compared; of more nothing is said here."""

NEAR: Final = 16
"""Others that each of them is compared with: whoever makes hundreds that are alike makes nobody wait."""

PAUSE: Final = 10.0
"""Seconds between two looks at a namespace, however often its policies change: comparing takes up to 0.1 s."""

_AT_ONCE: Final = 25
"""Policies that are compiled before others run in between."""

_Provider = tuple[str, str]


@dataclass(slots=True)
class _Memory:
    """What was found in a namespace, of which policies, under which settings, and when."""

    versions: dict[str, Version] = field(default_factory=dict)
    settings: dict[_Provider, Settings] = field(default_factory=dict)
    facts: dict[str, Fact] = field(default_factory=dict)
    looked_at: float = float("-inf")


async def overlapping(ctx: Context, policy: Object, settings: Settings) -> Fact | None:
    """What another policy of the namespace does to this one, if anything."""
    metadata, provider = policy["metadata"], provider_of(policy)
    memory = _memory(ctx, metadata["namespace"])
    as_seen = memory.versions.get(metadata["name"]) == version_of(policy)
    if not as_seen or memory.settings.get(provider) != settings:
        await _look(ctx, metadata["namespace"], metadata["name"], memory)
    return memory.facts.get(metadata["name"])


async def gone(ctx: Context, namespace: str, name: str) -> None:
    """Look again, where a policy is gone that stood in somebody's way."""
    memory = _memory(ctx, namespace)
    if name in memory.versions:
        await _look(ctx, namespace, name, memory)


async def _look(ctx: Context, namespace: str, name: str, memory: _Memory) -> None:
    """Compare all policies of the namespace; whose finding is another than before is reconciled again.

    Args:
        ctx: the ports.
        namespace: where.
        name: of the policy that asks for it, and will again where it is too soon.
        memory: of the namespace.
    """
    now = ctx.clock.now()
    wait = min(memory.looked_at + PAUSE - now, PAUSE)
    if wait > 0:
        ctx.enqueue(Key("TrustPolicy", namespace, name), after=wait)
        return
    memory.looked_at = now
    there = {
        policy["metadata"]["name"]: policy
        for policy in ctx.objects.select(kinds.TRUST_POLICY, namespace)
        if "deletionTimestamp" not in policy["metadata"]
    }
    memory.versions = {name: version_of(policy) for name, policy in there.items()}
    named = {provider_of(policy) for policy in there.values()}
    known = ((provider, remembered_settings(ctx, *provider)) for provider in named)
    memory.settings = {provider: settings for provider, settings in known if isinstance(settings, Settings)}
    found = await _found(there, memory.settings) if len(there) <= MOST else {}
    former, memory.facts = memory.facts, found
    for other in sorted(former.keys() | found.keys()):
        if former.get(other) != found.get(other) and ctx.objects.get(Ref(kinds.TRUST_POLICY, namespace, other)):
            ctx.enqueue(Key("TrustPolicy", namespace, other))


async def _found(there: Mapping[str, Object], settings: Mapping[_Provider, Settings]) -> dict[str, Fact]:
    members: dict[_Provider, list[overlap.Policy]] = defaultdict(list)
    for number, policy in enumerate(there.values(), start=1):
        provider = provider_of(policy)
        compiled = accepted(record_of(policy), settings[provider]) if provider in settings else ()
        if isinstance(compiled, CompiledPolicy):
            members[provider].append(overlap.Policy(compiled, policy["spec"]["from"]))
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return {one.policy.name: _fact(one) for policies in members.values() for one in overlap.overlaps(policies, NEAR)}


def _fact(found: overlap.Overlap) -> Fact:
    reason = Reason.SHADOWED if found.shadowed else Reason.AMBIGUOUS
    return Fact(ConditionType.OVERLAPPING, status=True, reason=reason, message=overlap.told(found))


def _memory(ctx: Context, namespace: str) -> _Memory:
    memory: _Memory = ctx.memory.setdefault(Key("Overlapping", namespace, ""), _Memory())
    return memory
