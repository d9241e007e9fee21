"""Retells a decision to those who own the policies: what each policy asked for, what it found, and what would help.

The decision itself and every step come from `decide`, the same that production runs; here they are only put in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from tailseal.api.durations import format_duration
from tailseal.api.times import format_time
from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy import advice, sensitivity
from tailseal.domain.policy.actors import Actor
from tailseal.domain.policy.cel import Program
from tailseal.domain.policy.compiled import Claims, CompiledPolicy, Trust
from tailseal.domain.policy.decide import Granted, Refused, Step, Subject, Trace, decide
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.grants import GrantRequest
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.matchers import Rule, Verdict

MATCH: Final = Verdict.MATCH.value

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
_FIELDS: Final = {
    Denial.ALGORITHM_NOT_ALLOWED: "algorithms",
    Denial.KEYS_EXPIRED: "keys.jwks.expiryTime",
    Denial.TOKEN_TOO_OLD: "maxAge",
}
"""Members of what a policy trusts that are looked at once all rules hold."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a policy asked for.

    Args:
        field: its place in the manifest.
        outcome: `match`, or what was found instead: a verdict or the reason of a denial.
        expected: what the policy asks for.
        found: what the token or the request has there, as far as it may be shown; empty if there is nothing.
        fix: what would help; empty if nothing is wrong.
        claim: the claim that was looked at, dots between the names of nested ones; empty if it was none.
    """

    field: str
    outcome: str
    expected: str = ""
    found: str = ""
    fix: str = ""
    claim: str = ""

    @property
    def passed(self) -> bool:
        """Whether it was as asked for."""
        return self.outcome == MATCH


@dataclass(frozen=True, slots=True)
class Account:
    """How one policy decided.

    Args:
        policy: its id.
        enforce: False: it never grants.
        outcome: `match`: it grants, or would under `Enforce`; else the reason why not.
        checks: everything it asked for, in the order of evaluation.
    """

    policy: str
    enforce: bool
    outcome: str
    checks: tuple[Check, ...]

    @property
    def grants(self) -> bool:
        """Whether a token came of it."""
        return self.enforce and self.outcome == MATCH

    @property
    def failures(self) -> tuple[Check, ...]:
        """What stood in the way; grants only if none of them fits."""
        if self.outcome == MATCH:
            return tuple(check for check in self.checks if check.field == "spec.enforcement")
        fits = any(check.passed for check in self.checks if check.field.startswith("spec.grants["))
        return tuple(
            check for check in self.checks if not check.passed and not (fits and check.field.startswith("spec.grants["))
        )


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
    subject: Subject,
    request: GrantRequest,
    settings: Settings,
    now: float,
    actors: Sequence[Actor] | None = None,
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
            accounts.append(_account(policy, tuple(steps), subject, request, now, actors))
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
    subject: Subject,
    request: GrantRequest,
    now: float,
    actors: Sequence[Actor] | None,
) -> Account:
    outcome = next((step.outcome.removesuffix(" (Audit)") for step in steps if step.field == "spec"), MATCH)
    rules = list(policy.rules)
    checks = [_check(policy, step, rules, subject, request) for step in steps if step.field != "spec"]
    place = next((place for place, check in enumerate(checks) if _is_grant(check)), len(checks))
    checks[place:place] = [*_conditions(policy, outcome, subject, now), *_actor_checks(policy, outcome, actors, now)]
    if not policy.enforce:
        checks.append(_audit_only())
    return Account(policy.id, policy.enforce, outcome, tuple(checks))


def _is_grant(check: Check) -> bool:
    return check.field.startswith("spec.grants[")


def _check(policy: CompiledPolicy, step: Step, rules: list[Rule], subject: Subject, request: GrantRequest) -> Check:
    if step.field == f"{policy.origin}.audiences":
        found = sensitivity.shown(("aud",), subject.claims.get("aud") or "")
        fix = "" if step.outcome == MATCH else advice.of_audience(policy)
        return Check(step.field, step.outcome, step.expected, found, fix, "aud")
    for grant in policy.grants:
        if step.field == f"spec.grants[{grant.name}]":
            fix = advice.of_grant(grant, request, Denial(step.outcome)) if step.outcome != MATCH else ""
            return Check(step.field, step.outcome, _offer(step, grant.targets), _asked(step, request), fix)
    if policy.condition is not None and step.field == f"{policy.origin}.condition":
        return _condition_check(step, policy.condition, subject)
    rule = next((rule for rule in rules if (rule.field, rule.expected) == (step.field, step.expected)), None)
    if rule is None:
        return Check(step.field, step.outcome, step.expected)
    rules.remove(rule)  # several rules may stand for one field
    return _rule_check(step, rule, subject.claims)


def _condition_check(step: Step, condition: Program, subject: Subject) -> Check:
    """The claims that the condition looks at, as far as they may be shown."""
    seen = {name: subject.claims.get(name) for name in sorted(condition.claims)}
    shown = (
        f"{name}: {'none' if value is None else sensitivity.shown((name,), value)}" for name, value in seen.items()
    )
    fix = "" if step.outcome == MATCH else advice.FIXED[Denial(step.outcome)]
    return Check(step.field, step.outcome, step.expected, "; ".join(shown), fix, ", ".join(seen))


def _rule_check(step: Step, rule: Rule, claims: Claims) -> Check:
    value = advice.value_at(claims, rule.path)
    written = rule.prefix or rule.expected.partition(": ")[2]
    found = "" if value is None else sensitivity.shown(rule.path, value, written)
    fix = advice.of_rule(rule, claims, Verdict(step.outcome))
    return Check(step.field, step.outcome, _wanted(rule), found, fix, ".".join(rule.path))


def _wanted(rule: Rule) -> str:
    """What the rule asks for, as a manifest would have it: `exact: "65"` is not `exactInteger: 65`."""
    member, _, wanted = rule.expected.partition(": ")
    if member in {"exact", "glob", "regex"}:
        return f"{member}: {json.dumps(wanted)}"
    if member == "oneOf" and rule.keys:
        return f"{member}: {json.dumps(sorted(map(str, rule.keys)))}"
    return f"{member}: {wanted.lower()}" if member == "exactBoolean" else rule.expected


def _offer(step: Step, targets: frozenset[str]) -> str:
    return step.expected or ", ".join(sorted(targets))


def _asked(step: Step, request: GrantRequest) -> str:
    asked = {
        Denial.TOKEN_TYPE_NOT_GRANTED: (request.requested_token_type or "",),
        Denial.GRANT_NOT_FOUND: (request.grant or "",),
        Denial.TARGET_NOT_GRANTED: request.targets,
        Denial.TAG_NOT_GRANTED: request.tags,
        Denial.SCOPE_NOT_GRANTED: request.scopes,
    }
    return ", ".join(asked[Denial(step.outcome)]) if step.outcome in asked else ""


def _conditions(policy: CompiledPolicy, outcome: str, subject: Subject, now: float) -> Iterator[Check]:
    """What stood in the way between the rules and the grants, or among the grants as a whole."""
    denial = Denial(outcome) if outcome != MATCH else None
    if denial is None or denial in _TOLD or denial in _ACTOR_DENIALS:
        return
    fix = advice.of_condition(policy, denial, subject.algorithm)
    if denial is Denial.AMBIGUOUS_GRANT:
        names = ", ".join(grant.name for grant in policy.grants)
        yield Check("spec.grants", outcome, "one grant", f"several of {names}", fix)
        return
    if denial is Denial.CLAIM_ERROR:
        yield Check("spec.grants", outcome, "a text from every expression of the grant", "", fix)
        return
    field = "spec"
    if denial in _FIELDS:  # the typed blocks have no such members
        field = f"{policy.origin}.{_FIELDS[denial]}" if policy.origin.endswith(".oidc") else policy.origin
    yield Check(field, outcome, *_measured(policy, denial, subject, now), fix)


def _actor_checks(policy: CompiledPolicy, outcome: str, actors: Sequence[Actor] | None, now: float) -> Iterator[Check]:
    """Who may act, and how far the actor is from each of them."""
    denial = Denial(outcome) if outcome != MATCH else None
    if denial in _ACTOR_DENIALS:
        claim = "may_act" if denial is Denial.ACTOR_NOT_NAMED else ""
        yield Check("spec.actors", outcome, _EXPECTED_OF_ACTORS[denial], "", advice.FIXED[denial], claim)
    if denial is Denial.ACTOR_NOT_TRUSTED:
        for trust in policy.actors:
            for actor in actors or ():
                if actor.source == trust.source:
                    yield from _held(trust, actor, now)


def _held(trust: Trust, actor: Actor, now: float) -> Iterator[Check]:
    """The actor against one entry of `actors`."""
    met = not trust.audiences.isdisjoint(actor.audiences)
    found = sensitivity.shown(("aud",), actor.claims.get("aud") or "")
    audience = Verdict.MATCH if met else Verdict.MISMATCH
    yield Check(f"{trust.origin}.audiences", audience.value, ", ".join(sorted(trust.audiences)), found, "", "aud")
    for rule in trust.rules:
        yield _rule_check(Step("", rule.field, rule.test(actor.claims).value, rule.expected), rule, actor.claims)
    if actor.algorithm not in trust.algorithms:
        listed = ", ".join(sorted(trust.algorithms))
        yield Check(f"{trust.origin}.algorithms", Denial.ALGORITHM_NOT_ALLOWED.value, listed, actor.algorithm)
    if trust.keys_expire_at is not None and now >= trust.keys_expire_at:
        yield Check(f"{trust.origin}.keys.jwks.expiryTime", Denial.KEYS_EXPIRED.value)
    if trust.max_age is not None:
        yield Check(f"{trust.origin}.maxAge", *_age(trust.max_age, actor.claims, now))


def _measured(policy: CompiledPolicy, denial: Denial, subject: Subject, now: float) -> tuple[str, str]:
    """What was asked for and what was found."""
    if denial is Denial.ALGORITHM_NOT_ALLOWED:
        return ", ".join(sorted(policy.algorithms)), subject.algorithm
    if denial is Denial.KEYS_EXPIRED and policy.keys_expire_at is not None:
        return f"before {format_time(policy.keys_expire_at)}", format_time(now)
    if denial is Denial.TOKEN_TOO_OLD and policy.max_age is not None:
        return _age(policy.max_age, subject.claims, now)[1:]
    return "", ""


def _age(max_age: int, claims: Claims, now: float) -> tuple[str, str, str]:
    """How the age of a token stands to what it may be, what it may be, and what it is."""
    issued_at = claims.get("iat")
    if not isinstance(issued_at, int | float):
        return Denial.TOKEN_TOO_OLD.value, f"issued at most {format_duration(max_age)} ago", "no time of issue"
    outcome = MATCH if now - issued_at <= max_age else Denial.TOKEN_TOO_OLD.value
    return outcome, f"issued at most {format_duration(max_age)} ago", f"issued {int(now - issued_at)}s ago"


def _audit_only() -> Check:
    reason = Denial.AUDIT_ONLY
    return Check("spec.enforcement", reason.value, "Enforce", "Audit", advice.FIXED[reason])
