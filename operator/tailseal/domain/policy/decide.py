"""Decides whether a verified token is trusted, by which policy, and with which of its grants.

A policy must cover the whole request. Policies stand in the order of namespace and name; the first that grants wins.
Where the request names no audience or resource and the policies that would grant lead to different targets, it is
ambiguous: no policy may change in silence what callers of another one get.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from tailseal.domain import scopes
from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.actors import entitled
from tailseal.domain.policy.compiled import CompiledGrant, CompiledPolicy, Given, GrantKind
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.expressions.conditions import NOTHING, Conditions
from tailseal.domain.policy.grants import GrantRequest, choose, refusal
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.matchers import Verdict
from tailseal.domain.policy.trust import Acting, Trust, Verified, denial
from tailseal.domain.tenancy import bounds

__all__ = ["Denial", "GrantRequest", "Granted", "Refused", "Step", "decide"]

Trial = tuple[tuple[str, Denial], ...]
"""Ids of policies under `Audit`, with the reason for which each would refuse a token that its rules trust."""

_Beside = tuple[tuple[str, ...], Trial, tuple[str, ...]]
"""What is told beside the decision: `audited`, `trial` and `exhausted` of `Refused`."""


class Granted(NamedTuple):
    """The answer yes.

    Args:
        policy: by which policy.
        grant: which of its grants.
        scopes: the grant's scopes, narrowed to the request.
        tags: the grant's tags, narrowed to the request.
        audience: of the JWT to mint: those that were asked for, else all of the grant's.
        ttl: longest lifetime in seconds of the JWT to mint.
        audited: ids of policies under `Audit` that would have granted as well.
        given: what the expressions of policy and grant gave, and who acts for the subject.
        trial: what policies under `Audit` that trust the token would have refused, and why.
        exhausted: namespaces whose expressions took more than a request may cost.
    """

    policy: CompiledPolicy
    grant: CompiledGrant
    scopes: tuple[str, ...]
    tags: tuple[str, ...]
    audience: tuple[str, ...]
    ttl: int
    audited: tuple[str, ...] = ()
    given: Given = NOTHING
    trial: Trial = ()
    exhausted: tuple[str, ...] = ()

    @property
    def actor(self) -> Verified | None:
        """Who acts for the subject; None: nobody does."""
        return None if self.given.acting is None else self.given.acting.token


class Refused(NamedTuple):
    """The answer no.

    Args:
        reason: of the nearest miss; stable, and all that a caller is told.
        policy: id of a policy whose rules did match, for the audit line only; empty if there is none.
        audited: ids of policies under `Audit` that would have granted.
        trial: what policies under `Audit` that trust the token would have refused, and why.
        exhausted: namespaces whose expressions took more than a request may cost.
    """

    reason: Denial
    policy: str = ""
    audited: tuple[str, ...] = ()
    trial: Trial = ()
    exhausted: tuple[str, ...] = ()


class Step(NamedTuple):
    """One step of a trace. It holds what the policy's author wrote, and nothing of the token.

    Args:
        policy: id of the policy.
        field: the place in its manifest that was held against the token or the request.
        outcome: `match`, or what was found instead: the value of a verdict or of a denial.
        expected: what the policy asks for there.
    """

    policy: str
    field: str
    outcome: str
    expected: str = ""


Trace = list[Step]


def decide(  # noqa: PLR0913 - everything that a decision depends on
    index: PolicyIndex,
    subject: Verified,
    request: GrantRequest,
    settings: Settings,
    now: float,
    *,
    actors: Sequence[Verified] | None = None,
    conditions: Conditions | None = None,
    trace: Trace | None = None,
) -> Granted | Refused:
    """The decision on one request.

    Args:
        index: all policies that may grant.
        subject: the verified token.
        request: what its bearer asks for.
        settings: the provider's present ones; a policy that was compiled under others is held against their bounds.
        now: Unix seconds.
        actors: the actor token, once for each source that verifies it; None: there is no actor token.
        conditions: evaluates the expressions of this request; None: without a limit of time.
        trace: if given, every step of every policy of the key source is added; the decision stays the same.
    """
    granting: list[_Chosen] = []
    audited: list[str] = []
    trial: list[tuple[str, Denial]] = []
    nearest: Refused | None = None
    conditions = conditions or Conditions(subject.claims)
    for policy in _considered(index, subject, request, trace):
        outcome = _verdict(policy, subject, request, settings, now, actors, conditions)
        if trace is not None:
            trace.extend(_steps(policy, subject, request, outcome))
        if isinstance(outcome, tuple):
            if policy.enforce:
                granting.append(outcome)
                continue
            audited.append(policy.id)
            outcome = Denial.AUDIT_ONLY
        elif not policy.enforce and outcome.rank > Denial.NO_POLICY_MATCHES.rank:
            trial.append((policy.id, outcome))
        if outcome.rank > (nearest.reason if nearest else Denial.NO_POLICY_MATCHES).rank:
            nearest = Refused(outcome, policy.id)
    beside = tuple(audited), tuple(trial), conditions.exhausted
    if granting and (len(granting) == 1 or not _is_ambiguous(granting, request)):
        return _granted(granting[0], request, beside)
    refused = Refused(Denial.AMBIGUOUS_GRANT) if granting else nearest or _unmatched(index, subject)
    return Refused(refused.reason, refused.policy, *beside)


_Chosen = tuple[CompiledPolicy, CompiledGrant, Given]
"""What one policy would grant: by which of its grants, and what its expressions gave."""


def _verdict(
    policy: CompiledPolicy,
    subject: Verified,
    request: GrantRequest,
    settings: Settings,
    now: float,
    actors: Sequence[Verified] | None,
    conditions: Conditions,
) -> _Chosen | Denial:
    """What one policy would grant, or why it would not; expressions are asked last."""
    if policy.is_costly:
        acting = conditions.weighed(policy, partial(_trusted, policy, subject, settings, now, actors))
    else:
        acting = _trusted(policy, subject, settings, now, actors)
    if isinstance(acting, Denial):
        return acting
    grant = choose(policy.grants, request)
    if isinstance(grant, Denial):
        return grant
    if not (policy.trust.condition or grant.subject or grant.claims or acting):
        return policy, grant, NOTHING
    given = conditions.given(policy, grant, acting)
    return given if isinstance(given, Denial) else (policy, grant, given)


def _trusted(
    policy: CompiledPolicy,
    subject: Verified,
    settings: Settings,
    now: float,
    actors: Sequence[Verified] | None,
) -> tuple[Acting, ...] | Denial:
    """Who may act for the subject, empty where nobody does; or why the policy trusts the token or the actor not."""
    reason = denial(policy.trust, subject, now, settings.clock_skew)
    if reason is not None:
        return reason
    if policy.settings is not settings and bounds.violations(policy, settings):
        return Denial.EXCEEDS_BOUNDS
    return () if actors is None else entitled(policy, subject.claims, actors, now, settings.clock_skew)


def _considered(
    index: PolicyIndex, subject: Verified, request: GrantRequest, trace: Trace | None
) -> Sequence[CompiledPolicy]:
    if request.policy is not None:
        named = index.get(request.policy)
        return (named,) if named is not None and named.trust.source == subject.source else ()
    if trace is not None:
        return index.all(subject.source)
    return index.candidates(subject.source, subject.audiences, subject.claims)


def _is_ambiguous(granting: Sequence[_Chosen], request: GrantRequest) -> bool:
    if request.audiences or request.resources:
        return False
    return len({(grant.kind, grant.targets) for _, grant, _ in granting}) > 1


def _granted(chosen: _Chosen, request: GrantRequest, beside: _Beside) -> Granted:
    policy, grant, given = chosen
    audited, trial, exhausted = beside
    narrow = scopes.narrow_tailscale if grant.kind is GrantKind.TAILSCALE else scopes.narrow
    return Granted(
        policy,
        grant,
        narrow(grant.scopes, request.scopes) if request.scopes else grant.scopes,
        scopes.narrow(grant.tags, request.tags) if request.tags else grant.tags,
        scopes.narrow(grant.audiences, request.targets) if len(grant.audiences) > 1 else grant.audiences,
        grant.ttl,
        audited,
        given,
        trial,
        exhausted,
    )


def _unmatched(index: PolicyIndex, subject: Verified) -> Refused:
    """The answer where no policy's rules hold: the same whichever policies there are, and whichever was asked for."""
    trusted = index.trusts(subject.source, subject.audiences)
    return Refused(Denial.NO_POLICY_MATCHES if trusted else Denial.AUDIENCE_NOT_TRUSTED)


def _steps(
    policy: CompiledPolicy, subject: Verified, request: GrantRequest, outcome: _Chosen | Denial
) -> Iterator[Step]:
    """Everything about one policy: each rule by itself, then the reason that decided, then each grant."""
    trusted = not policy.trust.audiences.isdisjoint(subject.audiences)
    audience = Verdict.MATCH if trusted else Verdict.MISMATCH
    yield Step(policy.id, f"{policy.trust.origin}.audiences", audience.value, ", ".join(sorted(policy.trust.audiences)))
    for rule in policy.trust.rules:
        yield Step(policy.id, rule.field, rule.test(subject.claims).value, rule.expected)
    if policy.trust.condition is not None and (asked := _asked(outcome)):
        yield Step(policy.id, f"{policy.trust.origin}.condition", asked, policy.trust.condition.text)
    for grant in policy.grants:
        missing = refusal(grant, request)
        yield Step(policy.id, f"spec.grants[{grant.name}]", missing.value if missing else Verdict.MATCH.value)
    if isinstance(outcome, tuple):
        for trust in _counting_once(policy, outcome[2]):
            yield Step(policy.id, f"{trust.origin}.replay", Verdict.MATCH.value, "used for the first time")
    decided = outcome.value if isinstance(outcome, Denial) else Verdict.MATCH.value
    yield Step(policy.id, "spec", decided if policy.enforce else f"{decided} (Audit)")


def _counting_once(policy: CompiledPolicy, given: Given) -> Iterator[Trust]:
    """Whose tokens are marked as used before anything is given; whether one was before, no decision can know."""
    if policy.trust.one_time:
        yield policy.trust
    if given.acting is not None and given.acting.trust.one_time:
        yield given.acting.trust


def _asked(outcome: _Chosen | Denial) -> str:
    """What came of the condition; empty where something else had refused before."""
    if isinstance(outcome, tuple) or outcome is Denial.CLAIM_ERROR:
        return Verdict.MATCH.value
    refused = outcome in {Denial.CONDITION_BUDGET, Denial.CONDITION_ERROR, Denial.CONDITION_FALSE}
    return outcome.value if refused else ""
