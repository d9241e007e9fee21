"""Client secrets: made, judged, hashed, and following each other with an overlap.

Ours are 256 random bits, so one fast hash is as good as a slow one: there is nothing to guess. It is salted with the
client id, so that equal secrets cannot be told. A slow hash for those that are brought would cost the token endpoint
a fraction of a second for each wrong guess of anybody; so they must be long instead, as random ones are.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from tailseal.domain import canonical
from tailseal.domain.bundle.model import ClientSecret

SECRET_BYTES: Final = 32

OVERLAP: Final = 24 * 3600
"""Seconds for which the former secret is accepted beside the one that followed it."""

_BROUGHT: Final = re.compile(r"[!-~]{32,128}", re.ASCII)
_DISTINCT: Final = 10
"""Different characters that a secret must have: 32 random hexadecimal digits have fewer once in 10,000 times."""

_END: Final = 2.0**53
"""Seconds. JSON says numbers that no bundle can hold, and one client's annotation would keep it from everybody."""


def secret_of(random: bytes) -> str:
    """A client secret of that randomness, as unpadded base64url."""
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def weakness(secret: str) -> str:
    """Why a secret that somebody brings is not taken; empty if it is."""
    if not _BROUGHT.fullmatch(secret):
        return "must have 32 to 128 visible ASCII characters, drawn at random, such as by `openssl rand -hex 32`"
    if len(set(secret)) < _DISTINCT:
        return "repeats few characters: draw it at random, such as by `openssl rand -hex 32`"
    return ""


def digest(client_id: str, secret: str) -> str:
    """The hash by which workers know a secret: `sha256:<hex>`."""
    return canonical.digest(b"tailseal:client-secret\0" + client_id.encode() + b"\0" + secret.encode())


def is_right(client_id: str, secret: str, known: Iterable[ClientSecret], now: float) -> bool:
    """Whether the secret is one of those that count now; takes the same time whichever it is."""
    hashed = digest(client_id, secret)
    found = False
    for entry in known:
        counts = entry.expires_at is None or now < entry.expires_at
        found |= hmac.compare_digest(entry.digest, hashed) and counts
    return found


@dataclass(frozen=True, slots=True)
class SecretLedger:
    """What is known of a client's secrets; it holds hashes only, and stands in the same object as the secret.

    Args:
        current: hash of the one that the application is told.
        created_at: since when (Unix seconds).
        following: hash of the one that workers are to know before the application is told.
        former: hash of the one before.
        until: until when the former counts.
    """

    current: str = ""
    created_at: float = 0.0
    following: str = ""
    former: str = ""
    until: float = 0.0

    def known(self) -> tuple[ClientSecret, ...]:
        """What workers accept."""
        return tuple(
            ClientSecret(digest=hashed, expires_at=expires_at)
            for hashed, expires_at in ((self.current, None), (self.following, None), (self.former, self.until))
            if hashed
        )

    def followed_by(self, hashed: str, now: float) -> SecretLedger:
        """With that one as the current, and the present one as the former for a while."""
        return SecretLedger(hashed, now, "", self.current, now + OVERLAP if self.current else 0.0)

    def to_json(self) -> str:
        """As text, absent members left out."""
        members = {name: getattr(self, name) for name in self.__slots__}
        return canonical.dumps({name: value for name, value in members.items() if value}).decode()

    @classmethod
    def from_json(cls, text: str) -> SecretLedger:
        """What the text says; nothing known if it is no ledger: whoever can write it could write the secret as well."""
        try:
            members: Any = json.loads(text)
            found = cls(**members)
            times = all(type(time) in {int, float} and 0 <= time < _END for time in (found.created_at, found.until))
            hashes = all(re.fullmatch(r"(sha256:[0-9a-f]{64})?", each) for each in found._hashes())
        except (ValueError, TypeError, RecursionError):
            return cls()
        return found if times and hashes else cls()

    def _hashes(self) -> tuple[str, str, str]:
        return self.current, self.following, self.former


@dataclass(frozen=True, slots=True)
class SecretPlan:
    """One step of a client's secrets.

    Args:
        secret: what the application is to be told.
        ledger: to be written with it.
        pending: the one that follows, kept in memory until workers know it; it is nowhere else, so one that is lost
            is drawn anew.
        wake_at: Unix seconds at which to look again.
    """

    secret: str
    ledger: SecretLedger
    pending: str = ""
    wake_at: float | None = None


@dataclass(frozen=True, slots=True)
class SecretInputs:
    """What a step is planned from.

    Args:
        client_id: whose.
        ledger: as found; empty where there is none.
        held: the secret that stands in the application's Secret; empty if there is none.
        pending: as the last plan said.
        brought: the secret that its owner brings; empty if the operator makes them.
        rotate_after: a secret created after this is asked for (Unix seconds).
        served: whether every replica knows all of the ledger's hashes.
        now: Unix seconds.
    """

    client_id: str
    ledger: SecretLedger
    held: str
    pending: str = ""
    brought: str = ""
    rotate_after: float | None = None
    served: bool = False
    now: float = 0.0


def plan(seen: SecretInputs, draw: Callable[[], str]) -> SecretPlan:
    """The next step; run again on its own outcome, it changes nothing.

    Args:
        seen: what there is.
        draw: makes a new secret.
    """
    ledger = _without_expired(seen.ledger, seen.now)
    if seen.brought:
        return _finish(_brought(seen, ledger), seen)
    hashed = digest(seen.client_id, seen.held) if seen.held else ""
    if not ledger.current and seen.held and not weakness(seen.held):
        return _finish(
            SecretPlan(seen.held, SecretLedger(hashed, seen.now)), seen
        )  # the ledger was lost, not the secret
    if not ledger.current or hashed != ledger.current:
        made = draw()
        return _finish(SecretPlan(made, ledger.followed_by(digest(seen.client_id, made), seen.now)), seen)
    due = seen.rotate_after is not None and ledger.created_at < seen.rotate_after <= seen.now
    return _finish(_rotated(seen, ledger, draw) if due else SecretPlan(seen.held, replace(ledger, following="")), seen)


def _brought(seen: SecretInputs, ledger: SecretLedger) -> SecretPlan:
    hashed = digest(seen.client_id, seen.brought)
    same = hashed == ledger.current
    return SecretPlan(seen.brought, replace(ledger, following="") if same else ledger.followed_by(hashed, seen.now))


def _rotated(seen: SecretInputs, ledger: SecretLedger, draw: Callable[[], str]) -> SecretPlan:
    """Workers first, the application after them: no instant at which it says what they do not know."""
    known = digest(seen.client_id, seen.pending) if seen.pending else ""
    if not known or known != ledger.following:
        made = draw()
        return SecretPlan(seen.held, replace(ledger, following=digest(seen.client_id, made)), made)
    if not seen.served:
        return SecretPlan(seen.held, ledger, seen.pending)
    return SecretPlan(seen.pending, ledger.followed_by(known, seen.now))


def _without_expired(ledger: SecretLedger, now: float) -> SecretLedger:
    return replace(ledger, former="", until=0.0) if ledger.former and ledger.until <= now else ledger


def _finish(made: SecretPlan, seen: SecretInputs) -> SecretPlan:
    asked = seen.rotate_after if seen.rotate_after is not None and not seen.brought else None
    times = (made.ledger.until, asked if asked is not None else 0.0)
    return replace(made, wake_at=min((time for time in times if time > seen.now), default=None))
