"""What follows from a SigningKey's ledger: states, times, what is published, what people are told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tailseal.domain.rotation.issuer.model import Transition
from tailseal.domain.rotation.signingkey.ledger import KeyRecord, Schedule, SigningKeyLedger
from tailseal.domain.rotation.signingkey.model import Issuer, KeyState, SigningKeyPlan, State, Wish


def alone_at(ledger: SigningKeyLedger, signer: KeyRecord, issuers: Sequence[Issuer]) -> float:
    """When a signer that no issuer has need for could sign: law 1 by the clock; at once if nobody ever knew of any.

    Issuers that list the SigningKey are given the same time to say that they wait for the key.
    """
    wanted_at = signer.created_at if signer.wanted_at is None else signer.wanted_at
    if any(issuer.listed for issuer in issuers):
        return wanted_at + ledger.schedule.wait
    first = not ledger.succeeds_lost and all(key.activated_at is None for key in ledger.keys)
    return wanted_at if first else max(wanted_at, signer.created_at + ledger.schedule.wait)


def lead_at(activated_at: float, schedule: Schedule) -> float:
    """When the next key must be published to be known everywhere in time."""
    return activated_at + schedule.interval - schedule.publish_lead


def result(
    wish: Wish,
    before: SigningKeyLedger,
    ledger: SigningKeyLedger,
    issuers: Sequence[Issuer],
    now: float,
    *,
    again: bool,
) -> SigningKeyPlan:
    """The whole plan for a ledger; `again` asks for another step at once."""
    signer, active = ledger.signer(), _active(ledger, issuers)
    present = [key for key in ledger.keys if not key.gone]
    next_rotation = _next_rotation(signer, wish)
    wakes = [time for time in _wakes(ledger, issuers, next_rotation) if time > now]
    return SigningKeyPlan(
        ledger=ledger,
        material=frozenset(key.kid for key in present),
        jwks=tuple(key.public_jwk for key in present),
        states=tuple(_states(ledger, issuers, active)),
        signer=signer,
        active=active,
        next_rotation=next_rotation,
        wake_at=now if again else min(wakes, default=None),
        events=tuple(_transitions(before, ledger)),
    )


def _active(ledger: SigningKeyLedger, issuers: Sequence[Issuer]) -> KeyRecord | None:
    """The newest key that any issuer signs with; without issuers the signer, once it could sign."""
    signing = {kid for issuer in issuers for kid, usage in issuer.usage.items() if usage.active}
    keys = [key for key in ledger.keys if key.kid in signing and not key.gone]
    if keys:
        return max(keys, key=lambda key: (key.wanted_at or 0.0, key.created_at))
    signer = ledger.signer()
    alone = not any(issuer.listed for issuer in issuers)
    return signer if alone and signer is not None and signer.activated_at is not None else None


def _next_rotation(signer: KeyRecord | None, wish: Wish) -> float | None:
    if signer is None or signer.activated_at is None or wish.schedule.imported:
        return None
    due = signer.activated_at + wish.schedule.interval
    asked = wish.rotate_after
    return min(due, asked) if asked is not None and asked > signer.created_at else due


def _wakes(ledger: SigningKeyLedger, issuers: Sequence[Issuer], next_rotation: float | None) -> Iterable[float]:
    """Every instant at which time alone changes the plan."""
    if next_rotation is not None:
        yield next_rotation
    signer = ledger.signer()
    if signer is not None and signer.activated_at is not None and not ledger.schedule.imported:
        yield lead_at(signer.activated_at, ledger.schedule)
    elif signer is not None and signer.activated_at is None:
        yield alone_at(ledger, signer, issuers)
    for key in ledger.keys:
        if key.superseded_at is not None and not key.gone:
            yield key.superseded_at + ledger.schedule.wait
    for issuer in issuers:
        if not issuer.listed:
            yield from (usage.remove_at for usage in issuer.usage.values() if usage.remove_at is not None)


def _states(ledger: SigningKeyLedger, issuers: Sequence[Issuer], active: KeyRecord | None) -> Iterable[KeyState]:
    for key in ledger.keys:
        served = _served_at(key, issuers)
        yield KeyState(
            record=key,
            state=_state(key, active, published=served is not None),
            publish_time=None if key.gone else served,
            activation_time=key.activated_at,
            removal_time=key.retired_at or key.revoked_at or _removal(key, ledger, issuers),
        )


def _state(key: KeyRecord, active: KeyRecord | None, *, published: bool) -> State:
    if key.revoked_at is not None:
        return State.REVOKED
    if key.retired_at is not None:
        return State.RETIRED
    if active is not None and key.kid == active.kid:
        return State.ACTIVE
    if key.superseded_at is not None:
        return State.RETIRING
    return State.PUBLISHED if published else State.PENDING


def _served_at(key: KeyRecord, issuers: Sequence[Issuer]) -> float | None:
    """Since when all replicas of all issuers that list the SigningKey serve it; without any, since it was made."""
    times = [
        usage.served_at if (usage := issuer.usage.get(key.kid)) is not None else None
        for issuer in issuers
        if issuer.listed
    ]
    known = [time for time in times if time is not None]
    return max(known, default=key.created_at) if len(known) == len(times) else None


def _removal(key: KeyRecord, ledger: SigningKeyLedger, issuers: Sequence[Issuer]) -> float | None:
    if key.superseded_at is None:
        return None
    usages = [usage for issuer in issuers if (usage := issuer.usage.get(key.kid)) is not None]
    times = [usage.remove_at for usage in usages if usage.remove_at is not None]
    if len(times) < len(usages):
        return None
    return max([key.superseded_at + ledger.schedule.wait, *times])


def _transitions(before: SigningKeyLedger, after: SigningKeyLedger) -> Iterable[Transition]:
    for key in after.keys:
        was = before.key(key.kid)
        if was is None and after.schedule.imported:
            yield Transition("KeyImported", f"key {key.kid} ({key.algorithm}) is imported")
        if key.revoked_at is not None and (was is None or was.revoked_at is None):
            message = f"key {key.kid} is revoked for ever: tokens that it signed do not verify any more"
            yield Transition("KeyRevoked", message, warning=True)
        elif key.lost_at is not None and (was is None or was.lost_at is None):
            message = f"the private part of key {key.kid} is missing or damaged; another key follows it"
            yield Transition("KeyMaterialLost", message, warning=True)
        elif key.activated_at is not None and (was is None or was.activated_at is None):
            yield Transition("KeyActivated", f"key {key.kid} ({key.algorithm}) signs now")
        elif key.retired_at is not None and (was is None or was.retired_at is None):
            yield Transition("KeyRemoved", f"key {key.kid} is published nowhere any more; its material is deleted")
