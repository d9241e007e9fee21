"""Brings one owned object to what was rendered: created, repaired, cleared of what others added, or left alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tailseal.api.meta import MANAGED_BY, OAUTH_CLIENT_LABEL, PROVIDER_LABEL
from tailseal.api.reasons import Reason
from tailseal.cluster import kinds
from tailseal.cluster.errors import Forbidden, Invalid
from tailseal.cluster.port import Kind, Object, Ref
from tailseal.domain import canonical
from tailseal.domain.render import additions, applied, drift
from tailseal.reconcile import kept_secret
from tailseal.reconcile.context import Context, Key
from tailseal.reconcile.ownership import RENAME, Leaving, controllers, marked, ours, taken

IN_VAIN: Final = kept_secret.IN_VAIN

SELDOM: Final = 3600.0
"""The same at most, where each time something else came back: then each try is a change, and ends pods."""

_FILES: Final = (kinds.SECRET, kinds.CONFIG_MAP)
"""What others put into these stands in no apply's way."""


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
    ref = kinds.ref(wanted)
    memory, wish = _memory_of(ctx, wanted), _digest(wanted)
    if seen is not None:
        _refuse_foreign(wanted, seen, remedy)
    present = seen or await find(ctx, wanted, remedy=remedy)
    made = await _ensured(ctx, wanted, present, manager, exact=exact, known=memory.made.get(ref) == wish)
    memory.made[ref] = wish
    return made


def made(ctx: Context, wanted: Object) -> bool:
    """Whether we made it so already: then what differs was changed by others."""
    return _memory_of(ctx, wanted).made.get(kinds.ref(wanted)) == _digest(wanted)


def in_vain(ctx: Context, wanted: Object, present: Object) -> bool:
    """Whether our last write of just this came to just what is there, however long ago: one more changes nothing."""
    return meant(ctx, wanted, present) == wanted


def meant(ctx: Context, wanted: Object, present: Object) -> Object | None:
    """What we last wrote under the rendered one's name, if it came to just what is there: that is no word of ours."""
    tried = _memory_of(ctx, wanted).in_vain.get(kinds.ref(wanted))
    return tried.wanted if tried is not None and tried.outcome == _outcome(tried.wanted, present) else None


def not_repaired(ctx: Context, wanted: Object) -> str:
    """As `unrepaired`, of what was just made so; empty if there is nothing."""
    return _memory_of(ctx, wanted).unrepaired.get(kinds.ref(wanted), "")


def differs(ctx: Context, wanted: Object, present: Object) -> bool:
    """Whether it takes a write to have it so: something of ours is not there, or something of others' is."""
    return _is_unlike(wanted, present) or additions.foreign(wanted, present, ctx.settings.sidecars) is not None


async def unrepaired(ctx: Context, namespace: str, provider: str) -> list[str]:
    """What others put into what the provider owns and no write takes out, in words that hold still."""
    found = list(_memory(ctx, namespace, provider).unrepaired.items())
    # The store sees only what carries our label, and that may be just what others take off.
    return sorted([text for ref, text in found if ctx.objects.get(ref) or await ctx.cluster.get(ref)])


def has_spoiled_files(ctx: Context, namespace: str, provider: str) -> bool:
    """Whether no write takes out what others put into its Secrets and ConfigMaps: nobody tells when they stop that."""
    return any(ref.kind in _FILES for ref in _memory(ctx, namespace, provider).unrepaired)


def forget(ctx: Context, namespace: str, name: str, kind: Kind = kinds.IDENTITY_PROVIDER) -> None:
    """Keep nothing of what was made for an owner that is gone."""
    ctx.memory.pop(Key(f"Owned/{kind.kind}", namespace, name), None)


def give_up(ctx: Context, wanted: Object) -> None:
    """Keep nothing of what was made under the rendered one's name, as it is ours that it goes."""
    _memory_of(ctx, wanted).forget(kinds.ref(wanted))


def _digest(wanted: Object) -> str:
    return canonical.digest(canonical.dumps(wanted))


@dataclass(frozen=True, slots=True)
class _Try:
    """A write in vain: of what, what it came to, when (Unix seconds), and for how many seconds that is left alone."""

    wanted: Object = field(repr=False)
    outcome: str
    at: float
    pause: float


@dataclass(frozen=True, slots=True)
class _Memory:
    """What was made for an owner, by digest, and what was written of it in vain.

    `unrepaired`: what is still so, in words.
    """

    made: dict[Ref, str] = field(default_factory=dict)
    in_vain: dict[Ref, _Try] = field(default_factory=dict)
    unrepaired: dict[Ref, str] = field(default_factory=dict)

    def forget(self, ref: Ref) -> None:
        self.made.pop(ref, None)
        self.in_vain.pop(ref, None)
        self.unrepaired.pop(ref, None)


def _memory_of(ctx: Context, wanted: Object) -> _Memory:
    owner = _owner(wanted)
    return _Memory() if owner is None else _memory(ctx, owner.namespace, owner.name, owner.kind)


def _owner(wanted: Object) -> Ref | None:
    """Who is told of it; of what has none nothing is ever said, nor kept."""
    namespace, labels = wanted["metadata"]["namespace"], wanted["metadata"]["labels"]
    owners = {PROVIDER_LABEL: kinds.IDENTITY_PROVIDER, OAUTH_CLIENT_LABEL: kinds.OAUTH_CLIENT}
    return next((Ref(kind, namespace, labels[label]) for label, kind in owners.items() if label in labels), None)


def _memory(ctx: Context, namespace: str, name: str, kind: Kind = kinds.IDENTITY_PROVIDER) -> _Memory:
    memory: _Memory = ctx.memory.setdefault(Key(f"Owned/{kind.kind}", namespace, name), _Memory())
    return memory


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
        _be_content(ctx, wanted)
        return present
    if _is_in_vain_just_now(ctx, wanted, present):
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
    if kinds.ref(wanted).kind in _FILES:
        return OAUTH_CLIENT_LABEL not in wanted["metadata"]["labels"]
    return applied.is_another(wanted, present)


def _is_in_vain_just_now(ctx: Context, wanted: Object, present: Object) -> bool:
    """As `in_vain`, and not long ago; a clock that was set back must not make a minute of an hour."""
    tried = _memory_of(ctx, wanted).in_vain.get(kinds.ref(wanted))
    return tried is not None and 0 <= ctx.clock.now() - tried.at < tried.pause and in_vain(ctx, wanted, present)


async def _came_back(ctx: Context, wanted: Object, present: Object) -> bool:
    """Whether what we took out or put right was undone in that write: then it is said, and not tried again at once."""
    if additions.foreign(wanted, present, ctx.settings.sidecars) is not None:
        what, else_ = "put into", "allow a container by name and image (worker.sidecars)"
    elif _is_unlike(wanted, present):
        what, else_ = "change in", "have the installation say the same (of an image: image, tailscale.image)"
    else:
        _be_content(ctx, wanted)
        return False
    _remember(ctx, wanted, present)
    text = (
        f"what others {what} {wanted['kind']} {wanted['metadata']['name']} comes back in the write that undoes it, "
        f"by an admission policy or webhook: exempt the namespace from that, or {else_}"
    )
    if containers := additions.strangers(wanted, present, ctx.settings.sidecars):
        text += f"; neither ours nor allowed: {', '.join(containers)}"
    _note(ctx, wanted, text)
    await _tell(ctx, wanted, Reason.NOT_REPAIRED, text)
    return True


def _remember(ctx: Context, wanted: Object, present: Object) -> None:
    """Have what was tried in vain left alone for a while: ever longer where each try of the same wish ends pods.

    That is where it came to something else, or the next try is another object.
    """
    tries, ref, outcome = _memory_of(ctx, wanted).in_vain, kinds.ref(wanted), _outcome(wanted, present)
    former, pause = tries.get(ref), IN_VAIN
    ends = drift.must_be_replaced(wanted, present) or (former is not None and former.outcome != outcome)
    if former is not None and former.wanted == wanted and ends:
        pause = min(2 * former.pause, SELDOM)
    tries[ref] = _Try(wanted, outcome, ctx.clock.now(), pause)


def _be_content(ctx: Context, wanted: Object) -> None:
    """Nothing is in vain any more: what comes back another time begins anew."""
    _memory_of(ctx, wanted).in_vain.pop(kinds.ref(wanted), None)
    _note(ctx, wanted, None)


def _note(ctx: Context, wanted: Object, text: str | None) -> None:
    """Have the owner's status say, or no longer say, what is not repaired."""
    ref, unrepaired, owner = kinds.ref(wanted), _memory_of(ctx, wanted).unrepaired, _owner(wanted)
    if owner is None or unrepaired.get(ref) == text:
        return
    unrepaired.pop(ref, None)
    if text is not None:
        unrepaired[ref] = text
    ctx.enqueue(Key(owner.kind.kind, owner.namespace, owner.name))


def _is_unlike(wanted: Object, present: Object) -> bool:
    """Whether what is ours is not there as wanted, nor would be by an apply."""
    return drift.differs(wanted, present) or drift.must_be_replaced(wanted, present)


def _outcome(wanted: Object, present: Object) -> str:
    marks = {name: present["metadata"].get(name) for name in ("labels", "ownerReferences")}
    content = {name: value for name, value in present.items() if name not in ("metadata", "status")}
    return _digest({"wanted": wanted, "marks": marks, "content": content})


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
    memory = _memory(ctx, ref.namespace, provider)
    memory.forget(ref)
    if "deletionTimestamp" not in present["metadata"]:
        await ctx.cluster.delete(ref, uid=present["metadata"]["uid"])
    return True


async def _say(ctx: Context, wanted: Object, what: str) -> None:
    text = f"{wanted['kind']} {wanted['metadata']['name']} was {what} by somebody else: it is put back"
    await _tell(ctx, wanted, Reason.REPAIRED, text)


async def _tell(ctx: Context, wanted: Object, reason: Reason, text: str) -> None:
    owner = _owner(wanted)
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
