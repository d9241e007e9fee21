"""Rotation: two ledgers and two pure planners, one for a SigningKey's material, one for what an issuer does with it."""

from tailseal.domain.rotation.issuer.ledger import IssuedKey, IssuerLedger
from tailseal.domain.rotation.issuer.plan import (
    Blocked,
    HeldKid,
    IssuerPlan,
    IssuerSpec,
    OfferedKey,
    Transition,
)
from tailseal.domain.rotation.issuer.plan import plan as plan_issuer
from tailseal.domain.rotation.ledger import LedgerError
from tailseal.domain.rotation.offering import Offers, offers, remembered, revoked_offer

__all__ = [
    "Blocked",
    "HeldKid",
    "IssuedKey",
    "IssuerLedger",
    "IssuerPlan",
    "IssuerSpec",
    "LedgerError",
    "OfferedKey",
    "Offers",
    "Transition",
    "offers",
    "plan_issuer",
    "remembered",
    "revoked_offer",
]
