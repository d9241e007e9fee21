"""The issuer's planner: which keys an IdentityProvider publishes, hands to its workers and signs with, by evidence.

Every step is recorded in the ledger before a worker can know of it, so a crash after any write only repeats a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tailseal.domain.evidence import Copy, Replica
from tailseal.domain.rotation.issuer import evidence as evidence_of
from tailseal.domain.rotation.issuer.choice import Choice, choose
from tailseal.domain.rotation.issuer.evidence import Evidence
from tailseal.domain.rotation.issuer.gate import shut
from tailseal.domain.rotation.issuer.ledger import IssuedKey, IssuerLedger
from tailseal.domain.rotation.issuer.model import (
    LEASE,
    Blocked,
    HeldKid,
    IssuerPlan,
    IssuerSpec,
    OfferedKey,
    Transition,
)
from tailseal.domain.rotation.issuer.result import crowding, result

__all__ = ["LEASE", "Blocked", "HeldKid", "IssuerPlan", "IssuerSpec", "OfferedKey", "Transition", "full", "plan"]

MOST_KEYS = 48
"""How many keys are published before new ones wait until former ones may leave: verifiers, our own workers among them,
refuse sets of more than 64, and a revocation must still find room for a successor and a spare of each SigningKey."""


def plan(
    spec: IssuerSpec,
    ledger: IssuerLedger,
    offered: Sequence[OfferedKey],
    replicas: Sequence[Replica],
    now: float,
    copies: Sequence[Copy] = (),
) -> IssuerPlan:
    """One step of one issuer towards the wanted signers.

    Args:
        spec: what the provider asks for.
        ledger: as it stands in the Secret.
        offered: every key of every SigningKey in `spec.order` or `ledger.sources()`, see `remembered`.
        replicas: every worker pod of the provider.
        now: Unix seconds.
        copies: where the set is read from beside them, as far as new keys wait for it.
    """
    evidence = replace(evidence_of.gather(replicas, now), copies=tuple(copies))
    before = ledger
    ledger = _inherit(ledger, offered)
    offers = _by_id(ledger, offered)
    ledger = _revoke(ledger, offers, now)
    ledger = _publish(spec, ledger, before, offers, evidence)
    ledger = _promise(spec, ledger, offers)
    ledger = ledger.with_keys(evidence_of.copied(evidence_of.serving(key, evidence), evidence) for key in ledger.keys)
    usable = {
        kid: offer
        for kid, offer in offers.items()
        if offer.private and not offer.revoked and ledger.key(kid) is not None
    }
    allowed = {key.kid for key in ledger.keys if shut(key, evidence) is None}
    choice = choose(spec.order, ledger, usable, allowed)
    ledger = _switch(ledger, choice, evidence)
    ledger = _hold(spec, ledger, choice, usable, evidence)
    ledger = ledger.with_keys(evidence_of.stopping(key, evidence) for key in ledger.keys)
    ledger = _number(before, _carry(before, _remove(ledger, evidence)), now)
    return result(spec, before, ledger, choice, evidence, _crowded(spec, ledger, offers))


def full(ledger: IssuerLedger) -> str:
    """Why no new key is taken up now; empty if there is room."""
    return crowding(ledger) if len(ledger.keys) >= MOST_KEYS else ""


def _inherit(ledger: IssuerLedger, offered: Sequence[OfferedKey]) -> IssuerLedger:
    """A key of which its SigningKey has nothing any more belongs to the one that brings it: that one can revoke it."""
    spoken = {(offer.kid, offer.source) for offer in offered}
    heirs = {offer.kid: offer.source for offer in reversed(offered) if offer.alg}
    moved = {key.kid: heirs[key.kid] for key in ledger.keys if (key.kid, key.source) not in spoken and key.kid in heirs}
    return ledger.with_keys(key.but(source=moved.get(key.kid, key.source)) for key in ledger.keys)


def _by_id(ledger: IssuerLedger, offered: Sequence[OfferedKey]) -> dict[str, OfferedKey]:
    """What is said of each key by whoever has it: an id on another SigningKey's list says nothing of it."""
    owners = {key.kid: key.source for key in ledger.keys}
    revoked = {(offer.kid, offer.source) for offer in offered if offer.revoked}
    found: dict[str, OfferedKey] = {}
    for offer in sorted(offered, key=lambda offer: (owners.get(offer.kid) != offer.source, offer.revoked)):
        if offer.kid not in found:
            said = (offer.kid, offer.source) in revoked
            found[offer.kid] = offer if offer.revoked == said else replace(offer, revoked=said)
    return found


def _revoke(ledger: IssuerLedger, offers: Mapping[str, OfferedKey], now: float) -> IssuerLedger:
    """Law 6: out of everything, in one write, for ever. A SigningKey can revoke only what came from it."""
    revoked = {(offer.kid, offer.source) for offer in offers.values() if offer.revoked}
    gone = {key.kid for key in ledger.keys if (key.kid, key.source) in revoked}
    active = set(ledger.active.values())
    bereft = {key.source for key in ledger.keys if key.kid in gone and key.kid in active}
    return ledger.but(
        keys=tuple(key for key in ledger.keys if key.kid not in gone),
        active={alg: kid for alg, kid in ledger.active.items() if kid not in gone},
        bereft=tuple(sorted(bereft | set(ledger.bereft))),
        revoked=dict(ledger.revoked) | dict.fromkeys(sorted(gone), now),
    )


def _publish(
    spec: IssuerSpec,
    ledger: IssuerLedger,
    before: IssuerLedger,
    offers: Mapping[str, OfferedKey],
    evidence: Evidence,
) -> IssuerLedger:
    """Take up new keys. The ages of all sets so far bound how long a cache may hold one without them."""
    live = [offer for offer in offers.values() if offer.source in spec.order and _publishable(offer, ledger)]
    max_age = min((offer.max_age for offer in live), default=ledger.max_age)
    age = max([max_age, before.max_age, before.carried_age, *(key.set_age for key in before.keys)])
    served = ledger.served or bool(evidence.counted) or bool(evidence.pods and before.keys)
    new = [
        IssuedKey(
            kid=offer.kid,
            alg=offer.alg,
            source=offer.source,
            public_jwk=dict(offer.public_jwk),
            published_at=evidence.mark,
            first_set=not served,
            max_age=max(age, offer.max_age, spec.copy_age),
            set_age=max(max_age, before.carried_age, spec.copy_age),
            clock_skew=max(spec.clock_skew, offer.clock_skew),
            longest_ttl=spec.longest_ttl,
            last_without=evidence.late,
            sign_until=evidence.late,
        )
        for offer in _room(ledger, live)
    ]
    carried = 0 if new else ledger.carried_age
    keys = [*ledger.keys, *new]
    return ledger.with_keys(keys).but(
        served=served or bool(evidence.pods and keys), max_age=max_age, carried_age=carried
    )


def _room(ledger: IssuerLedger, live: Sequence[OfferedKey]) -> list[OfferedKey]:
    """The new keys that the set has room for; a revoked signer's successor finds room anyway."""
    fresh = [offer for offer in live if ledger.key(offer.kid) is None and offer.private]
    room = MOST_KEYS - len(ledger.keys)
    fresh.sort(key=lambda offer: not offer.wanted)
    return [offer for number, offer in enumerate(fresh) if number < room or offer.source in ledger.bereft]


def _crowded(spec: IssuerSpec, ledger: IssuerLedger, offers: Mapping[str, OfferedKey]) -> list[OfferedKey]:
    """The new keys that the set had no room for."""
    live = (offer for offer in offers.values() if offer.source in spec.order and _publishable(offer, ledger))
    return [offer for offer in live if offer.private and ledger.key(offer.kid) is None]


def _publishable(offer: OfferedKey, ledger: IssuerLedger) -> bool:
    return not (offer.revoked or offer.superseded or offer.kid in ledger.revoked)


def _promise(spec: IssuerSpec, ledger: IssuerLedger, offers: Mapping[str, OfferedKey]) -> IssuerLedger:
    """Law 4: an edit lengthens what was promised for the keys that are out, and never shortens it."""

    def lengthened(key: IssuedKey) -> IssuedKey:
        offer = offers.get(key.kid)
        return key.but(
            max_age=max(key.max_age, ledger.max_age, offer.max_age if offer else 0, spec.copy_age),
            set_age=max(key.set_age, ledger.max_age, spec.copy_age),
            clock_skew=max(key.clock_skew, spec.clock_skew, offer.clock_skew if offer else 0),
            longest_ttl=max(key.longest_ttl, spec.longest_ttl),
        )

    return ledger.with_keys(lengthened(key) for key in ledger.keys)


def _switch(ledger: IssuerLedger, choice: Choice, evidence: Evidence) -> IssuerLedger:
    """Record who signs and who waits."""
    former, signing = set(ledger.active.values()), set(choice.active.values())

    def switched(key: IssuedKey) -> IssuedKey:
        if key.kid in signing - former:
            forced = key.kid in choice.forced
            return key.but(activated_at=evidence.late, wanted_since=None, overlap_broken=forced)
        if key.overlap_broken and shut(key, evidence) is None:
            return key.but(overlap_broken=False)
        if key.kid in choice.waiting:
            return key.but(wanted_since=evidence.now if key.wanted_since is None else key.wanted_since)
        return key.but(wanted_since=None)

    relieved = {key.source for key in ledger.keys if key.kid in signing}
    return ledger.with_keys(switched(key) for key in ledger.keys).but(
        active=dict(sorted(choice.active.items())),
        default_algorithm=choice.default_algorithm,
        bereft=tuple(source for source in ledger.bereft if source not in relieved),
    )


def _hold(
    spec: IssuerSpec,
    ledger: IssuerLedger,
    choice: Choice,
    usable: Mapping[str, OfferedKey],
    evidence: Evidence,
) -> IssuerLedger:
    """Hand out signers and those to come, on a lease; take back everything else."""
    signing = set(choice.active.values())
    held = {
        kid for kid, offer in usable.items() if kid in signing or (offer.source in spec.order and not offer.superseded)
    }
    half = evidence.late + spec.lease / 2
    extend = any(key.sign_until < half for key in ledger.keys if key.kid in held)

    def handed(key: IssuedKey) -> IssuedKey:
        if key.kid in held:
            until = max(key.sign_until, evidence.late + spec.lease) if extend else key.sign_until
            since = key.held_since if key.held else evidence.mark
            return key.but(
                held=True, held_since=since, sign_until=until, dropped_at=None, may_sign=None, stopped_at=None
            )
        if key.held or key.dropped_at is None:
            return key.but(held=False, dropped_at=evidence.mark, may_sign=None, stopped_at=None)
        return key

    return ledger.with_keys(handed(key) for key in ledger.keys)


def _remove(ledger: IssuerLedger, evidence: Evidence) -> IssuerLedger:
    """Law 2: let go of what nothing can need any more."""

    def over(key: IssuedKey) -> bool:
        if key.dropped_at is None:
            return False
        due = key.remove_at
        return key.activated_at is None or (due is not None and evidence.early is not None and evidence.early >= due)

    return ledger.with_keys(key for key in ledger.keys if not over(key))


def _carry(before: IssuerLedger, after: IssuerLedger) -> IssuerLedger:
    """Remember how long caches may hold sets of keys that left without waiting: revoked, or never used."""
    gone = max((key.set_age for key in before.keys if after.key(key.kid) is None), default=0)
    if gone <= max((key.set_age for key in after.keys), default=0):
        return after
    return after.but(carried_age=max(gone, after.carried_age))


def _number(before: IssuerLedger, after: IssuerLedger, now: float) -> IssuerLedger:
    """Number what promises something new. By the time, so that a ledger made anew is newer than any backup."""
    if _promises(before) == _promises(after):
        return after
    return after.but(revision=max(before.revision + 1, int(now)))


def _promises(ledger: IssuerLedger) -> tuple[Any, ...]:
    """All that would be missed if a ledger came back from a backup and nobody noticed."""
    kept = {"kid", "max_age", "set_age", "clock_skew", "longest_ttl", "activated_at", "held", "sign_until"}
    keys = [key.model_dump(include=kept) for key in ledger.keys]
    return keys, ledger.active, ledger.default_algorithm, ledger.max_age, ledger.revoked.keys()
