"""Who a token is from, by the keys of every source that policies name for its issuer, and what they grant to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.decide import Granted, Refused, decide
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.expressions.conditions import Conditions
from tailseal.domain.policy.grants import GrantRequest
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.source import KeySource
from tailseal.domain.policy.trust import Verified
from tailseal.tokens import refusals, verify
from tailseal.tokens.answers import Refusal
from tailseal.tokens.compact import Compact
from tailseal.tokens.errors import KeySetError, TokenError
from tailseal.tokens.keyset import KeySet, parse_jwks
from tailseal.tokens.outcomes import KeySets, NeedKeys
from tailseal.tokens.presented import Presented
from tailseal.tokens.standing import Standings, under


class Refusing(Exception):  # noqa: N818 - control flow of the exchange core
    """The request is refused.

    Args:
        refusal: how.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class Hand(NamedTuple):
    """Keys in hand, the sources whose keys could not be had, with the reason word, and what evaluates expressions.

    Args:
        sets: keys.
        unavailable: reason words.
        conditions: evaluates.
        logins: what people are granted now who logged in for tokens of ours; None: nobody saw whether logins go on.
    """

    sets: KeySets
    unavailable: Mapping[KeySource, str]
    conditions: Conditions | None = None
    logins: Standings | None = None


Miss = Refused | NeedKeys | TokenError | Refusal
"""Why a source leads to no grant: its policies refuse, its keys are missing or do not verify, or an actor's cannot be
had."""


class Delegate:
    """An actor token of one request, and what came of it so far.

    Args:
        presented: the token.
    """

    __slots__ = ("fault", "open", "presented", "verified")

    def __init__(self, presented: Presented) -> None:
        self.presented = presented
        self.verified: tuple[Verified, ...] | None = None
        """Once for each source that verifies it; None: nobody looked yet."""
        self.open: tuple[KeySource, ...] = ()
        """Sources whose keys are not in hand."""
        self.fault: TokenError | None = None
        """What a source in hand has against it."""

    def under(self, source: KeySource, logins: Standings | None = None) -> Verified:
        """The actor, if this source verifies the token."""
        return under(source, self.presented.token, logins)


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

    def decide(
        self, subject: Presented, actor: Delegate | None, asked: GrantRequest, hand: Hand, now: float
    ) -> Granted | Refused | NeedKeys:
        """The first grant under any source that verifies the token; sources in hand come before those to be loaded.

        Raises:
            Refusing: whatever the policies say.
            TokenError: likewise, for the subject token.
        """
        if not self._index.issuers(subject.issuer):
            raise Refusing(refusals.denied(Denial.UNKNOWN_ISSUER))
        if actor is not None and not self._index.actors(actor.presented.issuer):
            raise Refusing(refusals.denied(Denial.UNKNOWN_ACTOR_ISSUER))
        considered = self._index.considered(subject.issuer, asked.policy)
        misses: list[Miss] = []
        for source in considered:
            if not hand.unavailable or source not in hand.unavailable:
                decision = self._judge(subject, actor, source, asked, hand, now)
                if isinstance(decision, Granted):
                    return decision
                misses.append(decision)

        def could_grant(source: KeySource) -> bool:
            anybody = None if actor is None else self._anybody(actor, asked, hand)
            return source in considered and isinstance(
                self._under(source, subject.token, asked, hand, now, anybody), Granted
            )

        return _nearest(misses, hand.unavailable, could_grant)

    def known(self, subject: Verified, asked: GrantRequest, now: float, conditions: Conditions) -> Granted | Refused:
        """The decision on a subject that is known without a token."""
        return decide(self._index, subject, asked, self._settings, now, conditions=conditions)

    def generation(self, policy: str) -> int | None:
        """Of the policy with that id; None if there is none."""
        found = self._index.get(policy)
        return None if found is None else found.generation

    def _judge(
        self,
        subject: Presented,
        actor: Delegate | None,
        source: KeySource,
        asked: GrantRequest,
        hand: Hand,
        now: float,
    ) -> Granted | Miss:
        """What comes of one source; a fault of the signature is a value, since another source may verify it."""
        miss = self._unverified(subject, source, hand, now)
        if miss is not None:
            return miss
        if actor is None:
            return self._under(source, subject.token, asked, hand, now)
        with_actor = partial(self._under, source, subject.token, asked, hand, now)
        return self._delegated(actor, with_actor, asked, hand, now)

    def _delegated(
        self,
        actor: Delegate,
        decide_with: Callable[[Sequence[Verified]], Granted | Refused],
        asked: GrantRequest,
        hand: Hand,
        now: float,
    ) -> Granted | Miss:
        """The decision where somebody acts; keys are asked for only where the actor they verify would be granted."""
        verified = self._examined(actor, asked, hand, now)
        decision = decide_with(verified)
        if isinstance(decision, Granted):
            return decision
        wanted = [source for source in actor.open if isinstance(decide_with((actor.under(source),)), Granted)]
        needed = tuple(source for source in wanted if source not in hand.unavailable)
        if needed:
            return NeedKeys(needed, actor.presented.token.kid)
        if wanted:
            return refusals.unavailable(hand.unavailable[wanted[0]])
        if not verified and actor.fault is not None:
            raise Refusing(refusals.of_actor(actor.fault))
        return decision

    def _examined(self, actor: Delegate, asked: GrantRequest, hand: Hand, now: float) -> tuple[Verified, ...]:
        """The actor token, once for each source in hand that verifies it."""
        if actor.verified is None:
            verified, missing = [], []
            for source in self._index.acting(actor.presented.issuer, asked.policy):
                try:
                    miss = self._unverified(actor.presented, source, hand, now)
                    if miss is None:
                        verified.append(actor.under(source, hand.logins))
                except TokenError as error:
                    raise Refusing(refusals.of_actor(error)) from None
                if isinstance(miss, NeedKeys):
                    missing.append(source)
                elif miss is not None:
                    actor.fault = miss
            actor.verified, actor.open = tuple(verified), tuple(missing)
            if hand.conditions is not None:
                hand.conditions.assumed = frozenset(missing)
        return actor.verified

    def _anybody(self, actor: Delegate, asked: GrantRequest, hand: Hand) -> tuple[Verified, ...]:
        return tuple(
            actor.under(source, hand.logins) for source in self._index.acting(actor.presented.issuer, asked.policy)
        )

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
        verify.check_claims(token.payload, now=now, skew=self._settings.clock_skew)
        if source.kind == "session":
            verify.check_session(token, presented.token_type, now=now, logins=hand.logins is not None)
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

    def _under(
        self,
        source: KeySource,
        token: Compact,
        asked: GrantRequest,
        hand: Hand,
        now: float,
        actors: Sequence[Verified] | None = None,
    ) -> Granted | Refused:
        """What the policies of a source say to a token that it verifies."""
        subject = under(source, token, hand.logins)
        return decide(self._index, subject, asked, self._settings, now, actors=actors, conditions=hand.conditions)


def _nearest(
    misses: Sequence[Miss],
    unavailable: Mapping[KeySource, str],
    could_grant: Callable[[KeySource], bool],
) -> Refused | NeedKeys:
    """What to say where no source granted: load what was not in hand, else the refusal that came furthest.

    A refusal under one source stands, unless another is out of reach under which the same token would be granted:
    so nobody's broken source makes an outage of what everybody else is rightly refused.
    """
    needs = [miss for miss in misses if isinstance(miss, NeedKeys)]
    if needs:
        kid = needs[0].kid
        return NeedKeys(tuple(source for need in needs if need.kid == kid for source in need.sources), kid)
    for miss in misses:
        if isinstance(miss, Refusal):
            raise Refusing(miss)
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
