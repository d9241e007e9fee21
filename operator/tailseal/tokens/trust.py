"""Who a token is from, by the keys of every source that policies name for its issuer, and what they grant to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.decide import Granted, Refused, Subject, decide
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.grants import GrantRequest
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.source import KeySource
from tailseal.tokens import compact, refusals, verify
from tailseal.tokens.answers import Refusal
from tailseal.tokens.compact import Compact
from tailseal.tokens.errors import KeySetError, TokenError
from tailseal.tokens.keyset import KeySet, parse_jwks
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


class Presented(NamedTuple):
    """A token as somebody presented it: well-formed, and not yet believed.

    Args:
        token: taken apart.
        token_type: one of `verify.SUBJECT_TOKEN_TYPES`.
        issuer: its `iss`.
    """

    token: Compact
    token_type: str
    issuer: str


def present(text: str, token_type: str) -> Presented:
    """Take a presented token apart.

    Raises:
        TokenError: it is not one that we would verify under any key.
    """
    token = compact.split(text)
    verify.check_type(token, token_type)
    return Presented(token, token_type, verify.issuer(token.payload))


class Judge:
    """Verifies tokens and asks the policies of one snapshot.

    Args:
        settings: of the provider.
        index: policies that may grant.
        published: our own JWK Set: the keys of sessions.
    """

    __slots__ = ("_index", "_own", "_published", "_settings")

    def __init__(self, settings: Settings, index: PolicyIndex, published: Mapping[str, Any]) -> None:
        self._settings = settings
        self._index = index
        self._published = published
        self._own: KeySet | None = None

    def decide(self, subject: Presented, asked: GrantRequest, hand: Hand, now: float) -> Granted | Refused | NeedKeys:
        """The first grant under any source that verifies the token; sources in hand come before those to be loaded."""
        sources = self._index.issuers(subject.issuer)
        if not sources:
            raise Refusing(refusals.denied(Denial.UNKNOWN_ISSUER))
        misses: list[Refused | NeedKeys | TokenError] = []
        for source in self._named(asked.policy, sources):
            if not hand.unavailable or source not in hand.unavailable:
                decision = self._judge(subject, source, asked, hand, now)
                if isinstance(decision, Granted):
                    return decision
                misses.append(decision)

        def could_grant(source: KeySource) -> bool:
            return isinstance(self._under(source, subject.token, asked, now), Granted)

        return _nearest(misses, hand.unavailable, could_grant)

    def _named(self, policy: str | None, sources: Sequence[KeySource]) -> Sequence[KeySource]:
        """Who names a policy does not wait for the keys of others; a name that is not there changes nothing."""
        named = self._index.get(policy) if policy is not None else None
        return (named.source,) if named is not None and named.source in sources else sources

    def _judge(
        self, subject: Presented, source: KeySource, asked: GrantRequest, hand: Hand, now: float
    ) -> Granted | Refused | NeedKeys | TokenError:
        """What comes of one source; a fault of the signature is a value, since another source may verify it."""
        miss = self._unverified(subject, source, hand, now)
        return self._under(source, subject.token, asked, now) if miss is None else miss

    def _unverified(
        self, presented: Presented, source: KeySource, hand: Hand, now: float
    ) -> NeedKeys | TokenError | None:
        """What stands between the token and this source's word for it; None: the token is verified."""
        token = presented.token
        keys = self._keys(source, token.kid, hand.sets)
        if keys is None:
            return NeedKeys((source,), token.kid)
        try:
            verify.check_signature(token, keys)
        except TokenError as error:
            return error
        if source.kind == "session":
            verify.check_session(token, presented.token_type)
        verify.check_claims(token.payload, now=now, skew=self._settings.clock_skew)
        return None

    def _keys(self, source: KeySource, kid: str | None, sets: KeySets) -> KeySet | None:
        """Foreign keys in hand, or our own as we publish them now: a revoked or dropped key is not among those."""
        if source.kind != "session":
            return sets.get(source, kid)
        if self._own is None:
            try:
                self._own = parse_jwks(self._published)
            except KeySetError:
                self._own = KeySet(())
        return self._own

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
