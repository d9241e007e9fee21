"""Takes a key that somebody brings into a SigningKey's ledger, unless that would break a promise of an earlier one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailseal.api.findings import Finding
from tailseal.api.reasons import Reason
from tailseal.domain.keys import public
from tailseal.domain.keys.imported import ImportedKey
from tailseal.domain.rotation.signingkey.ledger import KeyRecord, SigningKeyLedger


def adopt(
    ledger: SigningKeyLedger, brought: ImportedKey | None, now: float
) -> tuple[SigningKeyLedger, tuple[Finding, ...]]:
    """The ledger with the key in it, ready for its turn; the same key brought again is no new key.

    Args:
        ledger: with everything in it that is revoked by now.
        brought: None if there is nothing to take up.
        now: Unix seconds.
    """
    if brought is None:
        return ledger, ()
    if refusal := _refusal(ledger, brought):
        return ledger, (refusal,)
    record = ledger.key(brought.kid)
    if record is None:
        return ledger.but(keys=(*ledger.keys, _record(brought, now))), ()
    if not record.past:
        return ledger, ()
    back = _record(brought, now)
    if not record.gone:
        back = record.but(superseded_at=None, lost_at=None, wanted_at=None, activated_at=None, sign_now=False)
    return ledger.but(keys=tuple(back if key is record else key for key in ledger.keys)), ()


def names(kid: str, public_jwk: Mapping[str, Any]) -> frozenset[str]:
    """Everything that a key can be called: its id, and its RFC 7638 thumbprint, which no renaming changes."""
    return frozenset((kid, _thumbprint(public_jwk) or kid))


def held_elsewhere(brought: ImportedKey, owner: str, ledger: SigningKeyLedger) -> Finding | None:
    """Why the key cannot be taken up beside another SigningKey of the namespace: an id names one key of one owner.

    Args:
        brought: the key.
        owner: name of the other SigningKey.
        ledger: the other's.
    """
    called = names(brought.kid, brought.public_jwk)
    if called & ledger.revoked.keys():
        return _revoked(brought)
    if not any(called & names(key.kid, key.public_jwk) for key in ledger.keys if not key.gone):
        return None
    text = (
        f"SigningKey {owner} has key {brought.kid}, or this key by another id, already: list that one on the "
        "IdentityProvider, or import another key"
    )
    return Finding(brought.path, text, Reason.REF_INVALID)


def _record(brought: ImportedKey, now: float) -> KeyRecord:
    return KeyRecord(
        kid=brought.kid,
        algorithm=brought.algorithm,
        rsa_bits=brought.rsa_bits,
        public_jwk=dict(brought.public_jwk),
        created_at=now,
    )


def _refusal(ledger: SigningKeyLedger, brought: ImportedKey) -> Finding | None:
    called = names(brought.kid, brought.public_jwk)
    if called & ledger.revoked.keys():
        return _revoked(brought)
    text = ""
    for key in ledger.keys:
        same = _thumbprint(key.public_jwk) == _thumbprint(brought.public_jwk)
        if key.kid == brought.kid and not same:
            text = f"the id {key.kid} already names another key: give this one an id of its own"
        elif key.kid == brought.kid and key.algorithm != brought.algorithm:
            text = f"key {key.kid} is a key for {key.algorithm}, and a key keeps its algorithm: import another one"
        elif same and key.kid != brought.kid and not key.gone:
            text = f"this key is here already by the id {key.kid}, and a key keeps its id: name that, or import another"
    return Finding(brought.path, text, Reason.REF_INVALID) if text else None


def _thumbprint(public_jwk: Mapping[str, Any]) -> str:
    try:
        return public.thumbprint(public_jwk)
    except public.KeyMaterialError:
        return ""


def _revoked(brought: ImportedKey) -> Finding:
    text = f"key {brought.kid} is revoked for ever, by whatever id: import another one"
    return Finding(brought.path, text, Reason.KEY_REVOKED)
