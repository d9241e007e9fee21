"""What goes into a SigningKey's planner and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from tailseal.api.findings import Finding
from tailseal.domain.keys.imported import ImportedKey
from tailseal.domain.rotation.issuer.model import Transition
from tailseal.domain.rotation.signingkey.ledger import KeyRecord, Schedule, SigningKeyLedger

RSA: Final = ("RS256", "PS256")

MEMORY: Final = 32
"""How many keys that are gone are remembered; revoked ids are remembered for ever apart from these."""


class State(StrEnum):
    """Where a key is in its life, as status says it."""

    PENDING = "Pending"
    PUBLISHED = "Published"
    ACTIVE = "Active"
    RETIRING = "Retiring"
    RETIRED = "Retired"
    REVOKED = "Revoked"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a SigningKey's spec and annotations ask for.

    Args:
        schedule: from the spec.
        rotate_after: a signer created at or after this time (Unix seconds) is asked for.
        revoked: `spec.revokedKeyIDs`.
        imported: the key that is brought; None where keys are made, or while none that fits is brought.
    """

    schedule: Schedule
    rotate_after: float | None = None
    revoked: frozenset[str] = frozenset()
    imported: ImportedKey | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What one issuer's ledger says of one key. Times are Unix seconds.

    Args:
        served_at: since when every replica was seen serving it; None while one was not.
        active: it signs.
        activated_at: when it was last made a signer.
        remove_at: when it may leave the published set; None while it may still be handed to workers.
        waiting: it should sign and may not yet; one that neither signs nor waits has another listed before it.
        overlap_broken: it signs although verifiers may not know it yet.
    """

    served_at: float | None
    active: bool
    activated_at: float | None = None
    remove_at: float | None = None
    waiting: bool = False
    overlap_broken: bool = False


@dataclass(frozen=True, slots=True)
class Issuer:
    """An IdentityProvider of the namespace, as far as this SigningKey is concerned.

    Args:
        name: of the provider.
        listed: it exists and lists this SigningKey.
        usage: what its ledger says, by key id; only keys of this SigningKey.
        full: why it takes no new key up now; empty if it does.
    """

    name: str
    listed: bool
    usage: Mapping[str, Usage] = field(default_factory=dict)
    full: str = ""


@dataclass(frozen=True, slots=True)
class NewKey:
    """Material to be made before planning again."""

    algorithm: str
    rsa_bits: int | None


@dataclass(frozen=True, slots=True)
class KeyState:
    """One key as status says it. Times are Unix seconds."""

    record: KeyRecord
    state: State
    publish_time: float | None = None
    activation_time: float | None = None
    removal_time: float | None = None


@dataclass(frozen=True, slots=True)
class SigningKeyPlan:
    """The ledger to write (with the material, in one write) and what follows from it.

    Args:
        ledger: write it if it differs.
        make: keys to make first; give them to `with_key` and plan again. Nothing is written before.
        material: ids of the keys whose PEM stays in the Secret.
        jwks: public keys for the ConfigMap.
        states: for status, in the order in which the keys were made: list-maps keep the order of arrival.
        signer: the key that should sign.
        active: the key that does.
        next_rotation: Unix seconds; None while a rotation is under way.
        wake_at: plan again then at the latest.
        events: what this plan changes.
        refused: why the key that is brought is not taken up; all goes on as it was accepted last.
    """

    ledger: SigningKeyLedger
    make: tuple[NewKey, ...] = ()
    material: frozenset[str] = frozenset()
    jwks: tuple[Mapping[str, Any], ...] = ()
    states: tuple[KeyState, ...] = ()
    signer: KeyRecord | None = None
    active: KeyRecord | None = None
    next_rotation: float | None = None
    wake_at: float | None = None
    events: tuple[Transition, ...] = ()
    refused: tuple[Finding, ...] = ()
