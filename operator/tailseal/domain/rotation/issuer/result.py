"""What follows from an issuer's ledger: what is published and held, what new keys wait for, what people are told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tailseal.api.times import format_time
from tailseal.domain.rotation.issuer import evidence as evidence_of
from tailseal.domain.rotation.issuer.choice import Choice
from tailseal.domain.rotation.issuer.evidence import Evidence
from tailseal.domain.rotation.issuer.gate import WAITING, shut
from tailseal.domain.rotation.issuer.ledger import IssuedKey, IssuerLedger
from tailseal.domain.rotation.issuer.model import Blocked, HeldKid, IssuerPlan, IssuerSpec, OfferedKey, Transition

KEY_SET_FULL = "KeySetFull"

LOOK_AGAIN = 10.0
"""Seconds after which to plan again while evidence is missing, should no event bring it earlier."""


def result(
    spec: IssuerSpec,
    before: IssuerLedger,
    ledger: IssuerLedger,
    choice: Choice,
    evidence: Evidence,
    crowded: Sequence[OfferedKey] = (),
) -> IssuerPlan:
    """The whole plan for a ledger; `crowded` are new keys that the set had no room for."""
    blocked = (*_blocked(ledger, choice, evidence), *_crowded(ledger, crowded))
    broken = tuple(_broken(ledger))
    return IssuerPlan(
        ledger=ledger,
        active=ledger.active,
        default_algorithm=ledger.default_algorithm,
        published=tuple(key.public_jwk for key in ledger.keys),
        held=tuple(HeldKid(key.kid, key.alg, key.source, key.sign_until) for key in ledger.keys if key.held),
        next_change=min(_removals(ledger), default=None),
        max_age=ledger.max_age,
        max_token_ttl=spec.longest_ttl,
        wake_at=_wake_at(spec, ledger, blocked, broken, evidence.now),
        blocked=blocked,
        events=tuple(_transitions(before, ledger)),
    )


def _removals(ledger: IssuerLedger) -> list[float]:
    return [due for key in ledger.keys if (due := key.remove_at) is not None]


def _blocked(ledger: IssuerLedger, choice: Choice, evidence: Evidence) -> Iterable[Blocked]:
    for key in ledger.keys:
        if key.kid in choice.waiting and key.wanted_since is not None:
            why = shut(key, evidence)
            if why is not None and why.reason != WAITING:
                yield Blocked(key.kid, why.reason, f"key {key.kid}: {why.message}")


def _crowded(ledger: IssuerLedger, crowded: Sequence[OfferedKey]) -> Iterable[Blocked]:
    for offer in crowded:
        yield Blocked(offer.kid, KEY_SET_FULL, f"key {offer.kid}: {crowding(ledger)}")


def crowding(ledger: IssuerLedger) -> str:
    """Why a full set takes no new key, for people."""
    due = min(_removals(ledger), default=None)
    when = "" if due is None else f", the next one at {format_time(due)}"
    return f"{len(ledger.keys)} keys are published, and verifiers read hardly more: it waits until one may leave{when}"


def _broken(ledger: IssuerLedger) -> Iterable[float]:
    for key in ledger.keys:
        if key.overlap_broken and key.kid in ledger.active.values():
            yield key.last_without + key.wait


def _wake_at(
    spec: IssuerSpec, ledger: IssuerLedger, blocked: tuple[Blocked, ...], broken: tuple[float, ...], now: float
) -> float | None:
    """The earliest instant at which time alone could change the plan."""
    times = [*_removals(ledger), *broken]
    times += [key.last_without + key.wait for key in ledger.keys if key.wanted_since is not None]
    times += [key.sign_until - spec.lease / 2 for key in ledger.keys if key.held]
    if blocked or any(_unsettled(key) for key in ledger.keys):
        times.append(now + LOOK_AGAIN)
    return min((due if due > now else now + _retry(now - due) for due in times), default=None)


def _retry(overdue: float) -> float:
    """What is due may wait for a report; soon there is one, or there is none for long."""
    return LOOK_AGAIN if overdue > evidence_of.FRESH else 1.0


def _unsettled(key: IssuedKey) -> bool:
    stopping = key.dropped_at is not None and key.stopped_at is None
    return key.behind != () or stopping


def _transitions(before: IssuerLedger, after: IssuerLedger) -> Iterable[Transition]:
    known, kept = {key.kid for key in before.keys}, {key.kid for key in after.keys}
    former = set(before.active.values())
    for kid in sorted(after.revoked.keys() - before.revoked.keys()):
        if kid in known:
            yield Transition("KeyRevoked", f"key {kid} is revoked: not published, not signed with any more", True)
    for key in after.keys:
        if key.kid not in known:
            yield Transition("KeyPublished", f"key {key.kid} ({key.alg}, SigningKey {key.source}) is published")
        if key.kid in after.active.values() and key.kid not in former:
            yield _activated(key)
    for kid in sorted(known - kept - after.revoked.keys()):
        yield Transition("KeyRemoved", f"key {kid} is no longer published: nothing it signed is valid any more")


def _activated(key: IssuedKey) -> Transition:
    if key.overlap_broken:
        message = f"key {key.kid} signs before every verifier can know it, since its predecessor was revoked"
        return Transition("OverlapBroken", message, warning=True)
    return Transition("KeyActivated", f"key {key.kid} ({key.alg}, SigningKey {key.source}) signs now")
