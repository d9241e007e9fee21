"""Puts right a ledger that knows less than the workers: made anew, or brought back from a backup.

A ledger is always written before the signing Secret that follows from it, and both bear its revision. So where that
Secret, or a replica, has a later one, the ledger is from the past. What was promised meanwhile is supposed to be as
long as it may have been; what is not known to be served begins anew. A signing Secret from the past says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tailseal.domain.bundle.model import Signing
from tailseal.domain.evidence import Replica, Report
from tailseal.domain.rotation.issuer.evidence import FRESH
from tailseal.domain.rotation.issuer.ledger import IssuedKey, IssuerLedger
from tailseal.domain.rotation.issuer.model import IssuerSpec, OfferedKey

LONGEST_TTL: Final = 86_400
"""Seconds: no token that we sign may live longer, so no lost promise was longer than this."""


@dataclass(frozen=True, slots=True)
class _Witness:
    """What somebody knows who knows more than the ledger."""

    revision: int
    published: Mapping[str, Mapping[str, Any]]
    active: Mapping[str, str]
    default_algorithm: str
    leases: Mapping[str, float]
    max_age: int


def recovered(
    ledger: IssuerLedger,
    written: Signing | None,
    offered: Sequence[OfferedKey],
    spec: IssuerSpec,
    replicas: Sequence[Replica],
    now: float,
) -> IssuerLedger:
    """The ledger, as it is unless it is from the past.

    Args:
        ledger: as read, or new.
        written: the signing Secret as it is there; None if there is none that can be read.
        offered: by the SigningKeys.
        spec: what the provider asks for.
        replicas: every worker pod of the provider.
        now: Unix seconds.
    """
    witness = _witness(ledger, written, offered, spec, replicas, now)
    if witness is None or witness.revision <= ledger.revision:
        return ledger
    sources = {key.kid: key.source for key in reversed(offered) if not key.revoked}
    skew = max([spec.clock_skew, *(key.clock_skew for key in offered)])
    first = spec.order[0] if spec.order else ""
    kept = [_kept(key, witness, spec, now) for key in ledger.keys]
    known = {key.kid for key in ledger.keys} | ledger.revoked.keys()
    taken = [
        _taken(jwk, witness, spec, sources.get(kid, first), skew, now)
        for kid, jwk in witness.published.items()
        if kid not in known
    ]
    active = {alg: kid for alg, kid in witness.active.items() if kid in witness.published and kid not in ledger.revoked}
    return ledger.with_keys([*kept, *taken]).but(
        served=True,
        max_age=witness.max_age,
        carried_age=max(witness.max_age, ledger.max_age, ledger.carried_age),
        active=dict(sorted(active.items())),
        default_algorithm=witness.default_algorithm if witness.default_algorithm in active else min(active, default=""),
        revision=max(witness.revision + 1, int(now)),
    )


def _witness(
    ledger: IssuerLedger,
    written: Signing | None,
    offered: Sequence[OfferedKey],
    spec: IssuerSpec,
    replicas: Sequence[Replica],
    now: float,
) -> _Witness | None:
    """Whoever has the latest revision."""
    fresh = [pod.report for pod in replicas if pod.ever_ready and pod.report and pod.report.heard_at > now - FRESH]
    report = max(fresh, key=lambda report: report.revision, default=None)
    if report is not None and report.revision > max(ledger.revision, written.revision if written is not None else 0):
        return _seen(report, ledger, written, offered, spec, now)
    return _written(written) if written is not None else None


def _written(written: Signing) -> _Witness:
    return _Witness(
        revision=written.revision,
        published=_by_id(written),
        active=written.active,
        default_algorithm=written.default_algorithm,
        leases={key.kid: key.sign_until for key in written.held},
        max_age=written.max_age,
    )


def _seen(
    report: Report,
    ledger: IssuerLedger,
    written: Signing | None,
    offered: Sequence[OfferedKey],
    spec: IssuerSpec,
    now: float,
) -> _Witness:
    """A replica names keys, and what they look like has to be known from elsewhere."""
    known: dict[str, Mapping[str, Any]] = _by_id(written) if written is not None else {}
    known |= {key.kid: key.public_jwk for key in ledger.keys}
    known |= {key.kid: key.public_jwk for key in offered if key.alg}
    ages = [ledger.max_age, written.max_age if written is not None else 0, *(key.max_age for key in offered)]
    return _Witness(
        revision=report.revision,
        published={kid: known[kid] for kid in sorted(report.served & known.keys())},
        active=report.signing,
        default_algorithm=ledger.default_algorithm,
        leases=dict.fromkeys(sorted(report.held), now + spec.lease),
        max_age=max(ages),
    )


def _by_id(written: Signing) -> dict[str, Mapping[str, Any]]:
    return {str(jwk["kid"]): jwk for jwk in written.jwks.get("keys", ()) if "kid" in jwk}


def _taken(
    jwk: Mapping[str, Any], witness: _Witness, spec: IssuerSpec, source: str, clock_skew: int, now: float
) -> IssuedKey:
    """A key that workers have and the ledger does not."""
    kid = str(jwk["kid"])
    return IssuedKey(
        kid=kid,
        alg=str(jwk.get("alg", "")),
        source=source,
        public_jwk=dict(jwk),
        published_at=now,
        max_age=witness.max_age,
        set_age=witness.max_age,
        clock_skew=clock_skew,
        longest_ttl=LONGEST_TTL,
        last_without=now,
        activated_at=now,
        held=kid in witness.leases,
        held_since=now,
        sign_until=witness.leases.get(kid, now + spec.lease),
        dropped_at=None if kid in witness.leases else now,
    )


def _kept(key: IssuedKey, witness: _Witness, spec: IssuerSpec, now: float) -> IssuedKey:
    """A key that the ledger knows, but not how it fared since: it may have signed, and sets may have lacked it."""
    return key.but(
        published_at=key.published_at if key.kid in witness.published else now,
        first_set=False,
        max_age=max(key.max_age, witness.max_age),
        set_age=max(key.set_age, witness.max_age),
        longest_ttl=LONGEST_TTL,
        behind=None,
        last_without=now,
        copied=(),
        activated_at=now,
        held=key.kid in witness.leases,
        held_since=now,
        sign_until=max(key.sign_until, witness.leases.get(key.kid, now + spec.lease)),
        dropped_at=None if key.kid in witness.leases else now,
        may_sign=None,
        stopped_at=None,
    )
