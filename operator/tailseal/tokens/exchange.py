"""The token exchange (RFC 8693) as a synchronous core: it decides and signs; whatever needs waiting it asks for.

Order of work: size and shape; the unverified issuer; the policy index, where an unknown issuer ends with nothing
fetched; keys; signature; claims; policies; grant; answer. The shell awaits what an outcome asks for and steps again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.actors import ActError, chain
from tailseal.domain.policy.compiled import GrantKind
from tailseal.domain.policy.decide import Granted, Refused
from tailseal.domain.policy.grants import GrantRequest
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.source import KeySource
from tailseal.tokens import refusals, verify
from tailseal.tokens.answers import Refusal
from tailseal.tokens.errors import Fault, TokenError
from tailseal.tokens.issue import NeedSignature, Step, issue
from tailseal.tokens.mint import AT_JWT, PLAIN_JWT, Minted
from tailseal.tokens.outcomes import (
    NOTHING_UNAVAILABLE,
    Answered,
    Audit,
    Call,
    KeySets,
    NeedKeys,
    NeedUpstream,
    Outcome,
    finish,
    refuse,
    unavailable,
)
from tailseal.tokens.refusals import Outage
from tailseal.tokens.request import RequestError, TokenRequest, read
from tailseal.tokens.signers import Signer
from tailseal.tokens.trust import Delegate, Hand, Judge, Presented, Refusing, present

__all__ = ["Answered", "Call", "Exchange", "NeedKeys", "NeedUpstream", "Outcome", "finish", "refuse", "unavailable"]

_NO_KEYS: Final[Mapping[str, Any]] = {"keys": []}


class _Case(NamedTuple):
    """One request on its way to an answer."""

    call: Call
    asked: GrantRequest
    subject: Presented
    audit: Audit
    now: float


class Exchange:
    """The exchange under one snapshot of the bundle; it holds no state of its own.

    Args:
        settings: of the provider.
        index: policies that may grant.
        signer: gives the published, active key of an algorithm (`""`: the default) within its lease at a time, or None.
        max_token_ttl: seconds: the longest lifetime that the promised overlaps honour.
        published: our own JWK Set, which tokens of ours are verified with when they are exchanged.
    """

    __slots__ = ("_judge", "_max_token_ttl", "_settings", "_signer")

    def __init__(
        self,
        settings: Settings,
        index: PolicyIndex,
        signer: Callable[[str, float], Signer | None],
        max_token_ttl: int,
        published: Mapping[str, Any] = _NO_KEYS,
    ) -> None:
        self._settings = settings
        self._judge = Judge(settings, index, published)
        self._signer = signer
        self._max_token_ttl = max_token_ttl

    def step(
        self,
        call: Call,
        keys: KeySets,
        now: float,
        unavailable: Mapping[KeySource, str] = NOTHING_UNAVAILABLE,
    ) -> Step:
        """Decide, or say what must be awaited first.

        Args:
            call: the request.
            keys: foreign keys in hand.
            now: Unix seconds.
            unavailable: sources whose keys could not be had for this request, with the reason word.
        """
        audit: Audit = {"time": now, "decision": call.decision, "peer": call.peer}
        try:
            request = read(call.body, call.content_type, authorization=call.authorization)
            audit["tokenHash"] = sha256(request.subject_token.encode()).hexdigest()
            subject = present(request.subject_token, request.subject_token_type)
            audit["issuer"] = subject.issuer
            call.watch.saw(subject.token, request.asked)
            actor = _actor(request, audit) if request.actor_token else None
            decision = self._judge.decide(subject, actor, request.asked, Hand(keys, unavailable), now)
            if isinstance(decision, NeedKeys):
                return decision
            audit["subject"] = subject.token.payload["sub"]
            if actor is not None and actor.verified:
                audit["actorSubject"] = actor.presented.token.payload["sub"]
            return self._conclude(decision, _Case(call, request.asked, subject, audit, now))
        except RequestError as error:
            return refuse(call, audit, Refusal(error.status, error.error, error.reason, str(error)))
        except TokenError as error:
            return refuse(call, audit, Refusal(400, "invalid_request", error.reason, str(error)))
        except Refusing as error:
            return refuse(call, audit, error.refusal)

    def _conclude(self, decision: Granted | Refused, case: _Case) -> Answered | NeedUpstream | NeedSignature:
        call, audit = case.call, case.audit
        if decision.audited:
            audit["wouldAllow"] = decision.audited
        if isinstance(decision, Refused):
            if decision.policy:
                audit["policy"] = decision.policy
            return refuse(call, audit, refusals.denied(decision.reason))
        act = _act(decision, case.subject)
        audit["policy"] = decision.policy.id
        audit["generation"] = decision.policy.generation
        audit["grant"] = decision.grant.name
        if decision.scopes:
            audit["scope"] = " ".join(decision.scopes)
        if limited := call.watch.admit(decision.policy.source.issuer, decision.policy.id):
            return refuse(call, audit, limited)
        if decision.grant.kind is GrantKind.TAILSCALE:
            audit["upstream"] = decision.grant.upstream
            return NeedUpstream(decision.grant.upstream, decision.scopes, decision.tags, call, audit)
        return self._sign(decision, act, case)

    def _sign(self, decision: Granted, act: dict[str, Any] | None, case: _Case) -> Answered | NeedSignature:
        call, audit, now = case.call, case.audit, case.now
        signer = self._signer("", now)
        if signer is None:
            return refuse(call, audit, refusals.unavailable(Outage.NO_ACTIVE_KEY))
        subject = f"policy:{decision.policy.id}"
        ttl = _within_sessions(min(decision.ttl, self._max_token_ttl), decision, case.subject, now)
        content = Minted(
            issuer=self._settings.issuer,
            subject=subject,
            client_id=subject,
            audiences=decision.audience,
            scopes=decision.scopes,
            issued_at=int(now),
            ttl=ttl,
            token_id=call.decision,
            act=act,
        )
        typ = PLAIN_JWT if case.asked.requested_token_type == verify.JWT else AT_JWT
        return issue(NeedSignature(signer, content, typ, call, audit))


def _actor(request: TokenRequest, audit: Audit) -> Delegate:
    """The actor token, taken apart."""
    audit["actorTokenHash"] = sha256(request.actor_token.encode()).hexdigest()
    try:
        actor = Delegate(present(request.actor_token, request.actor_token_type))
    except TokenError as error:
        raise Refusing(refusals.of_actor(error)) from None
    audit["actorIssuer"] = actor.presented.issuer
    return actor


def _act(decision: Granted, subject: Presented) -> dict[str, Any] | None:
    try:
        return chain(subject.token.payload, None if decision.actor is None else decision.actor.claims)
    except ActError as error:
        raise TokenError(Fault.ACT_MALFORMED, str(error)) from None


def _within_sessions(ttl: int, decision: Granted, subject: Presented, now: float) -> int:
    """Seconds that a token may live which is given for one of ours: else a session could renew itself for ever."""
    actor = decision.actor
    if decision.policy.source.kind == "session":
        ttl = _within(ttl, subject.token.payload["exp"], now)
    return ttl if actor is None or actor.source.kind != "session" else _within(ttl, actor.claims["exp"], now)


def _within(ttl: int, expires_at: int, now: float) -> int:
    left = int(expires_at - now)
    if left < 1:
        raise TokenError(Fault.EXPIRED, "the token has expired")
    return min(ttl, left)
