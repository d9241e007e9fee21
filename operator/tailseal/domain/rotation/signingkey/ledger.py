"""A SigningKey's ledger: every key it ever made, beside the material in the same Secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailseal.domain.rotation.issuer.ledger import MIN_CACHE
from tailseal.domain.rotation.ledger import Entry, Ledger


class Schedule(Entry):
    """What a SigningKey's spec asks for. Durations in seconds.

    Attributes:
        sign_now: a successor of a revoked signer need not wait for law 1.
        imported: keys are brought, never made; a new one follows when it is brought, whatever the interval.
    """

    algorithm: str
    rsa_bits: int
    interval: int
    publish_lead: int
    max_age: int
    clock_skew: int
    spare: bool = True
    sign_now: bool = True
    imported: bool = False

    @property
    def wait(self) -> int:
        """Seconds that caches and clocks need before a new key is known everywhere (law 1)."""
        return max(self.max_age, MIN_CACHE) + self.clock_skew


class KeyRecord(Entry):
    """One key. Times are Unix seconds; a time that is None has not come.

    Attributes:
        wanted_at: when it became the one that should sign.
        sign_now: it replaces a revoked signer and may sign before law 1 allows.
        activated_at: when it was first seen signing for an issuer (or, without issuers, could have).
        superseded_at: when a newer one became wanted, or it was discarded unused.
        lost_at: when its private part was found missing or damaged.
        retired_at: when no issuer needed it any more and its material was deleted.
        revoked_at: when it was revoked. For ever.
    """

    kid: str
    algorithm: str
    rsa_bits: int | None = None
    public_jwk: Mapping[str, Any]
    created_at: float
    wanted_at: float | None = None
    sign_now: bool = False
    activated_at: float | None = None
    superseded_at: float | None = None
    lost_at: float | None = None
    retired_at: float | None = None
    revoked_at: float | None = None

    @property
    def past(self) -> bool:
        """Another one signs instead, or should."""
        return self.superseded_at is not None or self.gone

    @property
    def gone(self) -> bool:
        """Its material is deleted and it is not published."""
        return self.retired_at is not None or self.revoked_at is not None


class SigningKeyLedger(Ledger):
    """All keys of one SigningKey.

    Attributes:
        keys: in the order of creation.
        schedule: as last accepted: it goes on while a later spec is refused.
        revoked: when each id was revoked, also ids that were never ours. For ever.
        succeeds_lost: an earlier ledger is lost, so verifiers may hold sets that we do not know of.
    """

    keys: tuple[KeyRecord, ...] = ()
    schedule: Schedule
    revoked: Mapping[str, float] = {}
    succeeds_lost: bool = False

    def key(self, kid: str) -> KeyRecord | None:
        """The record with that id."""
        return next((key for key in self.keys if key.kid == kid), None)

    def signer(self) -> KeyRecord | None:
        """The key that should sign; there is at most one."""
        wanted = (key for key in self.keys if key.wanted_at is not None and not key.past)
        return max(wanted, key=lambda key: (key.wanted_at, key.created_at, key.kid), default=None)

    def upcoming(self) -> tuple[KeyRecord, ...]:
        """The keys that have not had their turn, oldest first."""
        waiting = (key for key in self.keys if key.wanted_at is None and not key.past)
        return tuple(sorted(waiting, key=lambda key: (key.created_at, key.kid)))
