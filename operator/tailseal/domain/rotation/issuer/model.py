"""What goes into the issuer's planner and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tailseal.domain.rotation.issuer.ledger import IssuerLedger

LEASE = 14 * 86_400
"""Seconds for which workers may sign without hearing from the operator."""


@dataclass(frozen=True, slots=True)
class OfferedKey:
    """A key that a SigningKey offers to the issuers that list it.

    Args:
        kid: key id.
        alg: JWS algorithm.
        public_jwk: what goes into the JWKS.
        source: name of the SigningKey.
        created_at: Unix seconds.
        wanted: this is the one that should sign.
        revoked: it must go at once, for ever.
        max_age: `jwks.maxAge` in seconds.
        clock_skew: `clockSkew` in seconds.
        private: its private part is at hand.
        sign_now: it may sign before law 1 allows, if its alg would have no signer otherwise (law 6).
        superseded: a newer one is wanted instead: an issuer that does not publish it yet never will.
    """

    kid: str
    alg: str
    public_jwk: Mapping[str, Any]
    source: str
    created_at: float
    wanted: bool
    revoked: bool
    max_age: int
    clock_skew: int
    private: bool = True
    sign_now: bool = False
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class IssuerSpec:
    """What the IdentityProvider asks for.

    Args:
        order: names of its SigningKeys, the default first.
        longest_ttl: longest token lifetime in seconds that any user of the keys allows now.
        clock_skew: leeway in seconds that verifiers are told to have.
        copy_age: longest cache lifetime, in seconds, of a copy that new keys wait for; 0 without any.
        lease: seconds for which workers may sign without hearing from the operator.
    """

    order: tuple[str, ...]
    longest_ttl: int
    clock_skew: int
    copy_age: int = 0
    lease: int = LEASE


@dataclass(frozen=True, slots=True)
class HeldKid:
    """A private key that workers are given, and until when they may sign with it (Unix seconds)."""

    kid: str
    alg: str
    source: str
    sign_until: float


@dataclass(frozen=True, slots=True)
class Blocked:
    """A key that should sign but may not yet, for want of evidence.

    Args:
        kid: the key.
        reason: `NoReplicas`, `ReplicaUnreachable`, `ReplicaBehind`, `CopyUnreachable`, `CopyBehind`,
            `ClockSkew` or `KeySetFull`.
        message: for people; it names the pods, or copies, in the way.
    """

    kid: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Transition:
    """Something worth an event."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class IssuerPlan:
    """The ledger to write first, and everything of the signing Secret that follows from it.

    Args:
        ledger: write it (only if it differs) before anything else.
        active: the signing key id by algorithm; each is held and published.
        default_algorithm: empty while nothing may sign.
        published: the JWKs, in the order of their ids.
        held: what workers are given the private part of.
        next_change: earliest instant at which the published set may change.
        max_age: of the published set, in seconds.
        max_token_ttl: workers mint no longer token.
        wake_at: plan again then at the latest; None: only when something changes.
        blocked: which keys wait for evidence, and for whose.
        events: what this plan changes.
    """

    ledger: IssuerLedger
    active: Mapping[str, str]
    default_algorithm: str
    published: tuple[Mapping[str, Any], ...]
    held: tuple[HeldKid, ...]
    next_change: float | None
    max_age: int
    max_token_ttl: int
    wake_at: float | None = None
    blocked: tuple[Blocked, ...] = ()
    events: tuple[Transition, ...] = ()
