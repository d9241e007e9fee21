"""The planner of one SigningKey: when keys are made, wanted, superseded, revoked and retired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tailseal.domain.rotation.issuer import Transition
from tailseal.domain.rotation.signingkey_ledger import KeyRecord, SigningKeyLedger


class State(StrEnum):
    """Where a key is in its life, as status says it."""

    PENDING = "Pending"
    PUBLISHED = "Published"
    ACTIVE = "Active"
    RETIRING = "Retiring"
    RETIRED = "Retired"
    REVOKED = "Revoked"


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a SigningKey's spec and annotations ask for; durations in seconds, instants in Unix seconds.

    Args:
        rotate_after: a signer created at or after this time is asked for (annotation).
        revoked: `spec.revokedKeyIDs`.
    """

    algorithm: str
    rsa_bits: int
    interval: int
    publish_lead: int
    max_age: int
    clock_skew: int
    spare: bool = True
    sign_now: bool = True
    rotate_after: float | None = None
    revoked: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Usage:
    """What one issuer's ledger says of one key."""

    published_at: float
    served: bool
    active: bool
    activated_at: float | None = None
    remove_at: float | None = None


@dataclass(frozen=True, slots=True)
class Issuer:
    """An IdentityProvider of the namespace, as far as this SigningKey is concerned.

    Args:
        name: of the provider.
        listed: it exists and lists this SigningKey.
        usage: what its ledger says, by key id; only keys of this SigningKey.
    """

    name: str
    listed: bool
    usage: Mapping[str, Usage] = field(default_factory=dict)


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
        make: keys to make first; give them to `adopted` and plan again. Nothing is written before.
        material: ids of the keys whose PEM stays in the Secret.
        jwks: public keys for the ConfigMap.
        states: for status, newest first.
        signer: the key that should sign.
        active: the key that does.
        next_rotation: Unix seconds; None while a rotation is under way.
        wake_at: plan again then at the latest.
        events: what this plan changes.
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


def plan(
    schedule: Schedule,
    ledger: SigningKeyLedger,
    material: frozenset[str],
    issuers: Sequence[Issuer],
    now: float,
) -> SigningKeyPlan:
    """One step of one SigningKey.

    Args:
        schedule: what is asked for.
        ledger: as it stands in the Secret.
        material: ids of the keys whose PEM is in the Secret and intact.
        issuers: every provider of the namespace that lists this key or still publishes one of its keys.
        now: Unix seconds.
    """
    raise NotImplementedError
