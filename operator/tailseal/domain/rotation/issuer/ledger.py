"""The issuer's ledger: what one IdentityProvider published, signs with, and promised, per key id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tailseal.domain.rotation.ledger import Entry, Ledger

MIN_CACHE = 30
"""Seconds for which verifiers heed no header (npm jose and PyJWKClient, measured)."""


class IssuedKey(Entry):
    """One key as this issuer knows it; stays until nothing that was promised for it is open.

    Attributes:
        published_at: when it was put into the published set.
        first_set: it belongs to the first set this issuer ever published, so no cache holds a set without it.
        max_age: longest cache lifetime, in seconds, of any set that may lack or hold it; only ever raised.
        set_age: longest cache lifetime, in seconds, that was said of a set while it was in it.
        clock_skew: leeway of verifiers, in seconds; only ever raised.
        longest_ttl: longest lifetime, in seconds, of any token it may have signed; only ever raised.
        behind: uids of pods that may serve a set without it; None until one replica was seen serving it.
        last_without: last instant at which any replica could have served a set without it, as far as known.
        copied: names of the copies that new keys wait for in which it was seen.
        wanted_since: since when it is to sign but does not yet.
        activated_at: when it was last made a signer; None if it never was.
        overlap_broken: it was made a signer before law 1 allowed, because its predecessor was revoked.
        held: workers are given its private part.
        held_since: when that was last decided.
        sign_until: the lease: the instant after which no worker signs with it; only ever raised.
        dropped_at: since when workers are no longer given its private part.
        may_sign: uids of pods not yet seen without it; None until one replica was seen without it.
        stopped_at: last possible signature, once every replica was seen to have stopped.
    """

    kid: str
    alg: str
    source: str
    public_jwk: Mapping[str, Any]
    published_at: float
    first_set: bool = False
    max_age: int
    set_age: int
    clock_skew: int
    longest_ttl: int
    behind: tuple[str, ...] | None = None
    last_without: float
    copied: tuple[str, ...] = ()
    wanted_since: float | None = None
    activated_at: float | None = None
    overlap_broken: bool = False
    held: bool = False
    held_since: float = 0.0
    sign_until: float
    dropped_at: float | None = None
    may_sign: tuple[str, ...] | None = None
    stopped_at: float | None = None

    @property
    def wait(self) -> int:
        """Seconds that must pass after `last_without` before it may sign (law 1)."""
        return max(self.max_age, MIN_CACHE) + self.clock_skew

    @property
    def remove_at(self) -> float | None:
        """When it may leave the published set (law 2); None while it is held; at once if it never signed."""
        if self.dropped_at is None:
            return None
        if self.activated_at is None:
            return self.dropped_at
        last_signature = self.sign_until if self.stopped_at is None else min(self.stopped_at, self.sign_until)
        return last_signature + self.longest_ttl + self.clock_skew + self.max_age


class IssuerLedger(Ledger):
    """All keys of one issuer.

    Attributes:
        served: the first set is complete, since a pod may have loaded it; keys that come later wait.
        max_age: what the published set's cache lifetime is now, in seconds.
        carried_age: cache lifetime of sets whose keys all went at once: the next key has to wait for them, too.
        active: the signing key id by algorithm.
        default_algorithm: the algorithm of the default signer; empty before the first.
        bereft: SigningKeys whose signer was revoked and has no successor yet.
        revoked: when each revoked key id was revoked. For ever.
        revision: grows with every change of a promise or of what workers are given; never below the time of it.
    """

    keys: tuple[IssuedKey, ...] = ()
    served: bool = False
    max_age: int = 0
    carried_age: int = 0
    active: Mapping[str, str] = {}
    default_algorithm: str = ""
    bereft: tuple[str, ...] = ()
    revoked: Mapping[str, float] = {}
    revision: int = 0

    def key(self, kid: str) -> IssuedKey | None:
        """The key with that id, if it is still known."""
        return next((key for key in self.keys if key.kid == kid), None)

    def sources(self) -> frozenset[str]:
        """Names of all SigningKeys whose keys are still promised, listed by the provider or not."""
        return frozenset(key.source for key in self.keys)

    def with_keys(self, keys: Iterable[IssuedKey]) -> IssuerLedger:
        """The same ledger with other keys, in the order of their ids."""
        return self.but(keys=tuple(sorted(keys, key=lambda key: key.kid)))
