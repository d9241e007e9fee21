"""Remembers what was made, and which repairs came to nothing: so that none is fought for, and status can say it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tailseal.api.meta import OAUTH_CLIENT_LABEL, PROVIDER_LABEL
from tailseal.cluster import kinds
from tailseal.cluster.port import Kind, Object, Ref
from tailseal.domain import canonical
from tailseal.domain.render import drift
from tailseal.reconcile import kept_secret
from tailseal.reconcile.context import Context, Key

IN_VAIN: Final = kept_secret.IN_VAIN

SELDOM: Final = 3600.0
"""The same at most, where each time something else came back: then each try is a change, and ends pods."""

FILES: Final = (kinds.SECRET, kinds.CONFIG_MAP)
"""What others put into these stands in no apply's way."""


@dataclass(frozen=True, slots=True)
class _Try:
    """A write in vain: of what, what it came to, when (Unix seconds), and for how many seconds that is left alone."""

    wanted: Object = field(repr=False)
    outcome: str
    at: float
    pause: float


@dataclass(frozen=True, slots=True)
class Memory:
    """What was made for an owner, by digest, and what was written of it in vain.

    `unrepaired`: what is still so, in words.
    """

    made: dict[Ref, str] = field(default_factory=dict)
    in_vain: dict[Ref, _Try] = field(default_factory=dict)
    unrepaired: dict[Ref, str] = field(default_factory=dict)

    def forget(self, ref: Ref) -> None:
        """Keep nothing of that object."""
        self.made.pop(ref, None)
        self.in_vain.pop(ref, None)
        self.unrepaired.pop(ref, None)


def _memory_of(ctx: Context, wanted: Object) -> Memory:
    owner = owner_of(wanted)
    return Memory() if owner is None else of_owner(ctx, owner.namespace, owner.name, owner.kind)


def owner_of(wanted: Object) -> Ref | None:
    """Who is told of it; of what has none nothing is ever said, nor kept."""
    namespace, labels = wanted["metadata"]["namespace"], wanted["metadata"]["labels"]
    owners = {PROVIDER_LABEL: kinds.IDENTITY_PROVIDER, OAUTH_CLIENT_LABEL: kinds.OAUTH_CLIENT}
    return next((Ref(kind, namespace, labels[label]) for label, kind in owners.items() if label in labels), None)


def of_owner(ctx: Context, namespace: str, name: str, kind: Kind = kinds.IDENTITY_PROVIDER) -> Memory:
    """What is known of the objects of that owner."""
    memory: Memory = ctx.memory.setdefault(Key(f"Owned/{kind.kind}", namespace, name), Memory())
    return memory


def made(ctx: Context, wanted: Object) -> bool:
    """Whether we made it so already: then what differs was changed by others."""
    return _memory_of(ctx, wanted).made.get(kinds.ref(wanted)) == _digest(wanted)


def note_made(ctx: Context, wanted: Object) -> None:
    """Remember that we made it so."""
    _memory_of(ctx, wanted).made[kinds.ref(wanted)] = _digest(wanted)


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


async def unrepaired(ctx: Context, namespace: str, provider: str) -> list[str]:
    """What others put into what the provider owns and no write takes out, in words that hold still."""
    found = list(of_owner(ctx, namespace, provider).unrepaired.items())
    # The store sees only what carries our label, and that may be just what others take off.
    return sorted([text for ref, text in found if ctx.objects.get(ref) or await ctx.cluster.get(ref)])


def has_spoiled_files(ctx: Context, namespace: str, provider: str) -> bool:
    """Whether no write takes out what others put into its Secrets and ConfigMaps: nobody tells when they stop that."""
    return any(ref.kind in FILES for ref in of_owner(ctx, namespace, provider).unrepaired)


def forget(ctx: Context, namespace: str, name: str, kind: Kind = kinds.IDENTITY_PROVIDER) -> None:
    """Keep nothing of what was made for an owner that is gone."""
    ctx.memory.pop(Key(f"Owned/{kind.kind}", namespace, name), None)


def give_up(ctx: Context, wanted: Object) -> None:
    """Keep nothing of what was made under the rendered one's name, as it is ours that it goes."""
    _memory_of(ctx, wanted).forget(kinds.ref(wanted))


def is_in_vain_just_now(ctx: Context, wanted: Object, present: Object) -> bool:
    """As `in_vain`, and not long ago; a clock that was set back must not make a minute of an hour."""
    tried = _memory_of(ctx, wanted).in_vain.get(kinds.ref(wanted))
    return tried is not None and 0 <= ctx.clock.now() - tried.at < tried.pause and in_vain(ctx, wanted, present)


def remember(ctx: Context, wanted: Object, present: Object) -> None:
    """Have what was tried in vain left alone for a while: ever longer where each try of the same wish ends pods.

    That is where it came to something else, or the next try is another object.
    """
    tries, ref, outcome = _memory_of(ctx, wanted).in_vain, kinds.ref(wanted), _outcome(wanted, present)
    former, pause = tries.get(ref), IN_VAIN
    ends = drift.must_be_replaced(wanted, present) or (former is not None and former.outcome != outcome)
    if former is not None and former.wanted == wanted and ends:
        pause = min(2 * former.pause, SELDOM)
    tries[ref] = _Try(wanted, outcome, ctx.clock.now(), pause)


def be_content(ctx: Context, wanted: Object) -> None:
    """Nothing is in vain any more: what comes back another time begins anew."""
    _memory_of(ctx, wanted).in_vain.pop(kinds.ref(wanted), None)
    note(ctx, wanted, None)


def note(ctx: Context, wanted: Object, text: str | None) -> None:
    """Have the owner's status say, or no longer say, what is not repaired."""
    ref, unrepaired, owner = kinds.ref(wanted), _memory_of(ctx, wanted).unrepaired, owner_of(wanted)
    if owner is None or unrepaired.get(ref) == text:
        return
    unrepaired.pop(ref, None)
    if text is not None:
        unrepaired[ref] = text
    ctx.enqueue(Key(owner.kind.kind, owner.namespace, owner.name))


def _digest(wanted: Object) -> str:
    return canonical.digest(canonical.dumps(wanted))


def _outcome(wanted: Object, present: Object) -> str:
    marks = {name: present["metadata"].get(name) for name in ("labels", "ownerReferences")}
    content = {name: value for name, value in present.items() if name not in ("metadata", "status")}
    return _digest({"wanted": wanted, "marks": marks, "content": content})
