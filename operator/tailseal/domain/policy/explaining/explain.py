"""Retells a decision to those who own the policies: what each policy asked for, what it found, and what would help.

The decision itself and every step come from `decide`, the same that production runs; here they are only put in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.compiled import CompiledGrant, CompiledPolicy
from tailseal.domain.policy.decide import Granted, Refused, Step, Trace, decide
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.explaining import advice, sensitivity
from tailseal.domain.policy.explaining.account import MATCH, Account, Check
from tailseal.domain.policy.explaining.trusted import FIELDS, Moment, condition_check, held, rule_check, trust_check
from tailseal.domain.policy.grants import GrantRequest
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.matchers import Rule
from tailseal.domain.policy.trust import Verified, is_named

_GRANT_DENIALS: Final = frozenset(
    {
        Denial.TOKEN_TYPE_NOT_GRANTED,
        Denial.GRANT_NOT_FOUND,
        Denial.TARGET_NOT_GRANTED,
        Denial.TAG_NOT_GRANTED,
        Denial.SCOPE_NOT_GRANTED,
    }
)
_TOLD: Final = _GRANT_DENIALS | {
    *(Denial.AUDIENCE_NOT_TRUSTED, Denial.NO_POLICY_MATCHES),
    *(Denial.CONDITION_BUDGET, Denial.CONDITION_ERROR, Denial.CONDITION_FALSE),
}
"""What a check of its own tells of."""
_EXPECTED_OF_ACTORS: Final = {
    Denial.ACTOR_NOT_ALLOWED: "no actor token: the policy has no actors",
    Denial.ACTOR_NOT_TRUSTED: "an actor that one of the entries means",
    Denial.ACTOR_NOT_NAMED: "the actor that the subject token's may_act names",
}
_ACTOR_DENIALS: Final = frozenset(_EXPECTED_OF_ACTORS)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and every policy's part in it.

    Args:
        decision: as production would take it.
        accounts: of every policy of the key source, in the order in which they are asked.
    """

    decision: Granted | Refused
    accounts: tuple[Account, ...]


def explain(
    index: PolicyIndex,
    subject: Verified,
    request: GrantRequest,
    settings: Settings,
    now: float,
    actors: Sequence[Verified] | None = None,
) -> Explanation:
    """Decide, and say why.

    Args:
        index: all policies that may grant.
        subject: the token, taken for verified.
        request: what its bearer asks for.
        settings: the provider's.
        now: Unix seconds.
        actors: the actor token, taken for verified, once for each source; None: there is none.
    """
    trace: Trace = []
    decision = decide(index, subject, request, settings, now, actors=actors, trace=trace)
    accounts = []
    for policy_id, steps in groupby(trace, key=lambda step: step.policy):
        policy = index.get(policy_id)
        if policy is not None:
            accounts.append(_account(policy, tuple(steps), subject, request, Moment(now, settings.clock_skew), actors))
    return Explanation(decision, tuple(accounts))


def nearest(accounts: Sequence[Account]) -> Account | None:
    """The policy with the least standing in the way; among equals the one that came furthest."""
    missed = [account for account in accounts if not account.grants]
    return min(missed, key=lambda account: (len(account.failures), -_rank(account.outcome)), default=None)


def _rank(outcome: str) -> int:
    return Denial(outcome).rank if outcome != MATCH else len(Denial)


def _account(
    policy: CompiledPolicy,
    steps: Sequence[Step],
    subject: Verified,
    request: GrantRequest,
    at: Moment,
    actors: Sequence[Verified] | None,
) -> Account:
    outcome = next((step.outcome.removesuffix(" (Audit)") for step in steps if step.field == "spec"), MATCH)
    rules = list(policy.trust.rules)
    checks = [_check(policy, step, rules, subject, request, actors) for step in steps if step.field != "spec"]
    place = next((place for place, check in enumerate(checks) if _is_grant(check)), len(checks))
    checks[place:place] = [*_conditions(policy, outcome, subject, at), *_actor_checks(policy, outcome, actors, at)]
    if not policy.enforce:
        checks.append(_audit_only())
    return Account(policy.id, policy.enforce, outcome, tuple(checks))


def _is_grant(check: Check) -> bool:
    return check.field.startswith("spec.grants[")


def _check(
    policy: CompiledPolicy,
    step: Step,
    rules: list[Rule],
    subject: Verified,
    request: GrantRequest,
    actors: Sequence[Verified] | None,
) -> Check:
    if step.field == f"{policy.trust.origin}.audiences":
        found = sensitivity.shown(("aud",), subject.claims.get("aud") or "")
        fix = "" if step.outcome == MATCH else advice.of_audience(policy)
        return Check(step.field, step.outcome, step.expected, found, fix, "aud")
    for grant in policy.grants:
        if step.field == f"spec.grants[{grant.name}]":
            fix = advice.of_grant(grant, request, Denial(step.outcome)) if step.outcome != MATCH else ""
            return Check(step.field, step.outcome, _offer(step, grant), _asked(step, request), fix)
    if policy.trust.condition is not None and step.field == f"{policy.trust.origin}.condition":
        return condition_check(step, policy.trust.condition, subject)
    if step.field.endswith(".replay"):
        return _replay_check(policy, step, subject, actors)
    rule = next((rule for rule in rules if (rule.field, rule.expected) == (step.field, step.expected)), None)
    if rule is None:
        return Check(step.field, step.outcome, step.expected)
    rules.remove(rule)  # several rules may stand for one field
    return rule_check(step, rule, subject.claims)


def _replay_check(policy: CompiledPolicy, step: Step, subject: Verified, actors: Sequence[Verified] | None) -> Check:
    """What stands for a token that counts once; of its own it is never shown."""
    of_subject = step.field == f"{policy.trust.origin}.replay"
    token = subject if of_subject else next(iter(actors or ()), subject)
    known = "its jti" if is_named(token.claims) else "what was signed, since it has no jti,"
    note = f"{known} is marked as used before anything is given; whether it was before, only the store knows"
    return Check(step.field, step.outcome, step.expected, claim="jti", note=note)


def _offer(step: Step, grant: CompiledGrant) -> str:
    """What the grant has of what was asked for."""
    has: dict[str, Iterable[str]] = {
        Denial.GRANT_NOT_FOUND: (grant.name,),
        Denial.TAG_NOT_GRANTED: grant.tags or ("none",),
        Denial.SCOPE_NOT_GRANTED: grant.scopes or ("none",),
    }
    return step.expected or ", ".join(has.get(step.outcome, sorted(grant.targets)))


def _asked(step: Step, request: GrantRequest) -> str:
    asked = {
        Denial.TOKEN_TYPE_NOT_GRANTED: (request.requested_token_type or "",),
        Denial.GRANT_NOT_FOUND: (request.grant or "",),
        Denial.TARGET_NOT_GRANTED: request.targets,
        Denial.TAG_NOT_GRANTED: request.tags,
        Denial.SCOPE_NOT_GRANTED: request.scopes,
    }
    return ", ".join(asked[Denial(step.outcome)]) if step.outcome in asked else ""


def _conditions(policy: CompiledPolicy, outcome: str, subject: Verified, at: Moment) -> Iterator[Check]:
    """What stood in the way between the rules and the grants, or among the grants as a whole."""
    reason = Denial(outcome) if outcome != MATCH else None
    if reason is None or reason in _TOLD or reason in _ACTOR_DENIALS:
        return
    if reason in FIELDS:
        yield trust_check(policy.trust, reason, subject, at)
        return
    fix = advice.FIXED.get(reason, "")
    if reason is Denial.AMBIGUOUS_GRANT:
        names = ", ".join(grant.name for grant in policy.grants)
        yield Check("spec.grants", outcome, "one grant", f"several of {names}", fix)
    elif reason is Denial.CLAIM_ERROR:
        yield Check("spec.grants", outcome, "from every expression of the grant a value of its kind", "", fix)
    else:
        yield Check("spec", outcome, "", "", fix)


def _actor_checks(
    policy: CompiledPolicy, outcome: str, actors: Sequence[Verified] | None, at: Moment
) -> Iterator[Check]:
    """Who may act, and how far the actor is from each of them."""
    reason = Denial(outcome) if outcome != MATCH else None
    if reason in _ACTOR_DENIALS:
        claim = "may_act" if reason is Denial.ACTOR_NOT_NAMED else ""
        yield Check("spec.actors", outcome, _EXPECTED_OF_ACTORS[reason], "", advice.FIXED[reason], claim)
    if reason is Denial.ACTOR_NOT_TRUSTED:
        for trust in policy.actors:
            for actor in actors or ():
                if actor.source == trust.source:
                    yield from held(trust, actor, at)


def _audit_only() -> Check:
    reason = Denial.AUDIT_ONLY
    return Check("spec.enforcement", reason.value, "Enforce", "Audit", advice.FIXED[reason])
