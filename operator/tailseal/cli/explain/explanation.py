"""Decides offline on a token in hand, by the code that production runs, and gathers what there is to say about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tailseal.api.findings import Finding
from tailseal.cli.explain import actors
from tailseal.cli.explain.actors import Problem
from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.compile import CompiledPolicy
from tailseal.domain.policy.decide import Granted, Refused
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.explaining.account import Account
from tailseal.domain.policy.explaining.explain import explain, nearest
from tailseal.domain.policy.grants import GrantRequest
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.review.gathering import Judged
from tailseal.domain.policy.source import KeySource
from tailseal.domain.policy.trust import Verified
from tailseal.tokens import compact, keyset, refusals, verify
from tailseal.tokens.compact import Compact
from tailseal.tokens.errors import KeySetError, TokenError

UNCHECKED: Final = "not checked"
CHECKED: Final = "checked"
WRONG: Final = "wrong"


@dataclass(frozen=True, slots=True)
class Source:
    """One place where the issuer's keys may come from, and what its policies decide.

    Args:
        source: the place.
        signature: `checked`, `wrong` or `not checked`.
        problem: why the signature is wrong.
        decision: None if the signature is wrong: then its policies are not asked.
        accounts: of every policy that names the place.
    """

    source: KeySource
    signature: str
    problem: Problem | None = None
    decision: Granted | Refused | None = None
    accounts: tuple[Account, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """All there is to say.

    Args:
        token: taken apart; None if it is not one.
        granted: whether production would grant, provided that a signature that was not checked is right.
        reason: why not; empty if it would.
        message: what a caller is told.
        decision: by which policy and grant; None if no policy was asked.
        sources: by place of the issuer's keys, in the order in which they are asked.
        others: policies of other issuers, with theirs.
        refused: policies that are not accepted, and why.
        nearest: id of the policy with the least standing in the way; empty if it was granted.
        actor_assumed: whether there is an actor token whose signature was not checked.
    """

    token: Compact | None = field(repr=False)
    granted: bool
    reason: str
    message: str
    decision: Granted | Refused | None = None
    sources: tuple[Source, ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    refused: tuple[tuple[str, tuple[Finding, ...]], ...] = ()
    nearest: str = ""
    actor_assumed: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be explained.

    Args:
        token: as its bearer would send it; never printed.
        request: what its bearer asks for.
        now: Unix seconds.
        jwks: the issuer's keys, if they are at hand: for sources that would have to be fetched.
        actor: the token of the party that acts for the subject; None: nobody does.
    """

    token: bytes = field(repr=False)
    request: GrantRequest
    now: float
    jwks: keyset.KeySet | None = None
    actor: bytes | None = field(default=None, repr=False)


def report(question: Question, settings: Settings, policies: Sequence[Judged]) -> Report:
    """Decide on the token under the policies of one provider.

    Args:
        question: token and request.
        settings: the provider's.
        policies: that name the provider, accepted or not.
    """
    refused = tuple(
        ("/".join(judged.key), judged.outcome) for judged in policies if not isinstance(judged.outcome, CompiledPolicy)
    )
    compiled = [judged.outcome for judged in policies if isinstance(judged.outcome, CompiledPolicy)]
    index = PolicyIndex(compiled)
    try:
        token = compact.split(question.token)
        verify.check_type(token, verify.JWT)
        issuer = verify.issuer(token.payload)
    except TokenError as error:
        problem = _problem(error)
        return Report(None, granted=False, reason=problem.reason, message=problem.message, refused=refused)
    acting = actors.examine(question.actor, index, settings, question.now)
    if isinstance(acting, Problem):
        return Report(token, granted=False, reason=acting.reason, message=acting.message, refused=refused)
    considered = index.considered(issuer, question.request.policy)
    sources = tuple(_source(token, source, question, settings, index, acting.found) for source in considered)
    issuers = ((policy.id, policy.trust.source.issuer) for policy in compiled)
    others = tuple((policy, named) for policy, named in issuers if named != issuer)
    concluded = _concluded(token, _claims_problem(token, question, settings), sources)
    return replace(concluded, others=others, refused=refused, actor_assumed=acting.assumed)


def audiences(token: bytes) -> tuple[str, ...]:
    """Whom the token is for, if that much of it can be read."""
    try:
        return verify.audiences(compact.split(token).payload)
    except TokenError:
        return ()


def _source(
    token: Compact,
    source: KeySource,
    question: Question,
    settings: Settings,
    index: PolicyIndex,
    acting: Sequence[Verified] | None,
) -> Source:
    signature = UNCHECKED
    try:
        keys = keyset.parse_jwks(source.jwks.encode()) if source.kind == "jwks" else question.jwks
        if keys is not None:
            verify.check_signature(token, keys)
            signature = CHECKED
        if source.kind == "session":
            verify.check_session(token, verify.JWT, now=question.now)
    except TokenError as error:
        return Source(source, WRONG, _problem(error))
    except KeySetError as error:
        return Source(source, WRONG, Problem(refusals.Outage.KEYS_UNREACHABLE, str(error)))
    try:
        for_whom = verify.audiences(token.payload)
    except TokenError:
        for_whom = ()
    subject = Verified(source, token.alg, for_whom, token.payload)
    explained = explain(index, subject, question.request, settings, question.now, acting)
    return Source(source, signature, None, explained.decision, explained.accounts)


def _claims_problem(token: Compact, question: Question, settings: Settings) -> Problem | None:
    try:
        verify.check_claims(token.payload, now=question.now, skew=settings.clock_skew)
        verify.audiences(token.payload)
    except TokenError as error:
        return _problem(error)
    return None


def _concluded(token: Compact, problem: Problem | None, sources: tuple[Source, ...]) -> Report:
    decision = _decision(sources)
    granted = isinstance(decision, Granted) and problem is None
    reason, message = ("", "") if granted else _why(problem, sources, decision)
    accounts = [account for source in sources for account in source.accounts]
    miss = None if granted else nearest(accounts)
    return Report(
        token=token,
        granted=granted,
        reason=reason,
        message=message,
        decision=decision,
        sources=sources,
        nearest=miss.policy if miss else "",
    )


def _decision(sources: Sequence[Source]) -> Granted | Refused | None:
    """The first grant, of a source whose signature was checked if there is one; else the nearest refusal."""
    decisions = sorted(_decided(sources), key=lambda found: found[0])
    granted = [decision for _, decision in decisions if isinstance(decision, Granted)]
    if granted:
        return granted[0]
    refused = [decision for _, decision in decisions if isinstance(decision, Refused)]
    return max(refused, key=lambda miss: miss.reason.rank, default=None)


def _decided(sources: Sequence[Source]) -> Iterator[tuple[bool, Granted | Refused]]:
    for source in sources:
        if source.decision is not None:
            yield source.signature != CHECKED, source.decision


def _why(problem: Problem | None, sources: Sequence[Source], decision: Granted | Refused | None) -> tuple[str, str]:
    """Reason and sentence of the refusal, in the order in which production looks."""
    if not sources:
        return Denial.UNKNOWN_ISSUER.value, refusals.denied(Denial.UNKNOWN_ISSUER).description
    wrong = next((source.problem for source in sources if source.problem is not None), None)
    if decision is None and wrong is not None:
        return wrong.reason, wrong.message
    if problem is not None:
        return problem.reason, problem.message
    if isinstance(decision, Refused):
        return decision.reason.value, refusals.denied(decision.reason).description
    raise ValueError("a source has neither a decision nor a problem")


def _problem(error: TokenError) -> Problem:
    return Problem(error.reason.value, str(error))
