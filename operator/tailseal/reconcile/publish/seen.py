"""What the controller `Publish` saw, for those who plan by it or tell people of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tailseal.api import meta
from tailseal.api.identityprovider import IdentityProviderSpec, Publish
from tailseal.api.reasons import Reason
from tailseal.cluster import kinds
from tailseal.cluster.port import Object, Ref
from tailseal.domain.evidence import Copy
from tailseal.domain.rotation.issuer.ledger import MIN_CACHE
from tailseal.reconcile.conditions import Fact
from tailseal.reconcile.context import Context, Key
from tailseal.reconcile.identityprovider.spec import intent_of
from tailseal.reconcile.publish.place import STEADY, Place

_OLD: Final = 3 * STEADY
"""Seconds after which what was seen says nothing about the present."""

_LONGEST_MESSAGE: Final = 1024
_MOST_LINES: Final = 12


def memory_of(ctx: Context, namespace: str, provider: str) -> dict[str, Place]:
    """What is remembered of a provider's places, by name."""
    memory: dict[str, Place] = ctx.memory.setdefault(Key("Publish", namespace, provider), {})
    return memory


def said(memory: Mapping[str, Place]) -> object:
    """What of it others act upon: if that is the same, nobody need be woken."""
    return {
        name: (place.line, place.seen, place.fresh, dict(place.since), place.sent_at if not _settled(place) else 0.0)
        for name, place in memory.items()
    }


def cache_ttl(entry: Publish, max_age: int) -> int:
    """Seconds for which readers may keep what they got; left out, as long as they keep the workers' own answer."""
    return max_age if entry.cache_ttl is None else entry.cache_ttl


def copy_age(spec: IdentityProviderSpec, max_age: int) -> int:
    """Seconds for which a set without a new key may live before and behind a place that new keys wait for.

    Verifiers that heed no header and have just fetched from such a cache's last moment pause before they ask again.
    """
    ages = [cache_ttl(entry, max_age) + MIN_CACHE for entry in spec.publish if _waited_for(entry)]
    return max(ages, default=0)


def copies(ctx: Context, namespace: str, provider: str, spec: IdentityProviderSpec) -> tuple[Copy, ...]:
    """The evidence of every place that new keys wait for."""
    memory: Mapping[str, Place] = ctx.memory.get(Key("Publish", namespace, provider), {})
    return tuple(
        _copy(entry.name, memory.get(entry.name), ctx.clock.now()) for entry in spec.publish if _waited_for(entry)
    )


def behind(ctx: Context, namespace: str, provider: str, kid: str) -> list[str]:
    """Names of the places that a key waits for, for people."""
    obj = ctx.objects.get(Ref(kinds.IDENTITY_PROVIDER, namespace, provider))
    spec = intent_of(ctx.objects, obj).spec if obj is not None else None
    found = copies(ctx, namespace, provider, spec) if spec is not None else ()
    return [f"publish target {copy.name}" for copy in found if copy.seen is None or kid not in copy.seen]


def lines(ctx: Context, obj: Object, spec: IdentityProviderSpec) -> list[dict[str, Any]] | None:
    """`status.publish`. What was not looked at since our start is said as it was said before."""
    metadata = obj["metadata"]
    memory: Mapping[str, Place] = ctx.memory.get(Key("Publish", metadata["namespace"], metadata["name"]), {})
    former = {entry["name"]: entry for entry in obj.get("status", {}).get("publish", ())}
    wanted = [entry.name for entry in spec.publish]
    names = [*wanted, *sorted(memory.keys() - set(wanted))]
    if not memory and _written_down(ctx, obj):
        names += sorted(former.keys() - set(wanted))
    return [_line(name, memory.get(name), former) for name in names[:_MOST_LINES]] or None


def published(spoken: list[dict[str, Any]] | None) -> Fact | None:
    """The condition `Published`; there is none where nothing is to be published."""
    if not spoken:
        return None
    wrong = [line for line in spoken if line["status"] != "True" and line["reason"] != Reason.LEAVING]
    if not wrong:
        return Fact("Published", status=True, reason=Reason.PUBLISHED, message="readers get every key that is promised")
    text = "; ".join(f"{line['name']}: {line['message']}" for line in wrong)[:_LONGEST_MESSAGE]
    known = any(line["status"] == "False" for line in wrong)
    return Fact("Published", status=False if known else None, reason=wrong[0]["reason"], message=text)


def _written_down(ctx: Context, obj: Object) -> bool:
    """Whether there are places that keys were put at."""
    metadata = obj["metadata"]
    name = meta.publish_config_map(metadata["name"])
    return ctx.objects.get(Ref(kinds.CONFIG_MAP, metadata["namespace"], name)) is not None


def _waited_for(entry: Publish) -> bool:
    return entry.role != "Copy"


def _settled(place: Place) -> bool:
    return place.line is not None and place.line.status is True


def _copy(name: str, place: Place | None, now: float) -> Copy:
    if place is None or place.seen is None or now - place.sent_at > _OLD:
        return Copy(name)
    return Copy(name, place.seen, place.sent_at, dict(place.since), place.fresh)


def _line(name: str, place: Place | None, former: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    if place is None or place.line is None:
        pending = {"name": name, "status": "Unknown", "reason": str(Reason.PENDING), "message": "not looked at yet"}
        return former.get(name, pending)
    status = {True: "True", False: "False", None: "Unknown"}[place.line.status]
    return {
        "name": name,
        "status": status,
        "reason": str(place.line.reason),
        "message": place.line.message[:_LONGEST_MESSAGE],
    }
