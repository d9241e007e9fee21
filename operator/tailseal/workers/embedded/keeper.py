"""Keeps signing keys for one issuer with the planners of the operator; the only replica is this very process."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tailseal.api.findings import Finding
from tailseal.api.meta import MANAGED_BY, MANAGER, SIGNING_KEY_LABEL, key_secret
from tailseal.domain import poll
from tailseal.domain.bundle import build
from tailseal.domain.evidence import Replica
from tailseal.domain.keys import public
from tailseal.domain.keys.handle import taken_up
from tailseal.domain.rotation import IssuerLedger, IssuerSpec, LedgerError, OfferedKey, Transition, offers, plan_issuer
from tailseal.domain.rotation.issuer.plan import full
from tailseal.domain.rotation.ledger import FILE
from tailseal.domain.rotation.offering import Content, content, pem_file
from tailseal.domain.rotation.signingkey.ledger import SigningKeyLedger
from tailseal.domain.rotation.signingkey.plan import Issuer, SigningKeyPlan, Wish, plan, with_key
from tailseal.domain.rotation.usage import usage_of
from tailseal.workers.embedded.state import State

_MOST_NEW_KEYS: Final = 3


@dataclass(frozen=True, slots=True)
class Kept:
    """The volume `signing`, and when to look again.

    Args:
        files: of the volume.
        wake_at: Unix seconds; None: when something changes.
        events: what this step changed.
        refused: why keys that were brought are not taken up, by name of the SigningKey.
    """

    files: Mapping[str, bytes] = field(repr=False)
    wake_at: float | None
    events: tuple[Transition, ...]
    refused: tuple[tuple[str, Finding], ...] = ()


class Keeper:
    """One issuer's keys in a state folder.

    Args:
        state: where ledgers and material are kept.
        new_key: makes a PKCS#8 PEM for an algorithm and a size in bits.
        token: makes that many random bytes.
    """

    def __init__(self, state: State, *, new_key: Callable[[str, int], bytes], token: Callable[[int], bytes]) -> None:
        self._state, self._new_key, self._token = state, new_key, token

    def step(
        self, wishes: Mapping[str, Wish], issuer: str, spec: IssuerSpec, replicas: Sequence[Replica], now: float
    ) -> Kept:
        """One step of all keys and of the issuer; what is decided is on disk before anybody can see it.

        Args:
            wishes: by name of the SigningKey.
            issuer: the issuer's URL.
            spec: what the provider asks for.
            replicas: this process, once it serves.
            now: Unix seconds.

        Raises:
            LedgerError: a ledger cannot be read.
            StateError: the folder cannot be read or written.
        """
        ledger, poll_key = self._issuer()
        plans = {name: self._keep(name, wish, spec, ledger, now) for name, wish in wishes.items()}
        offered, pems = self._offers((*spec.order, *sorted(ledger.sources() - {*spec.order})))
        decided = plan_issuer(spec, ledger, offered, replicas, now)
        self._state.save("issuer", {FILE: decided.ledger.to_json(), poll.KEY_FILE: poll_key})
        wakes = [time for time in (decided.wake_at, *(entry.wake_at for entry in plans.values())) if time is not None]
        return Kept(
            files=build.signing_of(issuer, decided, pems, poll_key) if decided.published else {},
            wake_at=min(wakes, default=None),
            events=(*(event for entry in plans.values() for event in entry.events), *decided.events),
            refused=tuple((name, finding) for name, entry in plans.items() for finding in entry.refused),
        )

    def _issuer(self) -> tuple[IssuerLedger, bytes]:
        data = self._state.load("issuer")
        if data is None:
            return IssuerLedger(), self._token(poll.KEY_BYTES)
        poll_key = data.get(poll.KEY_FILE, b"")
        if len(poll_key) != poll.KEY_BYTES:
            raise LedgerError(f"issuer: {poll.KEY_FILE} is missing or damaged")
        return IssuerLedger.from_json(data.get(FILE, b"")), poll_key

    def _keep(self, name: str, wish: Wish, spec: IssuerSpec, issuer: IssuerLedger, now: float) -> SigningKeyPlan:
        """Plan one SigningKey, make what the plan needs, and write it down."""
        held = self._held(name)
        ledger, pems = held.ledger or SigningKeyLedger(schedule=wish.schedule), dict(held.pems)
        user = Issuer("serve", name in spec.order, usage_of(issuer, name), full(issuer))
        for _ in range(_MOST_NEW_KEYS):
            decided = plan(wish, ledger, frozenset(pems), [user], now)
            for new in decided.make:
                pem = self._new_key(new.algorithm, new.rsa_bits or 0)
                jwk = public.public_jwk(pem, new.algorithm)
                pems[jwk["kid"]] = pem
                ledger = with_key(ledger, new, jwk, now)
            if not decided.make:
                break
        if wish.imported is not None and not decided.refused:
            pems = taken_up(pems, wish.imported)
        kept = {pem_file(kid): pem for kid, pem in pems.items() if kid in decided.material}
        self._state.save(_entry(name), {FILE: decided.ledger.to_json(), **kept})
        return decided

    def _offers(self, names: Sequence[str]) -> tuple[list[OfferedKey], dict[str, bytes]]:
        offered: list[OfferedKey] = []
        pems: dict[str, bytes] = {}
        for name in names:
            found = offers(self._secret(name))
            offered += found.keys
            pems |= found.pems
        return offered, pems

    def _held(self, name: str) -> Content:
        return content(self._secret(name))

    def _secret(self, name: str) -> Mapping[str, Any]:
        """The entry in the shape that the operator keeps it in."""
        data = self._state.load(_entry(name))
        if data is not None and FILE not in data:
            raise LedgerError(f"{_entry(name)}: {FILE} is missing")
        return {
            "metadata": {"name": key_secret(name), "labels": {MANAGED_BY: MANAGER, SIGNING_KEY_LABEL: name}},
            "data": {file: base64.b64encode(value).decode() for file, value in (data or {}).items()},
        }


def _entry(name: str) -> str:
    return f"signingkey-{name}"
