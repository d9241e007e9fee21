"""Decides whether a verified token is trusted, by which policy, and with which of its grants.

A policy must cover the whole request. Policies stand in the order of namespace and name; the first that grants wins.
Where the request names no audience or resource and the policies that would grant lead to different targets, it is
ambiguous: no policy may change in silence what callers of another one get.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from tailseal.domain import bounds, scopes
from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy import actors as acting
from tailseal.domain.policy.actors import Actor
from tailseal.domain.policy.compiled import Claims, CompiledGrant, CompiledPolicy, Given, GrantKind
from tailseal.domain.policy.conditions import Conditions
from tailseal.domain.policy.denial import Denial, OAuthError
from tailseal.domain.policy.grants import GrantRequest, choose, refusal
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.matchers import Verdict
from tailseal.domain.policy.source import KeySource

__all__ = ["Denial", "GrantRequest", "Granted", "Refused", "Step", "Subject", "decide"]


class Subject(NamedTuple):
    """A subject token whose signature and times were verified.

    Args:
        source: whose keys verified it.
        algorithm: the JWS algorithm it was verified with.
        audiences: its `aud`, as a sequence whether it was one or several.
        claims: its payload.
    """

    source: KeySource
    algorithm: str
    audiences: Sequence[str]
    claims: Claims


Trial = tuple[tuple[str, Denial], ...]
"""Ids of policies under `Audit`, with the reason for which each would refuse a token that its rules trust."""


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
        actor: who acts for the subject; None: nobody does.
        subject: `sub` of the JWT to mint; empty: the policy's own.
        claims: names and values of what the JWT carries beside the usual claims.
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
    actor: Actor | None = None
    subject: str = ""
    claims: tuple[tuple[str, str], ...] = ()
    trial: Trial = ()
    exhausted: tuple[str, ...] = ()


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

    @property
    def error(self) -> OAuthError:
        """The OAuth error code of the reason."""
        return self.reason.error


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
    subject: Subject,
    request: GrantRequest,
    settings: Settings,
    now: float,
    *,
    actors: Sequence[Actor] | None = None,
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
    granting: list[tuple[CompiledPolicy, CompiledGrant]] = []
    audited: list[str] = []
    trial: list[tuple[str, Denial]] = []
    nearest: Refused | None = None
    conditions = conditions or Conditions(subject.claims)
    for policy in _considered(index, subject, request, trace):
        outcome = _verdict(policy, subject, request, settings, now, actors, conditions)
        if trace is not None:
            trace.extend(_steps(policy, subject, request, outcome))
        if isinstance(outcome, CompiledGrant) and policy.enforce:
            granting.append((policy, outcome))
            continue
        if isinstance(outcome, CompiledGrant):
            audited.append(policy.id)
            outcome = Denial.AUDIT_ONLY
        elif not policy.enforce and outcome.rank > Denial.NO_POLICY_MATCHES.rank:
            trial.append((policy.id, outcome))
        if outcome.rank > (nearest.reason if nearest else Denial.NO_POLICY_MATCHES).rank:
            nearest = Refused(outcome, policy.id)
    beside = _Beside(tuple(audited), tuple(trial), conditions.exhausted)
    if granting and not _is_ambiguous(granting, request):
        policy, grant = granting[0]
        return _granted(policy, grant, request, conditions.given(policy, grant), actors[0] if actors else None, beside)
    refused = Refused(Denial.AMBIGUOUS_GRANT) if granting else nearest or _unmatched(index, subject)
    return Refused(refused.reason, refused.policy, *beside)


def _verdict(
    policy: CompiledPolicy,
    subject: Subject,
    request: GrantRequest,
    settings: Settings,
    now: float,
    actors: Sequence[Actor] | None,
    conditions: Conditions,
) -> CompiledGrant | Denial:
    """The grant that one policy gives, or why it gives none; expressions are asked last."""
    if policy.is_costly:
        reason = conditions.weighed(policy, partial(_distrust, policy, subject, settings, now, actors))
    else:
        reason = _distrust(policy, subject, settings, now, actors)
    outcome = reason or choose(policy.grants, request)
    if isinstance(outcome, CompiledGrant):
        return conditions.denial(policy, outcome) or outcome
    return outcome


def _considered(
    index: PolicyIndex, subject: Subject, request: GrantRequest, trace: Trace | None
) -> Sequence[CompiledPolicy]:
    if request.policy is not None:
        named = index.get(request.policy)
        return (named,) if named is not None and named.source == subject.source else ()
    if trace is not None:
        return index.all(subject.source)
    return index.candidates(subject.source, subject.audiences, subject.claims)


def _distrust(
    policy: CompiledPolicy, subject: Subject, settings: Settings, now: float, actors: Sequence[Actor] | None
) -> Denial | None:
    """Why the policy trusts the token not, or nobody who acts for its subject."""
    reason = _mistrust(policy, subject, settings, now)
    if actors is None or reason is not None:
        return reason
    return acting.denial(policy, subject.claims, actors, now, settings.clock_skew)


def _mistrust(policy: CompiledPolicy, subject: Subject, settings: Settings, now: float) -> Denial | None:
    """Why the policy does not trust the token; the order is that of `Denial`."""
    if policy.audiences.isdisjoint(subject.audiences):
        return Denial.AUDIENCE_NOT_TRUSTED
    if policy.matches(subject.claims) is not Verdict.MATCH:
        return Denial.NO_POLICY_MATCHES
    return _condition(policy, subject, settings, now)


def _condition(policy: CompiledPolicy, subject: Subject, settings: Settings, now: float) -> Denial | None:
    """Why the policy, whose rules hold, does not count for the token now."""
    if subject.algorithm not in policy.algorithms:
        return Denial.ALGORITHM_NOT_ALLOWED
    if policy.keys_expire_at is not None and now >= policy.keys_expire_at:
        return Denial.KEYS_EXPIRED
    if policy.max_age is not None and _age(subject.claims, now) > policy.max_age + settings.clock_skew:
        return Denial.TOKEN_TOO_OLD
    if policy.settings is not settings and bounds.violations(policy, settings):
        return Denial.EXCEEDS_BOUNDS
    return None


def _age(claims: Claims, now: float) -> float:
    issued_at = claims.get("iat")
    if isinstance(issued_at, bool) or not isinstance(issued_at, int | float):
        return float("inf")
    return now - issued_at


def _is_ambiguous(granting: Sequence[tuple[CompiledPolicy, CompiledGrant]], request: GrantRequest) -> bool:
    if len(granting) == 1 or request.audiences or request.resources:
        return False
    return len({(grant.kind, grant.targets) for _, grant in granting}) > 1


class _Beside(NamedTuple):
    """What is told beside the decision; see `Refused`."""

    audited: tuple[str, ...]
    trial: Trial
    exhausted: tuple[str, ...]


def _granted(
    policy: CompiledPolicy,
    grant: CompiledGrant,
    request: GrantRequest,
    given: Given,
    actor: Actor | None,
    beside: _Beside,
) -> Granted:
    narrow = scopes.narrow_tailscale if grant.kind is GrantKind.TAILSCALE else scopes.narrow
    return Granted(
        policy,
        grant,
        narrow(grant.scopes, request.scopes),
        scopes.narrow(grant.tags, request.tags),
        scopes.narrow(grant.audiences, request.targets),
        grant.ttl,
        beside.audited,
        actor,
        given.subject,
        given.claims,
        beside.trial,
        beside.exhausted,
    )


def _unmatched(index: PolicyIndex, subject: Subject) -> Refused:
    """The answer where no policy's rules hold: the same whichever policies there are, and whichever was asked for."""
    trusted = index.trusts(subject.source, subject.audiences)
    return Refused(Denial.NO_POLICY_MATCHES if trusted else Denial.AUDIENCE_NOT_TRUSTED)


def _steps(
    policy: CompiledPolicy, subject: Subject, request: GrantRequest, outcome: CompiledGrant | Denial
) -> Iterator[Step]:
    """Everything about one policy: each rule by itself, then the reason that decided, then each grant."""
    trusted = not policy.audiences.isdisjoint(subject.audiences)
    audience = Verdict.MATCH if trusted else Verdict.MISMATCH
    yield Step(policy.id, f"{policy.origin}.audiences", audience.value, ", ".join(sorted(policy.audiences)))
    for rule in policy.rules:
        yield Step(policy.id, rule.field, rule.test(subject.claims).value, rule.expected)
    if policy.condition is not None and (asked := _asked(outcome)):
        yield Step(policy.id, f"{policy.origin}.condition", asked, policy.condition.text)
    for grant in policy.grants:
        missing = refusal(grant, request)
        yield Step(policy.id, f"spec.grants[{grant.name}]", missing.value if missing else Verdict.MATCH.value)
    decided = outcome.value if isinstance(outcome, Denial) else Verdict.MATCH.value
    yield Step(policy.id, "spec", decided if policy.enforce else f"{decided} (Audit)")


def _asked(outcome: CompiledGrant | Denial) -> str:
    """What came of the condition; empty where something else had refused before."""
    if outcome in {Denial.CONDITION_BUDGET, Denial.CONDITION_ERROR, Denial.CONDITION_FALSE}:
        return str(outcome)
    return Verdict.MATCH.value if isinstance(outcome, CompiledGrant) or outcome is Denial.CLAIM_ERROR else ""
