"""Holds a token against what a policy trusts, one check for each thing asked for, and says how far away it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from tailseal.api.durations import format_duration
from tailseal.api.times import format_time
from tailseal.domain.policy.decide import Step
from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.explaining import advice, sensitivity
from tailseal.domain.policy.explaining.account import MATCH, Check
from tailseal.domain.policy.expressions.cel import Program, Values
from tailseal.domain.policy.expressions.conditions import refusal
from tailseal.domain.policy.matchers import Rule, Verdict
from tailseal.domain.policy.trust import Claims, Trust, Verified, denial

FIELDS: Final = {
    Denial.ALGORITHM_NOT_ALLOWED: "algorithms",
    Denial.KEYS_EXPIRED: "keys.jwks.expiryTime",
    Denial.TOKEN_TOO_OLD: "maxAge",
}
"""Members of what a policy trusts that are looked at once all rules hold."""


class Moment(NamedTuple):
    """When it is decided: Unix seconds, and by how many an issuer's clock may differ."""

    now: float
    skew: float


def condition_check(step: Step, condition: Program, subject: Verified) -> Check:
    """The claims that the condition looks at, as far as they may be shown."""
    seen = {name: subject.claims.get(name) for name in sorted(condition.claims)}
    shown = (
        f"{name}: {'none' if value is None else sensitivity.shown((name,), value)}" for name, value in seen.items()
    )
    fix = "" if step.outcome == MATCH else advice.FIXED[Denial(step.outcome)]
    return Check(step.field, step.outcome, step.expected, "; ".join(shown), fix, ", ".join(seen))


def rule_check(step: Step, rule: Rule, claims: Claims) -> Check:
    """One claim and what the rule asks of it, by the field of the step."""
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


def held(trust: Trust, actor: Verified, at: Moment) -> Iterator[Check]:
    """The actor against one entry of `actors`."""
    met = not trust.audiences.isdisjoint(actor.audiences)
    found = sensitivity.shown(("aud",), actor.claims.get("aud") or "")
    audience = Verdict.MATCH if met else Verdict.MISMATCH
    yield Check(f"{trust.origin}.audiences", audience.value, ", ".join(sorted(trust.audiences)), found, "", "aud")
    for rule in trust.rules:
        yield rule_check(Step("", rule.field, rule.test(actor.claims).value, rule.expected), rule, actor.claims)
    anyone = replace(trust, audiences=frozenset(actor.audiences), rules=())
    if (reason := denial(anyone, actor, at.now, at.skew)) is not None:
        yield trust_check(trust, reason, actor, at)
    if trust.condition is not None and denial(trust, actor, at.now, at.skew) is None:
        asked = refusal(trust, lambda program: program.evaluate(Values(actor.claims)))
        step = Step("", f"{trust.origin}.condition", asked.value if asked else MATCH, trust.condition.text)
        yield condition_check(step, trust.condition, actor)


def trust_check(trust: Trust, reason: Denial, token: Verified, at: Moment) -> Check:
    """What a token, for which all rules hold, is refused for; the typed blocks have not all of these members."""
    field = f"{trust.origin}.{FIELDS[reason]}"
    if reason is not Denial.TOKEN_TOO_OLD and not trust.origin.endswith(".oidc"):
        field = trust.origin
    return Check(field, reason.value, *_measured(trust, reason, token, at), advice.of_trust(trust, reason, token))


def _measured(trust: Trust, reason: Denial, token: Verified, at: Moment) -> tuple[str, str]:
    """What was asked for and what was found."""
    if reason is Denial.ALGORITHM_NOT_ALLOWED:
        return ", ".join(sorted(trust.algorithms)), token.algorithm
    if reason is Denial.KEYS_EXPIRED and trust.source.expires_at is not None:
        return f"before {format_time(trust.source.expires_at)}", format_time(at.now)
    if reason is Denial.TOKEN_TOO_OLD and trust.max_age is not None:
        return _age(trust.max_age, token.claims, at)
    return "", ""


def _age(max_age: int, claims: Claims, at: Moment) -> tuple[str, str]:
    """How old a token may be, and how old it is."""
    skew = f" (and {format_duration(int(at.skew))} for clocks that differ)" if at.skew else ""
    issued_at = claims.get("iat")
    if isinstance(issued_at, bool) or not isinstance(issued_at, int | float):
        return f"issued at most {format_duration(max_age)} ago{skew}", "no time of issue"
    return f"issued at most {format_duration(max_age)} ago{skew}", f"issued {int(at.now - issued_at)}s ago"
