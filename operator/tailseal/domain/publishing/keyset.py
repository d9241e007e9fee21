"""What one writer does to a JWK Set that others may write to as well: add its own keys, take back its own, no more.

Whose a key is stands in the set itself, under a member that readers must ignore (RFC 7517 section 5): the ids of the
writers that put it there. So ownership is written with the key in one step, outlives every restart and every lost
Secret, and a key that two writers share stays until the last of them has taken it back. Where the mark is lost, a key
is kept rather than removed; only a revoked one goes all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tailseal.domain import canonical
from tailseal.domain.keys import jwks

WRITERS: Final = "tailseal.dev/writers"
"""Member of the set: key id → ids of the writers that put it there."""

LARGEST: Final = 1024 * 1024
"""Bytes of a set that is read."""

_MATERIAL: Final = ("kty", "crv", "x", "y", "n", "e", "pub")
"""Members that make up a public key (RFC 7518 section 6, RFC 8037 section 2, and ML-DSA's): not how it is described."""

Jwk = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a writer wants of the set.

    Args:
        writer: its id, not shared with any other writer.
        keys: public keys that it promises, with `kid`.
        revoked: ids of keys that it revoked, for ever.
        adding: put missing keys in; False for a place that is being given up.
        dropping: take back what is not promised any more; False while nobody knows what is.
    """

    writer: str
    keys: tuple[Jwk, ...] = ()
    revoked: frozenset[str] = frozenset()
    adding: bool = True
    dropping: bool = True


@dataclass(frozen=True, slots=True)
class Merged:
    """What is to be done.

    Args:
        body: the set to write; None: leave it as it is.
        added: ids of keys that the write puts in.
        dropped: ids of keys that the write takes out for good, the revoked ones not among them.
        conflicts: ids of ours under which another key is there; it is left alone.
        insisted: ids that we revoked and that other writers still vouch for; left to them.
        ours: ids that carry our mark afterwards.
        refused: why nothing may be written; empty if it may.
    """

    body: bytes | None = None
    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    insisted: tuple[str, ...] = ()
    ours: frozenset[str] = frozenset()
    refused: str = ""


class _UnreadableError(Exception):
    """The document is no set that could be written back without loss."""


def merge(present: bytes | None, wish: Wish) -> Merged:
    """One step of one writer; merging its result again changes nothing.

    Args:
        present: the document as read; None only where it was seen not to exist.
        wish: what the writer wants.

    Raises:
        JwksError: the wish holds a private member, or two keys of one id.
    """
    wanted = {key["kid"]: dict(key) for key in jwks.key_set(wish.keys)["keys"]}
    try:
        document = _read(present)
        marks = _marks(document)
    except _UnreadableError as error:
        return Merged(refused=str(error))
    entries: list[Any] = document["keys"]
    conflicts = tuple(sorted(_conflicts(entries, wanted)))
    kept = [
        _described(entry, wanted, marks, wish.writer) for entry in entries if not _leaves(entry, wanted, marks, wish)
    ]
    there = {_kid(entry) for entry in kept}
    added = tuple(kid for kid in wanted if kid not in there and kid not in wish.revoked) if wish.adding else ()
    after = _marked(marks, wanted.keys() & there - set(conflicts), added, wanted, wish)
    after = {kid: writers for kid, writers in after.items() if kid in there or kid in added}
    new = {**document, "keys": [*kept, *(wanted[kid] for kid in added)]}
    new.pop(WRITERS, None)
    new |= {WRITERS: after} if after else {}
    gone = {_kid(entry) for entry in entries} - there - set(added) - wish.revoked
    unchanged = new == document or (present is None and not added)
    return Merged(
        body=None if unchanged else canonical.dumps(new),
        added=added,
        dropped=tuple(sorted(gone)),
        conflicts=conflicts,
        insisted=tuple(sorted(wish.revoked & there)),
        ours=frozenset(kid for kid, writers in after.items() if wish.writer in writers),
    )


def shown(body: bytes, keys: Iterable[Jwk]) -> frozenset[str]:
    """Ids of those keys that a reader of the document finds, each under its id alone; none if it is no key set."""
    try:
        entries = _read(body)["keys"]
    except _UnreadableError:
        return frozenset()
    wanted = {key["kid"]: key for key in keys}
    clashing = set(_conflicts(entries, wanted))
    return frozenset(kid for entry in entries if (kid := _kid(entry)) in wanted) - clashing


def kids(body: bytes) -> frozenset[str]:
    """All key ids in the document; none if it is no key set."""
    try:
        return frozenset(filter(None, map(_kid, _read(body)["keys"])))
    except _UnreadableError:
        return frozenset()


def _leaves(entry: Any, wanted: Mapping[str, Jwk], marks: Mapping[str, Sequence[str]], wish: Wish) -> bool:  # noqa: ANN401
    """Whether the entry goes: it was ours alone, or is revoked and nobody else vouches for it."""
    kid = _kid(entry)
    writers = marks.get(kid, ())
    if kid in wish.revoked:
        return wish.writer in writers or not writers
    return wish.dropping and kid not in wanted and list(writers) == [wish.writer]


def _described(entry: Any, wanted: Mapping[str, Jwk], marks: Mapping[str, Sequence[str]], writer: str) -> Any:  # noqa: ANN401
    """What we alone put there is described as we describe it; nothing else is touched."""
    kid = _kid(entry)
    mine = kid in wanted and list(marks.get(kid, ())) == [writer] and _material(entry) == _material(wanted[kid])
    return dict(wanted[kid]) if mine else entry


def _marked(
    marks: Mapping[str, Sequence[str]],
    met: Iterable[str],
    added: Iterable[str],
    wanted: Mapping[str, Jwk],
    wish: Wish,
) -> dict[str, list[str]]:
    """The marks afterwards: ours on what we put there or share with other writers, no longer on what we let go.

    A key that is there without any mark was put there by somebody who knows nothing of marks: it is not ours to remove.
    """
    others = {kid: [name for name in writers if name != wish.writer] for kid, writers in marks.items()}
    had = {kid for kid, writers in marks.items() if wish.writer in writers}
    shared = {kid for kid in met if kid in marks}
    ours = (shared if wish.adding else shared & had) | set(added) | (had & wanted.keys() if wish.dropping else had)
    ours -= wish.revoked
    found = {kid: sorted({*others.get(kid, ()), *([wish.writer] if kid in ours else ())}) for kid in {*marks, *ours}}
    return {kid: writers for kid, writers in sorted(found.items()) if writers}


def _conflicts(entries: Iterable[Any], wanted: Mapping[str, Jwk]) -> Iterator[str]:
    for entry in entries:
        kid = _kid(entry)
        if kid in wanted and _material(entry) != _material(wanted[kid]):
            yield kid


def _read(present: bytes | None) -> dict[str, Any]:
    if present is None:
        return {"keys": []}
    if len(present) > LARGEST:
        raise _UnreadableError(f"what is there is larger than {LARGEST} bytes")
    try:
        document = json.loads(present, object_pairs_hook=_unique, parse_constant=_no_constant)
        canonical.dumps(document)
    except (ValueError, RecursionError):
        raise _UnreadableError("what is there is not a JSON document that could be written back without loss") from None
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise _UnreadableError("what is there is not a JWK Set: it has no list of keys")
    return document


def _marks(document: Mapping[str, Any]) -> dict[str, list[str]]:
    marks = document.get(WRITERS, {})
    if not isinstance(marks, dict) or not all(
        isinstance(writers, list) and all(isinstance(writer, str) for writer in writers) for writers in marks.values()
    ):
        raise _UnreadableError(f"the member {WRITERS} is not a map of key ids to lists of writers")
    return marks


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate member")
    return found


def _no_constant(_: str) -> float:
    raise ValueError("not a JSON number")


def _kid(entry: Any) -> str:  # noqa: ANN401 - whatever stands in somebody's document
    kid = entry.get("kid") if isinstance(entry, dict) else None
    return kid if isinstance(kid, str) else ""


def _material(entry: Jwk) -> dict[str, Any]:
    return {name: entry[name] for name in _MATERIAL if name in entry}
