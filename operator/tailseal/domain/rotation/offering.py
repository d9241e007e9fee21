"""What a SigningKey's Secret offers to the issuers that list it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tailseal.domain.rotation.issuer import OfferedKey
from tailseal.domain.rotation.issuer_ledger import IssuerLedger


@dataclass(frozen=True, slots=True)
class Offers:
    """The offered keys, and the PKCS#8 PEM by key id of those whose material is intact."""

    keys: tuple[OfferedKey, ...]
    pems: Mapping[str, bytes]


def offers(secret: Mapping[str, Any]) -> Offers:
    """Decode the Secret `<name>-signingkey`; without content yet (a shell) it offers nothing.

    Raises:
        LedgerError: the ledger is missing beside material, or unreadable: keep what was last rendered.
    """
    raise NotImplementedError


def remembered(ledger: IssuerLedger, offered: Collection[OfferedKey], held: Collection[str]) -> tuple[OfferedKey, ...]:
    """The offered keys plus those that only the issuer still knows.

    A key whose SigningKey is unreadable or lost goes on being held, and signing, as long as its private part is
    in the signing Secret, until a successor may sign.

    Args:
        ledger: the issuer's.
        offered: what the readable SigningKeys offer.
        held: key ids whose PEM stands in the issuer's signing Secret.
    """
    raise NotImplementedError
