"""Which buckets an exchange draws from: its source before anything is read, issuer and policy once it is to be granted.

An issuer's name costs a caller nothing before a signature proves it, and anybody can have a true token of a shared
issuer. So nobody but callers whom a policy trusts draws from the buckets of issuer and policy, and requests that are
granted give back to their source: a fleet behind one address pays for its failures only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Final, NamedTuple

from tailseal.tokens import refusals
from tailseal.tokens.answers import Refusal
from tailseal.tokens.refusals import Limit
from tailseal.workers.common.limits.bucket import Limiter


class Rate(NamedTuple):
    """How much one key may draw.

    Args:
        rate: a second.
        burst: at once.
        most: keys kept in memory, some 200 bytes each.
    """

    rate: float
    burst: int
    most: int


SOURCE: Final = Rate(200, 1000, 16_384)
"""Requests without a grant, per IPv4 address or IPv6 /64: at 0.2 to 0.5 ms each, a tenth of a core at most."""

POLICY: Final = Rate(200, 2000, 16_384)
"""Grants: a matrix of 2,000 jobs starts at once, and one policy leaves most of a core to all others."""

ISSUER: Final = Rate(1000, 5000, 4096)
"""Grants: five busy policies of one issuer together; below what one core can do, so others always get through."""

MARKS: Final = Rate(50_000, 50_000 * 900, 4096)
"""Seconds of keeping what counts once, per namespace: a mark costs as long as it is kept, so in the long run no more
than 50,000 marks of one namespace are kept for one replica, a twentieth of the store; a full one refuses everybody.
"""

WORK: Final = Rate(50, 500, 4096)
"""Milliseconds that a namespace's expressions and regular expressions may take in a second: a twentieth of a core."""

_MAPPED: Final = bytes(10) + b"\xff\xff"


class Limits:
    """The buckets of one replica.

    Args:
        monotonic: seconds of a clock that never goes back.
        source: for requests that come to no grant.
        policy: for grants of one policy.
        issuer: for grants to tokens of one issuer.
        marks: for what policies of one namespace have kept.
        work: for what expressions of one namespace take.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        source: Rate = SOURCE,
        policy: Rate = POLICY,
        issuer: Rate = ISSUER,
        marks: Rate = MARKS,
        work: Rate = WORK,
    ) -> None:
        self._monotonic = monotonic
        self._sources, self._policies, self._issuers = Limiter(*source), Limiter(*policy), Limiter(*issuer)
        self._marks, self._work = Limiter(*marks), Limiter(*work)

    def admit(self, address: str) -> Refusal | None:
        """Draw for a request that was not looked at yet.

        Args:
            address: the connection's peer, or the hop that a trusted proxy vouches for.
        """
        return _refusal(Limit.SOURCE, self._sources.take(source(address), self._monotonic()))

    def excuse(self, address: str) -> None:
        """Give back what a request drew that was not refused."""
        self._sources.give_back(source(address), self._monotonic())

    def grant(self, issuer: str, policy: str) -> Refusal | None:
        """Draw for a token that is to be given to whom a policy trusts.

        Args:
            issuer: of the verified subject token.
            policy: id of the policy that grants.
        """
        now = self._monotonic()
        if wait := self._policies.take(policy, now):
            return _refusal(Limit.POLICY, wait)
        if wait := self._issuers.take(issuer, now):
            self._policies.give_back(policy, now)
            return _refusal(Limit.ISSUER, wait)
        return None

    def withdraw(self, issuer: str, policy: str) -> None:
        """Give back what `grant` drew for a token that is not given."""
        now = self._monotonic()
        self._policies.give_back(policy, now)
        self._issuers.give_back(issuer, now)

    def mark(self, namespace: str, seconds: float) -> Refusal | None:
        """Draw for a mark.

        Args:
            namespace: of the policy that asks for it.
            seconds: how long it will be kept.
        """
        return _refusal(Limit.MARKS, self._marks.take(namespace, self._monotonic(), max(seconds, 1)))

    def unmark(self, namespace: str, seconds: float) -> None:
        """Give back what `mark` drew for a mark that is not kept."""
        self._marks.give_back(namespace, self._monotonic(), max(seconds, 1))

    def affords(self, namespace: str) -> bool:
        """Whether expressions of the namespace's policies may be evaluated now."""
        return self._work.is_open(namespace, self._monotonic())

    def pay(self, namespace: str, seconds: float) -> None:
        """Draw what they took."""
        self._work.charge(namespace, self._monotonic(), seconds * 1000)


def source(address: str) -> str | bytes:
    """What stands for a caller's address: IPv4 itself, however written, and of IPv6 the network of one site (/64)."""
    if ":" not in address:
        return address
    try:
        packed = inet_pton(AF_INET6, address.partition("%")[0])
    except OSError:
        return address
    return inet_ntop(AF_INET, packed[12:]) if packed.startswith(_MAPPED) else packed[:8]


def _refusal(reason: Limit, wait: float) -> Refusal | None:
    return refusals.limited(reason, max(1, math.ceil(wait))) if wait else None
