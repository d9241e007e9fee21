"""One place that keys are published at: brings it to what the ledger promises, and looks at it as a stranger would."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from tailseal.api.identityprovider import ObjectStore as StoreSpec
from tailseal.api.reasons import Reason
from tailseal.domain.publishing import Merged, Wish, describe, kids, merge, shown
from tailseal.domain.publishing.metadata import DISCOVERY_PATH, DISCOVERY_TYPE, JWKS_PATH, JWKS_TYPE
from tailseal.domain.publishing.store import Bucket, Held, ObjectStore, Outside, StoreError, StoreReason

STEADY: Final = 300.0
"""Seconds after which a place where all is well is looked at again, to repair what others did to it."""

_SLOWEST: Final = 15.0
_LONGEST: Final = 300.0
_TRIES: Final = 4
_MAX_AGE: Final = re.compile(r"\bmax-age=([0-9]{1,9})\b", re.ASCII)

Confirm = Callable[[], Awaitable[bool]]
"""Whether what is promised is still what the wish says, as the API server has it now."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted of a place.

    Args:
        name: for people.
        issuer: whose keys they are.
        wish: keys to be there, and those that must not.
        bucket: where they are written; None: nowhere, they are only looked for.
        prefix: of the objects' keys, empty or with a slash at its end.
        public_url: where readers get them, without a slash at its end.
        cache_ttl: seconds for which readers may keep them.
        discovery: write a discovery document too.
    """

    name: str
    issuer: str
    wish: Wish
    bucket: Bucket | None
    prefix: str
    public_url: str
    cache_ttl: int
    discovery: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A place by the spec, or one that was.

    Args:
        name: in status.
        store: as a manifest has it; None: nothing is written.
        target: what is wanted there, without bucket.
        reference: path of the credentials' reference.
    """

    name: str
    store: StoreSpec | None
    target: Target
    reference: str


@dataclass(frozen=True, slots=True)
class Line:
    """What is said of a place in status."""

    status: bool | None
    reason: Reason
    message: str = ""


@dataclass(slots=True)
class Place:
    """What is remembered of a place between two looks. Losing it costs a look; a key then waits for that.

    Args:
        line: what is said of it; None: not looked at yet.
        seen: ids of the promised keys that a reader got; None: not known.
        sent_at: when that reader asked (Unix seconds).
        since: when we last put a key there, by id.
        fresh: nothing was there before our first set.
        met: something was there before our first set.
        left: ids that still carry our mark there; None: not known.
        due: when to look again.
        target: what was wanted at the last look.
    """

    line: Line | None = None
    seen: frozenset[str] | None = None
    sent_at: float = 0.0
    since: dict[str, float] = field(default_factory=dict)
    fresh: bool = False
    met: bool = False
    left: frozenset[str] | None = None
    due: float = 0.0
    target: Target | None = None
    held: dict[str, Held] = field(default_factory=dict)
    troubles: int = 0
    looks: int = 0


async def tend(place: Place, target: Target, outside: Outside, now: Callable[[], float], confirm: Confirm) -> None:
    """Bring the place to what is wanted and look at it, if that is due or something else is wanted by now.

    Args:
        place: changed in place, also where a step fails.
        target: what is wanted.
        outside: the port.
        now: the clock.
        confirm: asked before a key is taken out that was not revoked.
    """
    if place.target == target and now() < place.due:
        return
    if place.target is not None and place.target != target:
        place.looks = place.troubles = 0
        place.seen = None if place.target.public_url != target.public_url else place.seen
    place.target = target
    try:
        conflict = await _sync(place, target, outside.store(target.bucket), now, confirm) if target.bucket else ""
    except StoreError as error:
        place.troubles += 1
        place.line = Line(status=False, reason=Reason(error.reason), message=str(error))
        await _look(place, target, outside, now)
        place.due = now() + min(_LONGEST, 2.5 * 2.0 ** min(place.troubles, 10))
        return
    place.troubles = 0
    found = await _look(place, target, outside, now)
    place.line = conflict if isinstance(conflict, Line) else found
    place.looks = 0 if place.line.status else place.looks + 1
    steady = place.line.status or place.line.reason is Reason.LEAVING
    place.due = now() + (STEADY if steady else min(_SLOWEST, 1.5 ** min(place.looks, 10)))


async def _sync(
    place: Place, target: Target, store: ObjectStore, now: Callable[[], float], confirm: Confirm
) -> Line | str:
    """Bring the objects to what is wanted; a line where something stands in the way of that."""
    for _ in range(_TRIES):
        try:
            merged = await _write_keys(place, target, store, now, confirm)
            break
        except StoreError as error:  # somebody wrote between our read and our write: plan anew from what is there
            place.held.pop(JWKS_PATH, None)
            if error.reason is not StoreReason.CHANGED:
                raise
    else:
        raise StoreError(StoreReason.CHANGED, "others write to the key set faster than it can be read and written")
    place.left = merged.ours
    if merged.refused:
        text = f"{target.prefix}{JWKS_PATH}: {merged.refused}: nothing is written over it; repair or delete it"
        return Line(status=False, reason=Reason.DOCUMENT_UNREADABLE, message=text)
    if merged.conflicts:
        text = f"another key is there under the id of ours, and is left alone: {', '.join(merged.conflicts)}"
        return Line(status=False, reason=Reason.KEY_CONFLICT, message=text)
    if merged.insisted:
        text = f"another writer vouches for keys that are revoked here: {', '.join(merged.insisted)}"
        return Line(status=False, reason=Reason.KEY_CONFLICT, message=text)
    problem = await _write_metadata(place, target, store) if target.discovery and target.wish.adding else ""
    return Line(status=False, reason=Reason.KEY_CONFLICT, message=problem) if problem else ""


async def _write_keys(
    place: Place, target: Target, store: ObjectStore, now: Callable[[], float], confirm: Confirm
) -> Merged:
    """One read and, where needed, one write over exactly what was read."""
    name = target.prefix + JWKS_PATH
    held = await store.get(name, known=place.held.get(JWKS_PATH))
    merged = merge(held.body if held else None, target.wish)
    place.met = place.met or (held is not None and not place.fresh)
    if merged.refused:
        return merged
    if merged.dropped and not await confirm():
        raise StoreError(StoreReason.CHANGED, "the ledger changed meanwhile")
    if merged.body is None and not (held and merged.ours and _misdescribed(held, target)):
        _remember(place, JWKS_PATH, held)
        return merged
    body = merged.body if merged.body is not None else held.body if held else b""
    written = Held(body, "", JWKS_TYPE, _cache_control(held, target))
    place.since |= dict.fromkeys(merged.added, now())
    place.held.pop(JWKS_PATH, None)
    await store.put(name, written, over=held)
    place.since |= dict.fromkeys(merged.added, now())
    if target.wish.dropping:
        place.since = {kid: at for kid, at in place.since.items() if kid in {key["kid"] for key in target.wish.keys}}
    place.fresh = place.fresh or (held is None and not place.met)
    return merged


async def _write_metadata(place: Place, target: Target, store: ObjectStore) -> str:
    """Write the discovery document where it is missing or lacks something; what is wrong with the one there, if so."""
    name = target.prefix + DISCOVERY_PATH
    held = await store.get(name, known=place.held.get(DISCOVERY_PATH))
    uri = f"{target.public_url}/{JWKS_PATH}"
    wanted = describe(held.body if held else None, issuer=target.issuer, jwks_uri=uri, keys=target.wish.keys)
    _remember(place, DISCOVERY_PATH, held if wanted.body is None else None)
    if wanted.body is not None:
        await store.put(name, Held(wanted.body, "", DISCOVERY_TYPE, _cache_control(held, target)), over=held)
    return f"{name}: {wanted.conflict}" if wanted.conflict else ""


async def _look(place: Place, target: Target, outside: Outside, now: Callable[[], float]) -> Line:
    """What an anonymous reader gets, and what is to be said of it."""
    if not target.wish.adding:  # nobody is waited for any more
        place.seen = None
        text = f"taken out of the spec: {len(place.left or ())} keys stay until nothing they signed is valid"
        return Line(status=None, reason=Reason.LEAVING, message=text)
    url = f"{target.public_url}/{JWKS_PATH}"
    place.sent_at = now()
    try:
        body = await outside.read(url)
    except StoreError as error:
        place.seen = None
        return Line(status=None, reason=Reason.COPY_UNREACHABLE, message=str(error))
    place.seen = shown(body, target.wish.keys)
    if lacking := sorted({key["kid"] for key in target.wish.keys} - place.seen):
        return Line(status=False, reason=Reason.COPY_BEHIND, message=f"{url} lacks {', '.join(lacking)}")
    if stale := sorted(target.wish.revoked & kids(body)):
        text = f"{url} still has what is revoked, from a cache or another writer: {', '.join(stale)}"
        return Line(status=False, reason=Reason.COPY_BEHIND, message=text)
    return Line(status=True, reason=Reason.PUBLISHED, message="readers get every key that is promised")


def prefix_of(store: StoreSpec | None) -> str:
    """Of the objects' keys, empty or with a slash at its end."""
    key = (store.key or "").strip("/") if store else ""
    return f"{key}/" if key else ""


def _remember(place: Place, path: str, held: Held | None) -> None:
    """For a conditional read the next time."""
    if held is None:
        place.held.pop(path, None)
    else:
        place.held[path] = held


def _misdescribed(held: Held, target: Target) -> bool:
    return target.wish.adding and (held.content_type != JWKS_TYPE or held.cache_control != _cache_control(held, target))


def _cache_control(held: Held | None, target: Target) -> str:
    """Of several writers the one with the shortest lifetime is heeded, or they would correct each other for ever."""
    if held and not target.wish.adding:
        return held.cache_control
    present = _MAX_AGE.search(held.cache_control) if held else None
    age = min(target.cache_ttl, int(present[1])) if present else target.cache_ttl
    return f"public, max-age={age}"
