"""The planner of one SigningKey: when keys are made, wanted, superseded, revoked and retired."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tailseal.domain.rotation.signingkey.importing import adopt, names
from tailseal.domain.rotation.signingkey.ledger import KeyRecord, Schedule, SigningKeyLedger
from tailseal.domain.rotation.signingkey.model import (
    MEMORY,
    RSA,
    Issuer,
    KeyState,
    NewKey,
    SigningKeyPlan,
    State,
    Usage,
    Wish,
)
from tailseal.domain.rotation.signingkey.view import alone_at, lead_at, result

__all__ = ["Issuer", "KeyState", "NewKey", "Schedule", "SigningKeyPlan", "State", "Usage", "Wish", "plan", "with_key"]


def with_key(ledger: SigningKeyLedger, wanted: NewKey, jwk: Mapping[str, Any], now: float) -> SigningKeyLedger:
    """The ledger with a key that was just made."""
    record = KeyRecord(
        kid=jwk["kid"], algorithm=wanted.algorithm, rsa_bits=wanted.rsa_bits, public_jwk=dict(jwk), created_at=now
    )
    return ledger.but(keys=(*ledger.keys, record))


def plan(
    wish: Wish,
    ledger: SigningKeyLedger,
    material: Collection[str],
    issuers: Sequence[Issuer],
    now: float,
) -> SigningKeyPlan:
    """One step of one SigningKey.

    Args:
        wish: what is asked for.
        ledger: as it stands in the Secret.
        material: ids of the keys whose PEM is in the Secret and intact; that of a key that is brought is at hand.
        issuers: every provider of the namespace that lists this key or still publishes one of its keys.
        now: Unix seconds.
    """
    before = ledger
    ledger = _revoke(ledger, wish.revoked, now)
    ledger, refused = adopt(ledger, wish.imported, now)
    wish = _possible(wish, ledger, brought=not refused)
    ledger = ledger.but(schedule=wish.schedule)
    ledger = _lose(ledger, {*material, wish.imported.kid} if wish.imported else material, now)
    ledger = _observe(ledger, issuers, now)
    ledger = _discard(ledger, wish, now)
    ledger, missing = _advance(ledger, wish, now)
    if missing is not None:
        return SigningKeyPlan(ledger=before, make=(missing,))
    ledger = _observe(_hurry(ledger), issuers, now)
    urgent = ledger.revoked != before.revoked
    if not urgent and _needs_spare(ledger, now):
        return SigningKeyPlan(ledger=before, make=(_new_key(wish.schedule),))
    ledger = _retire(ledger, issuers, now)
    return replace(result(wish, before, ledger, issuers, now, again=urgent), refused=refused)


def _possible(wish: Wish, ledger: SigningKeyLedger, *, brought: bool) -> Wish:
    """The wish or, where it asks for a key that is not brought, what was accepted last."""
    if brought and (wish.imported is not None or not wish.schedule.imported):
        return wish
    return replace(wish, schedule=ledger.schedule, imported=None)


def _new_key(schedule: Schedule) -> NewKey:
    return NewKey(schedule.algorithm, schedule.rsa_bits if schedule.algorithm in RSA else None)


def _changed(ledger: SigningKeyLedger, changed: Mapping[str, KeyRecord]) -> SigningKeyLedger:
    if not changed:
        return ledger
    return ledger.but(keys=tuple(changed.get(key.kid, key) for key in ledger.keys))


def _revoke(ledger: SigningKeyLedger, revoked: frozenset[str], now: float) -> SigningKeyLedger:
    """For ever: an id that leaves the list stays revoked, and so does its key under any other id."""
    ids = dict(ledger.revoked) | {kid: now for kid in sorted(revoked) if kid not in ledger.revoked}
    hit = {
        key.kid: key.but(revoked_at=ids[key.kid]) for key in ledger.keys if key.kid in ids and key.revoked_at is None
    }
    ids = {name: ids[key.kid] for key in hit.values() for name in names(key.kid, key.public_jwk)} | ids
    return _changed(ledger, hit).but(revoked=ids)


def _lose(ledger: SigningKeyLedger, material: Collection[str], now: float) -> SigningKeyLedger:
    """What cannot sign any more is followed by another key, which waits for its turn like any other."""
    lost = [key for key in ledger.keys if not key.gone and key.lost_at is None and key.kid not in material]
    return _changed(ledger, {key.kid: key.but(lost_at=now, superseded_at=key.superseded_at or now) for key in lost})


def _observe(ledger: SigningKeyLedger, issuers: Sequence[Issuer], now: float) -> SigningKeyLedger:
    """Note that the signer signs: seen at an issuer or, without issuers, when it could."""
    signer = ledger.signer()
    if signer is None or signer.activated_at is not None:
        return ledger
    seen = [usage for issuer in issuers if (usage := issuer.usage.get(signer.kid)) and usage.active]
    if seen:
        times = [usage.activated_at for usage in seen if usage.activated_at is not None]
        return _changed(ledger, {signer.kid: signer.but(activated_at=min(times, default=now))})
    if now >= alone_at(ledger, signer, issuers) and not any(_asks_for(issuer, signer.kid) for issuer in issuers):
        return _changed(ledger, {signer.kid: signer.but(activated_at=now)})
    return ledger


def _asks_for(issuer: Issuer, kid: str) -> bool:
    """Whether the issuer will sign with the key; one that lists another SigningKey first has no need for it."""
    if not issuer.listed:
        return False
    usage = issuer.usage.get(kid)
    signs = any(other.active for other in issuer.usage.values())
    return usage is None or usage.waiting or usage.served_at is None or signs


def _discard(ledger: SigningKeyLedger, wish: Wish, now: float) -> SigningKeyLedger:
    """Drop unused keys of a former algorithm, size or origin, or made before the time of a request to rotate."""
    unfit = [key for key in ledger.upcoming() if not _fits(key, wish, now)]
    return _changed(ledger, {key.kid: key.but(superseded_at=now) for key in unfit})


def _fits(key: KeyRecord, wish: Wish, now: float) -> bool:
    if wish.schedule.imported:
        return wish.imported is None or key.kid == wish.imported.kid
    kind = NewKey(key.algorithm, key.rsa_bits)
    return kind == _new_key(wish.schedule) and not _requested(key, wish, now)


def _requested(key: KeyRecord, wish: Wish, now: float) -> bool:
    """Whether the request to rotate asks for a younger key than this."""
    return wish.rotate_after is not None and key.created_at < wish.rotate_after <= now


def _advance(ledger: SigningKeyLedger, wish: Wish, now: float) -> tuple[SigningKeyLedger, NewKey | None]:
    """Let the next key follow if it is time, or say which key must be made for that."""
    signer = ledger.signer()
    if signer is not None and not _due(signer, wish, now):
        return ledger, None
    following = next(iter(ledger.upcoming()), None)
    if following is None:
        return ledger, None if wish.schedule.imported else _new_key(wish.schedule)
    changed = {following.kid: following.but(wanted_at=now)}
    if signer is not None:
        changed[signer.kid] = signer.but(superseded_at=now)
    return _changed(ledger, changed), None


def _due(signer: KeyRecord, wish: Wish, now: float) -> bool:
    """Whether the signer has had its time; one that does not sign yet has not: requests meanwhile coalesce."""
    if wish.schedule.imported:
        return wish.imported is not None and wish.imported.kid != signer.kid
    if signer.activated_at is None:
        return False
    return now >= signer.activated_at + wish.schedule.interval or _requested(signer, wish, now)


def _hurry(ledger: SigningKeyLedger) -> SigningKeyLedger:
    """Law 6: the successor of a revoked signer may sign at once, unless nothing should then."""
    signer = ledger.signer()
    if signer is None or signer.activated_at is not None or not ledger.schedule.sign_now:
        return ledger
    former = [key for key in ledger.keys if key.activated_at is not None and key.wanted_at is not None]
    last = max(former, key=lambda key: (key.wanted_at, key.created_at), default=None)
    if last is None or last.revoked_at is None:
        return ledger
    return _changed(ledger, {signer.kid: signer.but(sign_now=True)})


def _needs_spare(ledger: SigningKeyLedger, now: float) -> bool:
    if ledger.upcoming() or ledger.schedule.imported:
        return False
    if ledger.schedule.spare:
        return True
    signer = ledger.signer()
    since = signer.activated_at if signer is not None else None
    return since is not None and now >= lead_at(since, ledger.schedule)


def _retire(ledger: SigningKeyLedger, issuers: Sequence[Issuer], now: float) -> SigningKeyLedger:
    """Let go of what no issuer publishes any more; forget the oldest of what went long ago."""
    used = {kid for issuer in issuers for kid in issuer.usage}
    over = {
        key.kid: key.but(retired_at=now)
        for key in ledger.keys
        if key.superseded_at is not None and not key.gone and key.kid not in used
        if now >= key.superseded_at + ledger.schedule.wait
    }
    ledger = _changed(ledger, over)
    retired = sorted((key for key in ledger.keys if key.gone), key=lambda key: key.created_at)
    forgotten = {key.kid for key in retired[:-MEMORY]}
    if not forgotten:
        return ledger
    return ledger.but(keys=tuple(key for key in ledger.keys if key.kid not in forgotten))
