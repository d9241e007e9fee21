"""Objects that are written over exactly what was read: ledgers with their material, and what follows from them.

A new one is made in two steps, labels first and content on top of exactly that version, so that of two writers one
gets a conflict, and a name that somebody else holds is noticed before anything is put there.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from tailseal.cluster import kinds
from tailseal.cluster.errors import Conflict, Transient
from tailseal.cluster.port import Object, Ref
from tailseal.domain import canonical
from tailseal.reconcile.context import Context, Key
from tailseal.reconcile.ownership import marked, ours, taken

IN_VAIN: Final = 60.0
"""Seconds for which what came back in the write that undid it is left alone: the API server would say it again."""


async def read(ctx: Context, ref: Ref, labels: Mapping[str, str]) -> Object | None:
    """The object if it is there and ours.

    The store shows only what carries our label, so what it does not know is asked of the API server.

    Args:
        ctx: the ports.
        ref: a Secret or ConfigMap.
        labels: which make it ours, besides the managed-by label.

    Raises:
        NameTaken: an object without these labels holds the name.
        Transient: it is being deleted.
    """
    present = ctx.objects.get(ref) or await ctx.cluster.get(ref)
    if present is None:
        return None
    if not marked(present, ours(labels)):
        raise taken(ref.kind.kind, ref.name)
    if "deletionTimestamp" in present["metadata"]:
        raise Transient(f"{ref.kind.kind} {ref.name} is being deleted")
    return present


async def write(
    ctx: Context,
    present: Object | None,
    ref: Ref,
    labels: Mapping[str, str],
    data: Mapping[str, bytes],
    *,
    manager: str,
) -> Object:
    """Make the Secret hold exactly this data, on top of exactly the version that was read; equal data is not written.

    Args:
        ctx: the ports; the store remembers what was written.
        present: as `read` gave it.
        ref: the Secret.
        labels: as for `read`.
        data: its whole content.
        manager: field manager.

    Raises:
        Conflict: somebody else wrote first; plan again.
    """
    encoded = {name: base64.b64encode(content).decode() for name, content in sorted(data.items())}
    wanted = _bare(ref, ours(labels)) | {"data": encoded}
    if present is not None and ((present.get("data") or {}) == encoded or is_in_vain(ctx, wanted, present)):
        return present
    written = await put(ctx, present, wanted, manager=manager)
    extra = (written.get("data") or {}).keys() - encoded.keys()
    if extra:  # put there by others: an apply does not remove it
        current = {"resourceVersion": written["metadata"]["resourceVersion"]}
        written = await ctx.cluster.merge(ref, {"metadata": current, "data": dict.fromkeys(sorted(extra))})
        ctx.objects.put(written)
    note(ctx, wanted, written, right=written.get("data") == encoded)
    return written


def is_in_vain(ctx: Context, wanted: Object, present: Object) -> bool:
    """Whether just this came to just what is there, not long ago, by an admission policy or webhook."""
    what, at = ctx.memory.get(_key(wanted), ("", 0.0))
    return bool(what == _try(wanted, present) and 0 <= ctx.clock.now() - at < IN_VAIN)


def note(ctx: Context, wanted: Object, written: Object, *, right: bool) -> None:
    """Remember what a write came to, unless that is `right`."""
    if right:
        ctx.memory.pop(_key(wanted), None)
    else:
        ctx.memory[_key(wanted)] = _try(wanted, written), ctx.clock.now()


def _key(wanted: Object) -> Key:
    return Key(f"Kept/{wanted['kind']}", wanted["metadata"]["namespace"], wanted["metadata"]["name"])


def _try(wanted: Object, present: Object) -> str:
    came_to = present.get("data"), present["metadata"].get("ownerReferences")
    return canonical.digest(canonical.dumps([wanted, *came_to]))


async def put(ctx: Context, present: Object | None, wanted: Object, *, manager: str, heirs: bool = False) -> Object:
    """Apply the object on top of exactly the version that was read; a new one on top of its shell.

    Args:
        ctx: the ports.
        present: as it was read.
        wanted: all of it.
        manager: field manager.
        heirs: it may pass on to another owner, so the shell has none: an object can have but one that controls it.

    Raises:
        Conflict: somebody else wrote first; plan again.
    """
    if present is None:
        present = await shell(ctx, wanted, manager=manager, heirs=heirs)
    version = {name: present["metadata"][name] for name in ("resourceVersion", "uid")}
    written = await ctx.cluster.apply({**wanted, "metadata": {**wanted["metadata"], **version}}, manager=manager)
    ctx.objects.put(written)
    return written


def content(secret: Object) -> dict[str, bytes]:
    """The Secret's data.

    Raises:
        ValueError: it is not base64.
    """
    return {name: base64.b64decode(value, validate=True) for name, value in (secret.get("data") or {}).items()}


async def shell(ctx: Context, wanted: Object, *, manager: str, heirs: bool = False) -> Object:
    """The object with nothing but our labels and, unless it may have heirs, its owner.

    Its field manager is one of its own: an apply of labels alone by the content's manager would remove the content
    that another operator wrote in this very moment.

    Raises:
        Conflict: somebody else made it, with content, meanwhile.
    """
    ref, manager = kinds.ref(wanted), f"{manager}-shell"
    bare = _bare(ref, wanted["metadata"]["labels"])
    if "ownerReferences" in wanted["metadata"] and not heirs:
        bare["metadata"]["ownerReferences"] = wanted["metadata"]["ownerReferences"]
    made = await ctx.cluster.apply(bare, manager=manager)
    if made.get("data"):  # made by somebody since we looked: if by one of us, it keeps its labels
        await ctx.cluster.apply(_bare(ref, {}), manager=manager)
        raise Conflict(f"{ref.kind.kind} {ref.name} was made by somebody else meanwhile")
    ctx.objects.put(made)
    return made


def _bare(ref: Ref, labels: Mapping[str, str]) -> Object:
    metadata: dict[str, Any] = {"name": ref.name, "namespace": ref.namespace}
    if labels:
        metadata["labels"] = dict(labels)
    return {"apiVersion": ref.kind.api_version, "kind": ref.kind.kind, "metadata": metadata}
