"""The token exchange (RFC 8693) as a synchronous core: it decides and signs; whatever needs waiting it asks for.

Order of work: size and shape; the unverified issuer; the policy index, where an unknown issuer ends with nothing
fetched; keys; signature; claims; policies; grant; answer. The shell awaits what an outcome asks for and steps again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.actors import ActError, chain
from tailseal.domain.policy.compiled import GrantKind
from tailseal.domain.policy.decide import Granted, Refused
from tailseal.domain.policy.expressions.cel import Result
from tailseal.domain.policy.expressions.conditions import Conditions, Ticks, stopped
from tailseal.domain.policy.grants import GrantRequest
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.source import KeySource
from tailseal.domain.policy.trust import Trust
from tailseal.tokens import refusals, verify
from tailseal.tokens.answers import Refusal
from tailseal.tokens.dpop import Expected, Nonces, Proof, ProofError, ProofFault, check, confirmed
from tailseal.tokens.errors import Fault, TokenError
from tailseal.tokens.issue import NeedSignature, Step, issue
from tailseal.tokens.mint import AT_JWT, PLAIN_JWT, Minted
from tailseal.tokens.once import ACTOR_REPLAYED, PROOF_REPLAYED, TOKEN_REPLAYED, NeedOnce, missing, proof_key, token_key
from tailseal.tokens.outcomes import (
    NOTHING_UNAVAILABLE,
    Answered,
    Audit,
    Call,
    KeySets,
    KeyTerms,
    NeedKeys,
    NeedUpstream,
    Outcome,
    finish,
    refuse,
    unavailable,
)
from tailseal.tokens.presented import Presented, present
from tailseal.tokens.refusals import Outage
from tailseal.tokens.request import RequestError, TokenRequest, read
from tailseal.tokens.signers import Signer
from tailseal.tokens.standing import kept
from tailseal.tokens.trust import Delegate, Hand, Judge, Refusing
from tailseal.tokens.vouched import Vouched

__all__ = ["Answered", "Call", "Exchange", "NeedKeys", "NeedUpstream", "Outcome", "finish", "refuse", "unavailable"]

_NO_KEYS: Final[Mapping[str, Any]] = {"keys": []}


class _Case(NamedTuple):
    """One request on its way to an answer."""

    call: Call
    asked: GrantRequest
    subject: Presented
    actor: Presented | None
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
        nonces: for proofs of possession; None: none are handed out or accepted.
        ticks: measures what policies' expressions take.
    """

    __slots__ = ("_judge", "_max_token_ttl", "_nonces", "_settings", "_signer", "_ticks")

    def __init__(
        self,
        settings: Settings,
        index: PolicyIndex,
        signer: Callable[[str, float], Signer | None],
        max_token_ttl: int,
        published: Mapping[str, Any] = _NO_KEYS,
        nonces: Nonces | None = None,
        ticks: Ticks = stopped,
    ) -> None:
        self._settings = settings
        self._judge = Judge(settings, index, published)
        self._nonces = nonces
        self._ticks = ticks
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
        audit: Audit = {"time": now, "decision": call.decision, "caller": call.peer}
        if call.dpop is not None:
            call = self._with_nonce(call, now)
        if call.client:
            audit["client"] = call.client
        try:
            request = call.dialect(call.body) if call.dialect is not None else _read(call)
            audit["tokenHash"] = sha256(request.subject_token.encode()).hexdigest()
            subject = present(request.subject_token, request.subject_token_type)
            audit["issuer"] = subject.issuer
            said = kept(subject.token, call.logins)
            call.watch.saw(said, request.asked, None)
            actor = _actor(request, audit) if request.actor_token else None
            presented = None if actor is None else actor.presented
            if presented is not None:
                call.watch.saw(said, request.asked, kept(presented.token, call.logins))
            hand = Hand(keys, unavailable, Conditions(subject.token.payload, self._ticks, call.watch), call.logins)
            decision = self._judge.decide(subject, actor, request.asked, hand, now)
            if isinstance(decision, NeedKeys):
                return decision
            audit["subject"] = subject.token.payload["sub"]
            if actor is not None and actor.verified:
                audit["actorSubject"] = actor.presented.token.payload["sub"]
            return self._conclude(decision, _Case(call, request.asked, subject, presented, audit, now))
        except RequestError as error:
            return refuse(call, audit, Refusal(error.status, error.error, error.reason, str(error)))
        except TokenError as error:
            return refuse(call, audit, Refusal(400, "invalid_request", error.reason, str(error)))
        except ProofError as error:
            refusal = Refusal(400, error.error, error.reason, str(error))
            return refuse(self._with_nonce(call, now), audit, refusal)
        except Refusing as error:
            return refuse(call, audit, error.refusal)

    def step_for(self, caller: Vouched, call: Call, now: float) -> Step:
        """The same for a caller who needs no token.

        Args:
            caller: who, and what they ask for; also in the call.
            call: the request.
            now: Unix seconds.
        """
        audit: Audit = {"time": now, "decision": call.decision, "caller": call.peer}
        audit["subject"], audit["node"] = caller.subject, caller.node
        audit.update(caller.faults)
        if call.dpop is not None:
            call = self._with_nonce(call, now)
        conditions = Conditions(caller.claims, self._ticks, call.watch)
        decision, presented = self._judge.known(caller.verified, caller.asked, now, conditions), caller.presented
        call.watch.saw(presented.token, caller.asked, None)
        try:
            return self._conclude(decision, _Case(call, caller.asked, presented, None, audit, now))
        except ProofError as error:
            refusal = Refusal(400, error.error, error.reason, str(error))
            return refuse(self._with_nonce(call, now), audit, refusal)

    def _with_nonce(self, call: Call, now: float) -> Call:
        return call if self._nonces is None or call.nonce else call._replace(nonce=self._nonces.make(now))

    def _conclude(self, decision: Granted | Refused, case: _Case) -> Answered | NeedOnce | NeedUpstream | NeedSignature:
        call, audit = case.call, case.audit
        _tell_beside(decision, audit)
        if isinstance(decision, Refused):
            if decision.policy:
                audit["policy"] = decision.policy
                audit["generation"] = self._judge.generation(decision.policy)
            denied = refusals.denied if call.vouched is None else refusals.denied_to_caller
            return refuse(call, audit, denied(decision.reason))
        act = _act(decision, case.subject)
        audit["policy"] = decision.policy.id
        audit["generation"] = decision.policy.generation
        audit["grant"] = decision.grant.name
        audit["claims"] = decision.policy.claims
        if decision.scopes:
            audit["scope"] = " ".join(decision.scopes)
        proof = self._proof(decision, case)
        if limited := call.watch.admit(decision.policy.trust.source.issuer, decision.policy.id):
            return refuse(call, audit, limited)
        signer = self._signer("", case.now) if decision.grant.kind is GrantKind.JWT else None
        if signer is None and decision.grant.kind is GrantKind.JWT:
            return refuse(call, audit, refusals.unavailable(Outage.NO_ACTIVE_KEY))
        if need := self._untaken(decision, proof, case):
            return need
        if signer is None:
            return _of_upstream(decision, call, audit)
        return self._sign(signer, decision, act, proof, case)

    def _untaken(self, decision: Granted, proof: Proof | None, case: _Case) -> NeedOnce | Answered | None:
        """What counts once and is not this request's yet: the proof first, so that a stolen one uses up no token."""
        call, audit, settings, need = case.call, case.audit, self._settings, None
        if proof is not None and settings.state is not None:
            key = proof_key(settings, proof.jkt, proof.jti, proof.expires_at)
            need = missing(key, PROOF_REPLAYED, call, audit)
        for trust, presented, replayed in _once(decision, case):
            if need is None:
                need = missing(token_key(settings, trust.source, presented.token), replayed, call, audit)
        if need is None:
            return None
        limited = call.watch.mark(decision.policy.namespace, need.keys[0].expires_at - case.now)
        return need if limited is None else refuse(call, audit, limited)

    def _proof(self, decision: Granted, case: _Case) -> Proof | None:
        """The key that the caller proved, and must prove where the grant or a presented token asks for it."""
        needed, actor, claims = decision.grant.require_dpop, decision.actor, case.subject.token.payload
        if case.call.dpop is None and not needed and actor is None and "cnf" not in claims:
            return None
        bound = confirmed(claims, None if actor is None else actor.claims)
        if case.call.dpop is None:
            if bound or needed:
                raise ProofError(ProofFault.MISSING, "a proof of possession (header DPoP) is needed")
            return None
        nonces, now, skew = self._nonces, case.now, self._settings.clock_skew
        expected = Expected(
            url=self._settings.token_endpoint if case.call.vouched is None else case.call.vouched.url,
            now=now,
            skew=skew,
            nonce=lambda nonce: nonces is not None and nonces.accepts(nonce, now, skew),
            nonce_needed=needed,
        )
        proof = check(case.call.dpop, expected)
        if bound - {proof.jkt}:
            raise ProofError(ProofFault.OTHER_KEY, "a presented token is bound to another key than the proof's")
        case.audit["jkt"] = proof.jkt
        return proof

    def _sign(
        self, signer: Signer, decision: Granted, act: dict[str, Any] | None, proof: Proof | None, case: _Case
    ) -> Answered | NeedSignature:
        call, now = case.call, case.now
        own, caller = f"policy:{decision.policy.id}", call.vouched
        ttl = _within_sessions(min(decision.ttl, self._max_token_ttl), decision, case.subject, now)
        content = Minted(
            issuer=self._settings.issuer,
            subject=decision.given.subject or (own if caller is None else caller.subject),
            client_id=call.client or own,
            audiences=decision.audience,
            scopes=decision.scopes,
            issued_at=int(now),
            ttl=ttl,
            token_id=call.decision,
            act=act,
            claims=(*decision.given.claims, *_told(call, decision)),
            cnf=None if proof is None else {"jkt": proof.jkt},
        )
        typ = PLAIN_JWT if case.asked.requested_token_type == verify.JWT else AT_JWT
        return issue(signer, content, typ, call, case.audit)


def _told(call: Call, decision: Granted) -> Iterator[tuple[str, Result]]:
    """What a token says beside what the policy makes it say; always which policy that was."""
    if call.vouched is not None:
        yield from call.vouched.told
    if call.client:  # in the place where the policy would stand
        yield "policy", decision.policy.id


def _tell_beside(decision: Granted | Refused, audit: Audit) -> None:
    """What is written down whatever the decision."""
    if decision.audited:
        audit["wouldAllow"] = decision.audited
    if decision.trial:
        audit["wouldDeny"] = [{"policy": policy, "reason": reason} for policy, reason in decision.trial]
    if decision.exhausted:
        audit["exhausted"] = decision.exhausted


def _actor(request: TokenRequest, audit: Audit) -> Delegate:
    """The actor token, taken apart."""
    audit["actorTokenHash"] = sha256(request.actor_token.encode()).hexdigest()
    try:
        actor = Delegate(present(request.actor_token, request.actor_token_type))
    except TokenError as error:
        raise Refusing(refusals.of_actor(error)) from None
    audit["actorIssuer"] = actor.presented.issuer
    return actor


def _once(decision: Granted, case: _Case) -> Iterator[tuple[Trust, Presented, Refusal]]:
    """The presented tokens that count once, with whose word that is."""
    if decision.policy.trust.one_time:
        yield decision.policy.trust, case.subject, TOKEN_REPLAYED
    acting = decision.given.acting
    if acting is not None and acting.trust.one_time and case.actor is not None:
        yield acting.trust, case.actor, ACTOR_REPLAYED


def _act(decision: Granted, subject: Presented) -> dict[str, Any] | None:
    actor, claims = decision.actor, subject.token.payload
    if actor is None and "act" not in claims:
        return None
    try:
        return chain(claims, None if actor is None else actor.claims)
    except ActError as error:
        raise TokenError(Fault.ACT_MALFORMED, str(error)) from None


def _within_sessions(ttl: int, decision: Granted, subject: Presented, now: float) -> int:
    """Seconds that a token may live which is given for one of ours, or of another Tailseal's exchange.

    Else a session could renew itself for ever, by itself or by two providers that trust each other.
    """
    actor = decision.actor
    if decision.policy.trust.source.kind == "session" or verify.was_exchanged(subject.token.payload):
        ttl = _within(ttl, subject.token.payload["exp"], now)
    if actor is not None and (actor.source.kind == "session" or verify.was_exchanged(actor.claims)):
        ttl = _within(ttl, actor.claims["exp"], now)
    return ttl


def _within(ttl: int, expires_at: int, now: float) -> int:
    left = int(expires_at - now)
    if left < 1:
        raise TokenError(Fault.EXPIRED, "the token has expired")
    return min(ttl, left)


def _of_upstream(decision: Granted, call: Call, audit: Audit) -> NeedUpstream:
    grant = decision.grant
    audit["upstream"] = grant.upstream
    if decision.tags:
        audit["tags"] = decision.tags
    key = KeyTerms(grant.ephemeral, grant.expiry, decision.policy.id) if grant.expiry else None
    return NeedUpstream(grant.upstream, decision.scopes, decision.tags, call, audit, key)


def _read(call: Call) -> TokenRequest:
    return read(call.body, call.content_type, authorization=call.authorization, client=call.client)
