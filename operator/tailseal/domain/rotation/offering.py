"""What a SigningKey's Secret holds, and what it offers to the issuers that list it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tailseal.api.meta import MANAGED_BY, MANAGER, SIGNING_KEY_LABEL, key_secret
from tailseal.domain.keys import handle, public
from tailseal.domain.rotation.issuer.ledger import IssuerLedger
from tailseal.domain.rotation.issuer.model import OfferedKey
from tailseal.domain.rotation.ledger import FILE, LedgerError
from tailseal.domain.rotation.signingkey.ledger import KeyRecord, SigningKeyLedger

SUFFIX = ".pem"
"""A key's material stands in the Secret under its key id (or, where that cannot be, its digest) and this."""

_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True, slots=True)
class Offers:
    """The offered keys, and by key id the material (PEM or handle) of those whose it is intact."""

    keys: tuple[OfferedKey, ...] = ()
    pems: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Content:
    """A SigningKey's Secret, decoded.

    Args:
        ledger: None while the Secret is but a shell.
        pems: intact material by key id.
    """

    ledger: SigningKeyLedger | None
    pems: Mapping[str, bytes] = field(repr=False)


def pem_file(kid: str) -> str:
    """Name of a key's file: an imported key's id may hold characters that no name in a Secret may."""
    return (kid if _FILE_NAME.fullmatch(kid) else f"sha256.{hashlib.sha256(kid.encode()).hexdigest()}") + SUFFIX


def content(secret: Mapping[str, Any]) -> Content:
    """What the Secret holds.

    Raises:
        LedgerError: the ledger is missing beside material, or unreadable.
    """
    data: Mapping[str, str] = secret.get("data") or {}
    if not data:
        return Content(None, {})
    if FILE not in data:
        raise LedgerError(f"there is material but no {FILE}")
    ledger = SigningKeyLedger.from_json(_decode(FILE, data[FILE]))
    pems = {record.kid: pem for record in ledger.keys if (pem := _intact(record, data)) is not None}
    return Content(ledger, pems)


def offers(secret: Mapping[str, Any]) -> Offers:
    """Decode the Secret `<name>-signingkey`; without content yet (a shell) it offers nothing.

    Raises:
        LedgerError: not a SigningKey's Secret; its ledger is missing beside material, or unreadable: keep what was
            last rendered.
    """
    source = _source(secret)
    held = content(secret)
    if held.ledger is None:
        return Offers()
    offered = [_offer(record, source, held.ledger, held.pems) for record in held.ledger.keys]
    known = {record.kid for record in held.ledger.keys}
    offered += [revoked_offer(kid, source) for kid in sorted(held.ledger.revoked.keys() - known)]
    return Offers(tuple(offered), held.pems)


def remembered(ledger: IssuerLedger, offered: Collection[OfferedKey], held: Collection[str]) -> tuple[OfferedKey, ...]:
    """The offered keys plus those that only the issuer still knows.

    A key whose SigningKey is unreadable or lost goes on being held, and signing, as long as its private part is
    in the signing Secret, until a successor may sign.

    Args:
        ledger: the issuer's.
        offered: what the readable SigningKeys offer.
        held: key ids whose PEM stands in the issuer's signing Secret.
    """
    at_hand = {key.kid for key in offered if key.private}
    revoked = {(key.kid, key.source) for key in offered if key.revoked}
    readable = {key.source for key in offered if not key.revoked}
    kept = [
        OfferedKey(
            kid=key.kid,
            alg=key.alg,
            public_jwk=key.public_jwk,
            source=key.source,
            created_at=key.published_at,
            wanted=False,
            revoked=False,
            max_age=ledger.max_age,
            clock_skew=key.clock_skew,
            superseded=key.source in readable,
        )
        for key in ledger.keys
        if key.held and key.kid in held and key.kid not in at_hand and (key.kid, key.source) not in revoked
    ]
    replaced = {key.kid for key in kept}
    return (*(key for key in offered if key.kid not in replaced), *kept)


def _source(secret: Mapping[str, Any]) -> str:
    """The SigningKey's name: by label, which must fit the Secret's own name."""
    metadata = secret["metadata"]
    labels = metadata.get("labels", {})
    source = labels.get(SIGNING_KEY_LABEL, "")
    if labels.get(MANAGED_BY) != MANAGER or metadata["name"] != key_secret(source):
        raise LedgerError(f"Secret {metadata['name']} is not a SigningKey's")
    return str(source)


def _decode(name: str, value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise LedgerError(f"{name} is not base64") from error


def _intact(record: KeyRecord, data: Mapping[str, str]) -> bytes | None:
    """The material of that record if it is there and is that key's."""
    value = data.get(pem_file(record.kid))
    if value is None or record.gone:
        return None
    try:
        pem = _decode(pem_file(record.kid), value)
        jwk = handle.public_jwk(pem, record.algorithm)
    except (LedgerError, public.KeyMaterialError):
        return None
    return pem if public.thumbprint(jwk) == public.thumbprint(record.public_jwk) else None


def _offer(record: KeyRecord, source: str, ledger: SigningKeyLedger, pems: Mapping[str, bytes]) -> OfferedKey:
    signer = ledger.signer()
    return OfferedKey(
        kid=record.kid,
        alg=record.algorithm,
        public_jwk=record.public_jwk,
        source=source,
        created_at=record.created_at,
        wanted=signer is not None and signer.kid == record.kid,
        revoked=record.kid in ledger.revoked,
        max_age=ledger.schedule.max_age,
        clock_skew=ledger.schedule.clock_skew,
        private=record.kid in pems,
        sign_now=record.sign_now and record.activated_at is None,
        superseded=record.superseded_at is not None or record.gone,
    )


def revoked_offer(kid: str, source: str) -> OfferedKey:
    """A revoked id of which no more is known: a lost ledger's, or one that must never be imported."""
    return OfferedKey(
        kid=kid,
        alg="",
        public_jwk={},
        source=source,
        created_at=0.0,
        wanted=False,
        revoked=True,
        max_age=0,
        clock_skew=0,
        private=False,
        superseded=True,
    )
