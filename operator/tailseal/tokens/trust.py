"""Who a token is from, by the keys of every source that policies name for its issuer, and what they grant to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.decide import Granted, Refused, Subject, decide
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.grants import GrantRequest
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.source import KeySource
from tailseal.tokens import refusals, verify
from tailseal.tokens.answers import Refusal
from tailseal.tokens.compact import Compact
from tailseal.tokens.errors import TokenError
from tailseal.tokens.outcomes import KeySets, NeedKeys


class Refusing(Exception):  # noqa: N818 - control flow of the exchange core
    """The request is refused.

    Args:
        refusal: how.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class Hand(NamedTuple):
    """Keys in hand, and the sources whose keys could not be had, with the reason word."""

    sets: KeySets
    unavailable: Mapping[KeySource, str]


class Judge:
    """Verifies tokens and asks the policies of one snapshot.

    Args:
        settings: of the provider.
        index: policies that may grant.
    """

    __slots__ = ("_index", "_settings")

    def __init__(self, settings: Settings, index: PolicyIndex) -> None:
        self._settings = settings
        self._index = index

    def decide(
        self, token: Compact, issuer: str, asked: GrantRequest, keys: Hand, now: float
    ) -> Granted | Refused | NeedKeys:
        """The first grant under any source that verifies the token; sources in hand come before those to be loaded."""
        sources = self._index.issuers(issuer)
        if not sources:
            raise Refusing(refusals.denied(Denial.UNKNOWN_ISSUER))
        misses: list[Refused | NeedKeys | TokenError] = []
        for source in self._named(asked.policy, sources):
            if not keys.unavailable or source not in keys.unavailable:
                decision = self._judge(token, source, asked, keys.sets, now)
                if isinstance(decision, Granted):
                    return decision
                misses.append(decision)

        def could_grant(source: KeySource) -> bool:
            return isinstance(self._under(source, token, asked, now), Granted)

        return _nearest(misses, keys.unavailable, could_grant)

    def _named(self, policy: str | None, sources: Sequence[KeySource]) -> Sequence[KeySource]:
        """Who names a policy does not wait for the keys of others; a name that is not there changes nothing."""
        named = self._index.get(policy) if policy is not None else None
        return (named.source,) if named is not None and named.source in sources else sources

    def _judge(
        self, token: Compact, source: KeySource, asked: GrantRequest, sets: KeySets, now: float
    ) -> Granted | Refused | NeedKeys | TokenError:
        """What comes of one source; a fault of the signature is a value, since another source may verify it."""
        keys = sets.get(source, token.kid)
        if keys is None:
            return NeedKeys((source,), token.kid)
        try:
            verify.check_signature(token, keys)
        except TokenError as error:
            return error
        verify.check_claims(token.payload, now=now, skew=self._settings.clock_skew)
        return self._under(source, token, asked, now)

    def _under(self, source: KeySource, token: Compact, asked: GrantRequest, now: float) -> Granted | Refused:
        """What the policies of a source say to a token that it verifies."""
        subject = Subject(source, token.alg, verify.audiences(token.payload), token.payload)
        return decide(self._index, subject, asked, self._settings, now)


def _nearest(
    misses: Sequence[Refused | NeedKeys | TokenError],
    unavailable: Mapping[KeySource, str],
    could_grant: Callable[[KeySource], bool],
) -> Refused | NeedKeys:
    """What to say where no source granted: load what was not in hand, else the refusal that came furthest.

    A refusal under one source stands, unless another is out of reach under which the same token would be granted:
    so nobody's broken source makes an outage of what everybody else is rightly refused.
    """
    needs = [miss for miss in misses if isinstance(miss, NeedKeys)]
    if needs:
        return NeedKeys(tuple(source for need in needs for source in need.sources), needs[0].kid)
    refused = [miss for miss in misses if isinstance(miss, Refused)]
    for source, reason in unavailable.items():
        if not refused or could_grant(source):
            raise Refusing(refusals.unavailable(reason))
    if refused:
        return max(refused, key=lambda miss: miss.reason.rank)
    for miss in misses:
        if isinstance(miss, TokenError):
            raise miss
    raise Refusing(refusals.denied(Denial.UNKNOWN_ISSUER))
