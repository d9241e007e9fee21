"""The token exchange (RFC 8693) as a synchronous core: it decides and signs; whatever needs waiting it asks for.

Order of work: size and shape; the unverified issuer; the policy index, where an unknown issuer ends with nothing
fetched; keys; signature; claims; policies; grant; answer. The shell awaits what an outcome asks for and steps again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.compiled import GrantKind
from tailseal.domain.policy.decide import Granted, Refused, Subject, decide
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.grants import GrantRequest
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.source import KeySource
from tailseal.tokens import answers, compact, refusals, verify
from tailseal.tokens.answers import Refusal, Response
from tailseal.tokens.compact import Compact
from tailseal.tokens.errors import TokenError
from tailseal.tokens.keyset import KeySet
from tailseal.tokens.mint import AT_JWT, PLAIN_JWT, Minted, mint
from tailseal.tokens.refusals import Outage
from tailseal.tokens.request import RequestError, read
from tailseal.tokens.signers import Signer

Audit = dict[str, object]


class KeySets(Protocol):
    """Foreign keys in hand."""

    def get(self, source: KeySource, kid: str | None) -> KeySet | None:
        """The set to verify with, or None if it must be loaded first."""
        ...


class Call(NamedTuple):
    """One HTTP request to the token endpoint.

    Args:
        body: as received.
        decision: id of this decision; also the `jti` of a token that we sign for it.
        content_type: header `Content-Type`, else empty.
        accept: header `Accept`, else empty.
        authorization: whether a header `Authorization` came along.
        peer: the caller's address, for the audit line.
    """

    body: bytes
    decision: str
    content_type: str = ""
    accept: str = ""
    authorization: bool = False
    peer: str = ""


class Answered(NamedTuple):
    """The decision: write the audit line, then send the response.

    Args:
        response: what the caller gets.
        audit: the line's fields: identifiers and reasons, no token.
        result: `granted`, `refused` or `error`, for the metric.
        reason: stable word, empty where granted.
    """

    response: Response
    audit: Audit
    result: str
    reason: str


class NeedKeys(NamedTuple):
    """Load the keys of these sources and step again after each; name as unavailable whose keys cannot be had."""

    sources: tuple[KeySource, ...]
    kid: str | None


@dataclass(frozen=True, slots=True)
class NeedUpstream:
    """Ask an upstream for a token with exactly these scopes and tags, then call `finish` or `refuse`.

    Args:
        upstream: name in the settings.
        scopes: what the grant gives, narrowed to the request.
        tags: likewise.
        call: the request.
        audit: fields gathered so far.
    """

    upstream: str
    scopes: tuple[str, ...]
    tags: tuple[str, ...]
    call: Call = field(repr=False)
    audit: Audit

    def is_met_by(self, other: NeedUpstream) -> bool:
        """Whether what is given for the other need is just what this one asks for."""
        return (self.upstream, self.scopes, self.tags) == (other.upstream, other.scopes, other.tags)


Outcome = Answered | NeedKeys | NeedUpstream

NOTHING_UNAVAILABLE: Final[Mapping[KeySource, str]] = {}


class Exchange:
    """The exchange under one snapshot of the bundle; it holds no state of its own.

    Args:
        settings: of the provider.
        index: policies that may grant.
        signer: gives the published, active key of an algorithm (`""`: the default) within its lease at a time, or None.
        max_token_ttl: seconds: the longest lifetime that the promised overlaps honour.
    """

    __slots__ = ("_index", "_max_token_ttl", "_settings", "_signer")

    def __init__(
        self,
        settings: Settings,
        index: PolicyIndex,
        signer: Callable[[str, float], Signer | None],
        max_token_ttl: int,
    ) -> None:
        self._settings = settings
        self._index = index
        self._signer = signer
        self._max_token_ttl = max_token_ttl

    def step(
        self,
        call: Call,
        keys: KeySets,
        now: float,
        unavailable: Mapping[KeySource, str] = NOTHING_UNAVAILABLE,
    ) -> Outcome:
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
            token = compact.split(request.subject_token)
            verify.check_type(token, request.subject_token_type)
            audit["issuer"] = issuer = verify.issuer(token.payload)
            decision = self._decide(token, issuer, request.asked, _Keys(keys, unavailable), now)
            if isinstance(decision, NeedKeys):
                return decision
            audit["subject"] = token.payload["sub"]
            return self._conclude(decision, request.asked, call, audit, now)
        except RequestError as error:
            return refuse(call, audit, Refusal(error.status, error.error, error.reason, str(error)))
        except TokenError as error:
            return refuse(call, audit, Refusal(400, "invalid_request", error.reason, str(error)))
        except _Refusing as error:
            return refuse(call, audit, error.refusal)

    def _decide(
        self, token: Compact, issuer: str, asked: GrantRequest, keys: _Keys, now: float
    ) -> Granted | Refused | NeedKeys:
        """The first grant under any source that verifies the token; sources in hand come before those to be loaded."""
        sources = self._index.issuers(issuer)
        if not sources:
            raise _Refusing(refusals.denied(Denial.UNKNOWN_ISSUER))
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

    def _conclude(
        self, decision: Granted | Refused, asked: GrantRequest, call: Call, audit: Audit, now: float
    ) -> Answered | NeedUpstream:
        if decision.audited:
            audit["wouldAllow"] = decision.audited
        if isinstance(decision, Refused):
            if decision.policy:
                audit["policy"] = decision.policy
            return refuse(call, audit, refusals.denied(decision.reason))
        audit["policy"] = decision.policy.id
        audit["generation"] = decision.policy.generation
        audit["grant"] = decision.grant.name
        if decision.scopes:
            audit["scope"] = " ".join(decision.scopes)
        if decision.grant.kind is GrantKind.TAILSCALE:
            audit["upstream"] = decision.grant.upstream
            return NeedUpstream(decision.grant.upstream, decision.scopes, decision.tags, call, audit)
        return self._sign(decision, asked, call, audit, now)

    def _sign(self, decision: Granted, asked: GrantRequest, call: Call, audit: Audit, now: float) -> Answered:
        signer = self._signer("", now)
        if signer is None:
            return refuse(call, audit, refusals.unavailable(Outage.NO_ACTIVE_KEY))
        subject = f"policy:{decision.policy.id}"
        ttl = min(decision.ttl, self._max_token_ttl)
        content = Minted(
            issuer=self._settings.issuer,
            subject=subject,
            client_id=subject,
            audiences=decision.audience,
            scopes=decision.scopes,
            issued_at=int(now),
            ttl=ttl,
            token_id=call.decision,
        )
        plain = asked.requested_token_type == verify.JWT
        token = mint(content, signer, PLAIN_JWT if plain else AT_JWT)
        audit["audience"] = decision.audience
        audit["kid"] = signer.kid
        return _granted(
            call,
            audit,
            token,
            issued_type=verify.JWT if plain else verify.ACCESS_TOKEN,
            token_type="N_A" if plain else "Bearer",
            expires_in=ttl,
            scopes=decision.scopes,
        )


def finish(need: NeedUpstream, token: str, *, expires_in: int, scopes: Sequence[str]) -> Answered:
    """The answer with an upstream's token.

    Args:
        need: what was asked for.
        token: what the upstream gave: for this caller and nobody else.
        expires_in: seconds, as the upstream says.
        scopes: what the token grants.
    """
    return _granted(
        need.call,
        need.audit,
        token,
        issued_type=verify.ACCESS_TOKEN,
        token_type="Bearer",  # noqa: S106 - RFC 6750
        expires_in=expires_in,
        scopes=scopes,
    )


def refuse(call: Call, audit: Audit, refusal: Refusal) -> Answered:
    """The answer without a token; the reason goes to the caller, the audit line and the metric alike."""
    result = "error" if refusal.status >= 500 else "refused"  # noqa: PLR2004 - the class of server errors
    audit["result"] = result
    audit["reason"] = refusal.reason
    response = answers.refused(refusal, decision=call.decision, text=answers.wants_text(call.accept))
    return Answered(response, audit, result, refusal.reason)


def unavailable(call: Call, reason: str, now: float) -> Answered:
    """The answer where nothing can be granted now, whatever the request says.

    Args:
        call: the request.
        reason: stable word, e.g. an `Outage`.
        now: Unix seconds.
    """
    return refuse(call, {"time": now, "decision": call.decision, "peer": call.peer}, refusals.unavailable(reason))


def _granted(
    call: Call, audit: Audit, token: str, *, issued_type: str, token_type: str, expires_in: int, scopes: Sequence[str]
) -> Answered:
    audit["result"] = "granted"
    audit["expiresIn"] = expires_in
    response = answers.granted(
        token,
        issued_type=issued_type,
        token_type=token_type,
        expires_in=expires_in,
        scopes=scopes,
        text=answers.wants_text(call.accept),
    )
    return Answered(response, audit, "granted", "")


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
            raise _Refusing(refusals.unavailable(reason))
    if refused:
        return max(refused, key=lambda miss: miss.reason.rank)
    for miss in misses:
        if isinstance(miss, TokenError):
            raise miss
    raise _Refusing(refusals.denied(Denial.UNKNOWN_ISSUER))


class _Keys(NamedTuple):
    sets: KeySets
    unavailable: Mapping[KeySource, str]


class _Refusing(Exception):  # noqa: N818 - control flow inside this module
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal
