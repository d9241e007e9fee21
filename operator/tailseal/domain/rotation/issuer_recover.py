"""Puts right a ledger that knows less than the workers: made anew, or brought back from a backup.

A ledger is always written before the signing Secret that follows from it. So where that Secret has keys that the ledger
does not know, or signs with one that it never let sign, the ledger is from the past. What it lacks is taken over with
promises that are at least as long as any that may have been given; what it has in excess begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tailseal.domain.bundle.model import Signing
from tailseal.domain.rotation.issuer_ledger import IssuedKey, IssuerLedger
from tailseal.domain.rotation.issuer_model import IssuerSpec, OfferedKey


def recovered(
    ledger: IssuerLedger, written: Signing | None, offered: Sequence[OfferedKey], spec: IssuerSpec, now: float
) -> IssuerLedger:
    """The ledger, as it is unless it is from the past.

    Args:
        ledger: as read, or new.
        written: the signing Secret as it is there; None if there is none that can be read.
        offered: by the SigningKeys.
        spec: what the provider asks for.
        now: Unix seconds.
    """
    if written is None or not _is_past(ledger, written):
        return ledger
    published = {jwk["kid"]: jwk for jwk in written.jwks.get("keys", ()) if "kid" in jwk}
    sources = {key.kid: key.source for key in offered if not key.revoked}
    skews = {key.kid: key.clock_skew for key in offered}
    first = spec.order[0] if spec.order else ""
    known = {key.kid for key in ledger.keys}
    lacking = [kid for kid in published if kid not in known and kid not in ledger.revoked]
    kept = [_kept(key, written, now, there=key.kid in published) for key in ledger.keys]
    taken = [
        _taken(published[kid], written, sources.get(kid, first), max(spec.clock_skew, skews.get(kid, 0)), now)
        for kid in lacking
    ]
    return ledger.with_keys([*kept, *taken]).but(
        served=True,
        max_age=written.max_age,
        carried_age=max(written.max_age, ledger.max_age, ledger.carried_age),
        active=dict(sorted(_active(ledger, written).items())),
        default_algorithm=written.default_algorithm or ledger.default_algorithm,
    )


def _is_past(ledger: IssuerLedger, written: Signing) -> bool:
    for kid in written.active.values():
        key = ledger.key(kid)
        if kid not in ledger.revoked and (key is None or key.activated_at is None):
            return True
    return False


def _active(ledger: IssuerLedger, written: Signing) -> Mapping[str, str]:
    return {algorithm: kid for algorithm, kid in written.active.items() if kid not in ledger.revoked}


def _taken(jwk: Mapping[str, Any], written: Signing, source: str, clock_skew: int, now: float) -> IssuedKey:
    """A key that workers have and the ledger does not."""
    kid = str(jwk["kid"])
    lease = next((key.sign_until for key in written.held if key.kid == kid), None)
    return IssuedKey(
        kid=kid,
        alg=str(jwk.get("alg", "")),
        source=source,
        public_jwk=dict(jwk),
        published_at=now,
        max_age=written.max_age,
        set_age=written.max_age,
        clock_skew=clock_skew,
        longest_ttl=written.max_token_ttl,
        last_without=now,
        activated_at=now if kid in written.active.values() or lease is None else None,
        held=lease is not None,
        held_since=now,
        sign_until=now if lease is None else lease,
        dropped_at=now if lease is None else None,
    )


def _kept(key: IssuedKey, written: Signing, now: float, *, there: bool) -> IssuedKey:
    """A key that the ledger knows, but not how it fared since."""
    lease = max([key.sign_until, *(held.sign_until for held in written.held if held.kid == key.kid)])
    key = key.but(
        first_set=False,
        max_age=max(key.max_age, written.max_age),
        set_age=max(key.set_age, written.max_age),
        longest_ttl=max(key.longest_ttl, written.max_token_ttl),
        sign_until=lease,
    )
    if key.kid in written.active.values():
        return key.but(activated_at=now)
    again = key.but(held=False, dropped_at=None, may_sign=None, stopped_at=None)
    if there:
        return again if key.activated_at is None else again.but(activated_at=now)
    return again.but(published_at=now, last_without=now, behind=None)
