"""Finds policies that cannot do what their authors think: that never match, or that others always go before.

Only what is certain is said: a rule implies another where the first leaves nothing but values that the second takes,
or where both are written the same way. What cannot be shown like that counts as different.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, NamedTuple

from tailseal.domain import scopes
from tailseal.domain.policy.compiled import CompiledGrant, CompiledPolicy, GrantKind
from tailseal.domain.policy.explaining.advice import nested
from tailseal.domain.policy.index import PolicyIndex
from tailseal.domain.policy.matchers import Path, Rule, Verdict
from tailseal.domain.policy.source import KeySource
from tailseal.domain.policy.trust import Trust

_COMPARED: Final = {
    CompiledPolicy: frozenset(
        {
            *("namespace", "name", "uid", "generation", "settings", "enforce", "trust", "grants", "id"),
            *("claims", "is_costly"),  # what the rules come to
        }
    ),
    Trust: frozenset({"origin", "source", "algorithms", "audiences", "rules", "max_age", "condition"}),
    CompiledGrant: frozenset(
        {"name", "kind", "targets", "audiences", "scopes", "tags", "ttl", "upstream", "claims"},
    ),
}
"""Members that are thought of below; two objects that differ in any other are never held for comparable."""

_Compared = CompiledPolicy | Trust | CompiledGrant

_OF_EVERY_TYPE: Final = ("", 0, False, 0.5)
"""Values of each type that a rule may be about: a list of its own is a wrong type to a rule on one value only."""

_ALWAYS_ANSWERED: Final = frozenset({GrantKind.JWT, GrantKind.TAILSCALE})
"""Kinds that a request gets which names neither target nor token type."""


class Policy(NamedTuple):
    """A policy as it was compiled, and whom it trusts as it was written."""

    compiled: CompiledPolicy
    trusts: Mapping[str, Any]


class Overlap(NamedTuple):
    """Two policies that trust the same tokens.

    Args:
        policy: the one whose every token the other one trusts too.
        other: the other one.
        shadowed: True: the other comes first and gives all that this one gives. False: requests that name no target
            are ambiguous.
    """

    policy: CompiledPolicy
    other: CompiledPolicy
    shadowed: bool


def contradiction(policy: CompiledPolicy) -> tuple[Rule, Rule] | None:
    """Two rules on one claim that no value passes; None if none are found."""
    for rule in policy.trust.rules:
        for other in policy.trust.rules:
            if rule is other or rule.path != other.path or rule.keys is None:
                continue
            if not any(_takes(other, value) for value in rule.keys):
                return rule, other
    return None


def overlaps(policies: Sequence[Policy], most: int | None = None) -> Iterator[Overlap]:
    """What policies of one provider do to each other; at most one finding each, of those that may grant.

    Args:
        policies: all of them.
        most: with how many others each is compared, the first ones; None: with all that could matter.
    """
    granting = [policy for policy in policies if policy.compiled.enforce]
    by_source: dict[KeySource, list[Policy]] = defaultdict(list)
    for policy in sorted(granting, key=_place):
        by_source[policy.compiled.trust.source].append(policy)
    for members in by_source.values():
        index = PolicyIndex(member.compiled for member in members)
        by_id = {member.compiled.id: member for member in members}
        for policy in members:
            others = [by_id[other] for other in _nearby(policy.compiled, index, by_id) if other != policy.compiled.id]
            found = next(_of(policy, others[:most]), None)
            if found is not None:
                yield found


def implies(narrow: Policy, wide: Policy) -> bool:
    """Whether every token that the first trusts is certainly one that the second trusts, now and later."""
    first, second = narrow.compiled.trust, wide.compiled.trust
    if first.source != second.source or not (_alike(narrow.compiled, wide.compiled) and _alike(first, second)):
        return False
    if not (first.audiences <= second.audiences and first.algorithms <= second.algorithms):
        return False
    limits = (first.max_age, second.max_age), (first.source.expires_at, second.source.expires_at)
    if not all(_within(narrower, wider) for narrower, wider in limits):
        return False
    if second.condition is not None and first.condition != second.condition:
        return False
    if narrow.trusts == wide.trusts:
        return True
    return all(any(_rule_implies(rule, other) for rule in first.rules) for other in second.rules)


def told(found: Overlap) -> str:
    """The same for people: to the owner of the policy."""
    if found.shadowed:
        return f"{found.other.id} comes first, trusts every token that this trusts, and gives all that this gives"
    return (
        f"{found.other.id} trusts every token that this trusts and leads to another target, so requests of theirs that"
        " name none are refused as ambiguous"
    )


def _nearby(policy: CompiledPolicy, index: PolicyIndex, everybody: Iterable[str]) -> Iterable[str]:
    """Ids of the policies that a token could match which this one trusts: whoever trusts all of them is among these."""
    claims: dict[str, Any] = {}
    paths = [rule.path for rule in policy.trust.rules if rule.keys is not None]
    if len(set(paths)) < len(paths):  # which of the values pass, nobody asked
        return everybody
    for rule in policy.trust.rules:
        if rule.keys:
            _put(claims, rule.path, next(iter(rule.keys)))
    found = index.candidates(policy.trust.source, sorted(policy.trust.audiences)[:1], claims)
    return [other.id for other in found]


def _put(claims: dict[str, Any], path: Path, value: object) -> None:
    for step in path[:-1]:
        inside = claims.setdefault(step, {})
        if type(inside) is not dict:  # two rules that no token passes
            return
        claims = inside
    claims.setdefault(path[-1], value)


def _of(policy: Policy, others: Sequence[Policy]) -> Iterator[Overlap]:
    wider = [other for other in others if implies(policy, other)]
    for other in wider:
        if _place(other) < _place(policy) and _gives_all(other.compiled, policy.compiled):
            yield Overlap(policy.compiled, other.compiled, shadowed=True)
    for other in wider:
        both_ways = _place(other) < _place(policy) or not implies(other, policy)  # of equals, the later one is told
        if both_ways and _is_ambiguous(policy.compiled, other.compiled):
            yield Overlap(policy.compiled, other.compiled, shadowed=False)


def _place(policy: Policy) -> tuple[str, str]:
    return policy.compiled.namespace, policy.compiled.name


def _gives_all(first: CompiledPolicy, second: CompiledPolicy) -> bool:
    """Whether the first answers whatever the second could; with one grant, it has no choice to be unsure about."""
    return len(first.grants) == 1 and all(_covers(first.grants[0], grant) for grant in second.grants)


def _covers(grant: CompiledGrant, other: CompiledGrant) -> bool:
    return (
        grant.kind is other.kind
        and grant.upstream == other.upstream
        and grant.targets >= other.targets
        and _covers_scopes(grant, other)
        and set(grant.tags) >= set(other.tags)
        and grant.claims == other.claims
        and _alike(grant, other)
    )


def _covers_scopes(grant: CompiledGrant, other: CompiledGrant) -> bool:
    if grant.kind is GrantKind.TAILSCALE:
        return scopes.covers_tailscale(grant.scopes, other.scopes)
    return set(grant.scopes) >= set(other.scopes)


def _is_ambiguous(first: CompiledPolicy, second: CompiledPolicy) -> bool:
    """Whether a request that names no target finds one grant in each, and the two lead to different targets."""
    if len(first.grants) != 1 or len(second.grants) != 1:
        return False
    one, other = first.grants[0], second.grants[0]
    return {one.kind, other.kind} <= _ALWAYS_ANSWERED and (one.kind, one.targets) != (other.kind, other.targets)


def _within(narrow: float | None, wide: float | None) -> bool:
    return wide is None or (narrow is not None and narrow <= wide)


def _rule_implies(rule: Rule, other: Rule) -> bool:
    if rule.path != other.path:
        return False
    if rule.keys is not None:
        return all(_takes(other, value) for value in rule.keys)
    return rule.expected == other.expected and _is_plain(rule) and _is_plain(other)


def _is_plain(rule: Rule) -> bool:
    """Whether what the rule expects says all of it: a rule of the general form, on one value and not on a list."""
    if not rule.field.startswith("spec.from.oidc."):
        return False
    if rule.expected.startswith("present: "):
        return True
    return all(rule.test(nested(rule.path, [value])) is Verdict.WRONG_TYPE for value in _OF_EVERY_TYPE)


def _takes(rule: Rule, value: object) -> bool:
    return rule.test(nested(rule.path, value)) is Verdict.MATCH


def _alike(first: _Compared, second: _Compared) -> bool:
    """Whether they agree in every member that was not thought of here."""
    unknown = (member.name for member in fields(first) if member.name not in _COMPARED[type(first)])
    return all(getattr(first, name) == getattr(second, name) for name in unknown)
