"""Brings one owned object to what was rendered: created, repaired, cleared of what others added, or left alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailseal.api.meta import MANAGED_BY, OAUTH_CLIENT_LABEL, PROVIDER_LABEL
from tailseal.api.reasons import Reason
from tailseal.cluster import kinds
from tailseal.cluster.errors import Forbidden, Invalid
from tailseal.cluster.port import Object, Ref
from tailseal.domain.render import additions, applied, drift
from tailseal.reconcile import kept_secret, repairs
from tailseal.reconcile.context import Context
from tailseal.reconcile.ownership import RENAME, Leaving, controllers, marked, ours, taken


async def find(ctx: Context, wanted: Object, *, remedy: str = RENAME) -> Object | None:
    """The object of the rendered one's name, if it is there and ours.

    Args:
        ctx: ports.
        wanted: the rendered object; of its content nothing is looked at.
        remedy: what else may be done where somebody else's has the name.

    Raises:
        NameTaken: an object that is not ours holds the name.
        Leaving: it is being deleted, or still belongs to a deleted owner of the same name.
    """
    ref = kinds.ref(wanted)
    # The store sees only what carries our label, so an absent object may be somebody else's: look before creating.
    present = ctx.objects.get(ref) or await ctx.cluster.get(ref)
    if present is not None:
        _refuse_foreign(wanted, present, remedy)
    return present


async def ensure(
    ctx: Context,
    wanted: Object,
    *,
    manager: str,
    exact: bool = False,
    seen: Object | None = None,
    remedy: str = RENAME,
) -> Object:
    """Make the object be as wanted; nothing is written if it is.

    Args:
        ctx: ports.
        wanted: the rendered object.
        manager: field manager.
        exact: write only over the version that was seen, and over none only where there is none, so that no stale
            second operator undoes a newer write.
        seen: that version, where `wanted` was planned from it some while ago; None: as it is now.
        remedy: as for `find`.

    Raises:
        Conflict: with `exact`, the object is at another version by now.
        NameTaken: an object that is not ours holds the name.
        Leaving: it is being deleted, or still belongs to a deleted owner of the same name.
        ClusterError: whatever the API server said to the write.
    """
    if seen is not None:
        _refuse_foreign(wanted, seen, remedy)
    present = seen or await find(ctx, wanted, remedy=remedy)
    made = await _ensured(ctx, wanted, present, manager, exact=exact, known=repairs.made(ctx, wanted))
    repairs.note_made(ctx, wanted)
    return made


def differs(ctx: Context, wanted: Object, present: Object) -> bool:
    """Whether it takes a write to have it so: something of ours is not there, or something of others' is."""
    return _is_unlike(wanted, present) or additions.foreign(wanted, present, ctx.settings.sidecars) is not None


async def _ensured(
    ctx: Context, wanted: Object, present: Object | None, manager: str, *, exact: bool, known: bool
) -> Object:
    """See `ensure`; `known`: we made it so already, and what differs was changed by others."""
    ref = kinds.ref(wanted)
    if present is None:
        if known:
            await _say(ctx, wanted, "deleted")
        return await (kept_secret.put(ctx, None, wanted, manager=manager) if exact else _apply(ctx, wanted, manager))
    patch, differs = additions.foreign(wanted, present, ctx.settings.sidecars), _is_unlike(wanted, present)
    if patch is None and not differs:
        repairs.be_content(ctx, wanted)
        return present
    if repairs.is_in_vain_just_now(ctx, wanted, present):
        return present
    if drift.must_be_replaced(wanted, present):
        await ctx.cluster.delete(ref, uid=present["metadata"]["uid"])
        made = await _apply(ctx, wanted, manager)
    else:
        made = await _written(ctx, wanted, present, manager, exact=exact, patch=patch, differs=differs)
    if not await _came_back(ctx, wanted, made) and known:
        await _say(ctx, wanted, "changed")
    return made


async def _written(
    ctx: Context,
    wanted: Object,
    present: Object,
    manager: str,
    *,
    exact: bool,
    patch: Mapping[str, Any] | None,
    differs: bool,
) -> Object:
    """Write over what is there; `patch` takes out what others added, the apply puts right what is ours."""
    if differs and _comes_first(wanted, present):
        try:
            present = await _over(ctx, wanted, present, manager, exact=exact)
            patch, differs = additions.foreign(wanted, present, ctx.settings.sidecars), False
        except (Invalid, Forbidden):  # together with what others put there it makes no valid object, or none of ours
            if patch is None:
                raise
    if patch is not None:
        metadata = {**patch.get("metadata", {}), "resourceVersion": present["metadata"]["resourceVersion"]}
        present = await ctx.cluster.merge(kinds.ref(wanted), {**patch, "metadata": metadata})
        ctx.objects.put(present)
        differs = drift.differs(wanted, present)
    return await _over(ctx, wanted, present, manager, exact=exact) if differs else present


def _comes_first(wanted: Object, present: Object) -> bool:
    """Whether the apply comes before the patch that takes out what others added.

    An apply takes out what was ours itself: a revocation is one write, never half, a rollout one, never two. Over an
    application's Secret with more in it than that may hold, the chart's fence lets none: there the patch comes first.
    """
    if kinds.ref(wanted).kind in repairs.FILES:
        return OAUTH_CLIENT_LABEL not in wanted["metadata"]["labels"]
    return applied.is_another(wanted, present)


async def _came_back(ctx: Context, wanted: Object, present: Object) -> bool:
    """Whether what we took out or put right was undone in that write: then it is said, and not tried again at once."""
    if additions.foreign(wanted, present, ctx.settings.sidecars) is not None:
        what, else_ = "put into", "allow a container by name and image (worker.sidecars)"
    elif _is_unlike(wanted, present):
        what, else_ = "change in", "have the installation say the same (of an image: image, tailscale.image)"
    else:
        repairs.be_content(ctx, wanted)
        return False
    repairs.remember(ctx, wanted, present)
    text = (
        f"what others {what} {wanted['kind']} {wanted['metadata']['name']} comes back in the write that undoes it, "
        f"by an admission policy or webhook: exempt the namespace from that, or {else_}"
    )
    if containers := additions.strangers(wanted, present, ctx.settings.sidecars):
        text += f"; neither ours nor allowed: {', '.join(containers)}"
    repairs.note(ctx, wanted, text)
    await _tell(ctx, wanted, Reason.NOT_REPAIRED, text)
    return True


def _is_unlike(wanted: Object, present: Object) -> bool:
    """Whether what is ours is not there as wanted, nor would be by an apply."""
    return drift.differs(wanted, present) or drift.must_be_replaced(wanted, present)


async def _over(ctx: Context, wanted: Object, present: Object, manager: str, *, exact: bool) -> Object:
    version = {name: present["metadata"][name] for name in ("resourceVersion", "uid")} if exact else {}
    await _hand_over_scale(ctx, wanted, present, manager)
    return await _apply(ctx, {**wanted, "metadata": {**wanted["metadata"], **version}}, manager)


async def _hand_over_scale(ctx: Context, wanted: Object, present: Object, manager: str) -> None:
    """Who says nothing of replicas any more leaves them to whoever scales; the apply alone would set them to one.

    As https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership has it.
    """
    replicas = present.get("spec", {}).get("replicas")
    if wanted["kind"] != kinds.DEPLOYMENT.kind or "replicas" in wanted["spec"] or replicas is None:
        return
    names = {name: wanted["metadata"][name] for name in ("name", "namespace")}
    version = {name: present["metadata"][name] for name in ("resourceVersion", "uid")}  # of a number since changed
    kept = {"apiVersion": wanted["apiVersion"], "kind": wanted["kind"], "metadata": {**names, **version}}
    await ctx.cluster.apply({**kept, "spec": {"replicas": replicas}}, manager=f"{manager}-scale")


async def remove(ctx: Context, ref: Ref, *, provider: str) -> bool:
    """Delete the object if it is there and ours; whether it was."""
    present = ctx.objects.get(ref)
    if present is None or not marked(present, ours({PROVIDER_LABEL: provider})):
        return False
    repairs.of_owner(ctx, ref.namespace, provider).forget(ref)
    if "deletionTimestamp" not in present["metadata"]:
        await ctx.cluster.delete(ref, uid=present["metadata"]["uid"])
    return True


async def _say(ctx: Context, wanted: Object, what: str) -> None:
    text = f"{wanted['kind']} {wanted['metadata']['name']} was {what} by somebody else: it is put back"
    await _tell(ctx, wanted, Reason.REPAIRED, text)


async def _tell(ctx: Context, wanted: Object, reason: Reason, text: str) -> None:
    owner = repairs.owner_of(wanted)
    obj = ctx.objects.get(owner) if owner is not None else None
    if obj is not None:
        await ctx.recorder.event(obj, warning=True, reason=reason, message=text)


async def _apply(ctx: Context, wanted: Object, manager: str) -> Object:
    written = await ctx.cluster.apply(wanted, manager=manager)
    ctx.objects.put(written)
    return written


def _refuse_foreign(wanted: Object, present: Object, remedy: str) -> None:
    kind, name = wanted["kind"], wanted["metadata"]["name"]
    owners, theirs = controllers(wanted), controllers(present)
    # Whoever takes our label off has not made the object his: the owner still says whose it is.
    labels = wanted["metadata"]["labels"]
    marks = {label: labels[label] for label in (MANAGED_BY, PROVIDER_LABEL, OAUTH_CLIENT_LABEL) if label in labels}
    if not (owners & theirs or marked(present, marks)):
        raise taken(kind, name, remedy)
    if owners and theirs - owners:  # what nobody owns is to be kept
        raise Leaving(f"{kind} {name} is being deleted with its former owner")
    if "deletionTimestamp" in present["metadata"]:
        raise Leaving(f"{kind} {name} is being deleted: it is made anew once it is gone")
