"""Retells a decision to those who own the policies: what each policy asked for, what it found, and what would help.

The decision itself and every step come from `decide`, the same that production runs; here they are only put in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final, NamedTuple

from tailseal.api.durations import format_duration
from tailseal.api.times import format_time
from tailseal.domain.bundle.model import Settings
from tailseal.domain.policy.compiled import CompiledGrant, CompiledPolicy
from tailseal.domain.policy.decide import Granted, Refused, Step, Trace, decide
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.explaining import advice, sensitivity
from tailseal.domain.policy.expressions.cel import Program, Values
from tailseal.domain.policy.expressions.conditions import refusal
from tailseal.domain.policy.grants import GrantRequest
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.matchers import Rule, Verdict
from tailseal.domain.policy.trust import Claims, Trust, Verified, denial, is_named

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


class _Moment(NamedTuple):
    """When it is decided: Unix seconds, and by how many an issuer's clock may differ."""

    now: float
    skew: float


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
        note: what is to be known although nothing is wrong; empty if there is nothing.
    """

    field: str
    outcome: str
    expected: str = ""
    found: str = ""
    fix: str = ""
    claim: str = ""
    note: str = ""

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
            accounts.append(_account(policy, tuple(steps), subject, request, _Moment(now, settings.clock_skew), actors))
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
    at: _Moment,
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
        return _condition_check(step, policy.trust.condition, subject)
    if step.field.endswith(".replay"):
        return _replay_check(policy, step, subject, actors)
    rule = next((rule for rule in rules if (rule.field, rule.expected) == (step.field, step.expected)), None)
    if rule is None:
        return Check(step.field, step.outcome, step.expected)
    rules.remove(rule)  # several rules may stand for one field
    return _rule_check(step, rule, subject.claims)


def _replay_check(policy: CompiledPolicy, step: Step, subject: Verified, actors: Sequence[Verified] | None) -> Check:
    """What stands for a token that counts once; of its own it is never shown."""
    of_subject = step.field == f"{policy.trust.origin}.replay"
    token = subject if of_subject else next(iter(actors or ()), subject)
    known = "its jti" if is_named(token.claims) else "what was signed, since it has no jti,"
    note = f"{known} is marked as used before anything is given; whether it was before, only the store knows"
    return Check(step.field, step.outcome, step.expected, claim="jti", note=note)


def _condition_check(step: Step, condition: Program, subject: Verified) -> Check:
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


def _conditions(policy: CompiledPolicy, outcome: str, subject: Verified, at: _Moment) -> Iterator[Check]:
    """What stood in the way between the rules and the grants, or among the grants as a whole."""
    reason = Denial(outcome) if outcome != MATCH else None
    if reason is None or reason in _TOLD or reason in _ACTOR_DENIALS:
        return
    if reason in _FIELDS:
        yield _trust_check(policy.trust, reason, subject, at)
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
    policy: CompiledPolicy, outcome: str, actors: Sequence[Verified] | None, at: _Moment
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
                    yield from _held(trust, actor, at)


def _held(trust: Trust, actor: Verified, at: _Moment) -> Iterator[Check]:
    """The actor against one entry of `actors`."""
    met = not trust.audiences.isdisjoint(actor.audiences)
    found = sensitivity.shown(("aud",), actor.claims.get("aud") or "")
    audience = Verdict.MATCH if met else Verdict.MISMATCH
    yield Check(f"{trust.origin}.audiences", audience.value, ", ".join(sorted(trust.audiences)), found, "", "aud")
    for rule in trust.rules:
        yield _rule_check(Step("", rule.field, rule.test(actor.claims).value, rule.expected), rule, actor.claims)
    anyone = replace(trust, audiences=frozenset(actor.audiences), rules=())
    if (reason := denial(anyone, actor, at.now, at.skew)) is not None:
        yield _trust_check(trust, reason, actor, at)
    if trust.condition is not None and denial(trust, actor, at.now, at.skew) is None:
        asked = refusal(trust, lambda program: program.evaluate(Values(actor.claims)))
        step = Step("", f"{trust.origin}.condition", asked.value if asked else MATCH, trust.condition.text)
        yield _condition_check(step, trust.condition, actor)


def _trust_check(trust: Trust, reason: Denial, token: Verified, at: _Moment) -> Check:
    """What a token, for which all rules hold, is refused for; the typed blocks have not all of these members."""
    field = f"{trust.origin}.{_FIELDS[reason]}"
    if reason is not Denial.TOKEN_TOO_OLD and not trust.origin.endswith(".oidc"):
        field = trust.origin
    return Check(field, reason.value, *_measured(trust, reason, token, at), advice.of_trust(trust, reason, token))


def _measured(trust: Trust, reason: Denial, token: Verified, at: _Moment) -> tuple[str, str]:
    """What was asked for and what was found."""
    if reason is Denial.ALGORITHM_NOT_ALLOWED:
        return ", ".join(sorted(trust.algorithms)), token.algorithm
    if reason is Denial.KEYS_EXPIRED and trust.source.expires_at is not None:
        return f"before {format_time(trust.source.expires_at)}", format_time(at.now)
    if reason is Denial.TOKEN_TOO_OLD and trust.max_age is not None:
        return _age(trust.max_age, token.claims, at)
    return "", ""


def _age(max_age: int, claims: Claims, at: _Moment) -> tuple[str, str]:
    """How old a token may be, and how old it is."""
    skew = f" (and {format_duration(int(at.skew))} for clocks that differ)" if at.skew else ""
    issued_at = claims.get("iat")
    if isinstance(issued_at, bool) or not isinstance(issued_at, int | float):
        return f"issued at most {format_duration(max_age)} ago{skew}", "no time of issue"
    return f"issued at most {format_duration(max_age)} ago{skew}", f"issued {int(at.now - issued_at)}s ago"


def _audit_only() -> Check:
    reason = Denial.AUDIT_ONLY
    return Check("spec.enforcement", reason.value, "Enforce", "Audit", advice.FIXED[reason])
