"""Which keys sign for an issuer: per algorithm the first listed SigningKey whose key may, else the former signer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from tailseal.domain.rotation.issuer.ledger import IssuerLedger
from tailseal.domain.rotation.issuer.model import OfferedKey


@dataclass(frozen=True, slots=True)
class Choice:
    """The signers.

    Args:
        active: key id by algorithm.
        default_algorithm: empty if nothing signs.
        waiting: ids of the keys that should sign and may not yet.
        forced: ids of the keys that sign before law 1 allows.
    """

    active: Mapping[str, str]
    default_algorithm: str
    waiting: frozenset[str]
    forced: frozenset[str]


def choose(
    order: tuple[str, ...],
    ledger: IssuerLedger,
    usable: Mapping[str, OfferedKey],
    allowed: Collection[str],
) -> Choice:
    """The signers that law 1 allows.

    Args:
        order: the SigningKeys, the default first.
        ledger: `active` and `default_algorithm` as they are now.
        usable: by key id: published here, private part at hand, not revoked.
        allowed: ids of the keys that law 1 allows to become signers.
    """
    signing = frozenset(ledger.active.values()) & usable.keys()
    wanted = {source: key for source in order if (key := _wanted(source, usable))}
    picks: dict[str, OfferedKey] = {}
    for source in order:
        key = wanted.get(source)
        if key is not None and (key.kid in signing or key.kid in allowed):
            picks[source] = key
        elif former := _former(source, ledger, usable):
            picks[source] = former
    forced = _force(order, ledger, wanted, picks)
    active: dict[str, str] = {}
    for source in order:
        if source in picks:
            active.setdefault(picks[source].alg, picks[source].kid)
    _keep(order, ledger, usable, wanted, picks, active)
    return Choice(
        active=active,
        default_algorithm=_default(order, ledger, picks, active),
        waiting=frozenset(_waiting(order, wanted, picks)),
        forced=forced & frozenset(active.values()),
    )


def _waiting(
    order: tuple[str, ...], wanted: Mapping[str, OfferedKey], picks: Mapping[str, OfferedKey]
) -> Iterable[str]:
    """Keys that would sign if they were allowed to: none of their algorithm is listed before them."""
    settled: set[str] = set()
    for source in order:
        if source in wanted and picks.get(source) != wanted[source] and wanted[source].alg not in settled:
            yield wanted[source].kid
        if source in picks:
            settled.add(picks[source].alg)


def _wanted(source: str, usable: Mapping[str, OfferedKey]) -> OfferedKey | None:
    keys = [key for key in usable.values() if key.source == source and key.wanted]
    return max(keys, key=lambda key: (key.created_at, key.kid), default=None)


def _former(source: str, ledger: IssuerLedger, usable: Mapping[str, OfferedKey]) -> OfferedKey | None:
    """The key of that SigningKey that signs now; of several, the default one."""
    algorithms = sorted(ledger.active, key=lambda alg: (alg != ledger.default_algorithm, alg))
    keys = (usable.get(ledger.active[alg]) for alg in algorithms)
    return next((key for key in keys if key is not None and key.source == source), None)


def _force(
    order: tuple[str, ...],
    ledger: IssuerLedger,
    wanted: Mapping[str, OfferedKey],
    picks: dict[str, OfferedKey],
) -> frozenset[str]:
    """Let successors of revoked signers sign at once where nothing else can sign with that algorithm (law 6)."""
    forced = set()
    for source in order:
        key = wanted.get(source)
        if key is None or not key.sign_now or source in picks or source not in ledger.bereft:
            continue
        if key.alg not in {pick.alg for pick in picks.values()}:
            picks[source] = key
            forced.add(key.kid)
    return frozenset(forced)


def _keep(
    order: tuple[str, ...],
    ledger: IssuerLedger,
    usable: Mapping[str, OfferedKey],
    wanted: Mapping[str, OfferedKey],
    picks: Mapping[str, OfferedKey],
    active: dict[str, str],
) -> None:
    """Let a signer that nothing asks for any more sign on until its successor may: publish, wait, switch."""
    unsettled = not order or order[0] not in picks
    coming = {key.alg for key in wanted.values()}
    nothing = not active
    for alg, kid in sorted(ledger.active.items()):
        needed = nothing or alg in coming or (unsettled and alg == ledger.default_algorithm)
        if kid in usable and needed:
            active.setdefault(alg, kid)


def _default(
    order: tuple[str, ...], ledger: IssuerLedger, picks: Mapping[str, OfferedKey], active: Mapping[str, str]
) -> str:
    if order and order[0] in picks:
        return picks[order[0]].alg
    if ledger.default_algorithm in active:
        return ledger.default_algorithm
    return next((picks[source].alg for source in order if source in picks), min(active, default=""))
