"""Finds the few policies that can match a token, however many there are: by key source, audience and an exact claim.

Within a bucket (one key source, one audience) each policy stands under the values of one of its exact rules: the
one that the fewest policies of the bucket share. A policy without any exact rule is looked at every time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.matchers import Path, Rule
from tailseal.domain.policy.source import TAILNET, KeySource, well_known
from tailseal.domain.policy.trust import Claims

MOST_SOURCES: Final = 8
"""Key sources of its own that one namespace brings for one issuer to callers who name no policy: a token is verified
with each of them, so that without an end to their number one tenant could make everybody wait.
"""

_Ranked = tuple[int, CompiledPolicy]
"""A policy with its place in the order by namespace and name; places are unique, so policies are never compared."""


@dataclass(slots=True)
class _Bucket:
    """The policies of one key source and audience, by claim name, rest of the path, and value."""

    by_claim: dict[str, list[tuple[Path, dict[str | int, list[_Ranked]]]]] = field(default_factory=dict)
    rest: list[_Ranked] = field(default_factory=list)

    def find(self, claims: Claims, found: dict[int, CompiledPolicy]) -> None:
        """Add all policies that these claims can match, and few others."""
        found.update(self.rest)
        by_claim = self.by_claim
        for name in by_claim if len(by_claim) < len(claims) else claims:
            for path, by_value in by_claim.get(name, ()):
                value = claims.get(name)
                if path:
                    value = _follow(value, path)
                if type(value) is str or type(value) is int:
                    found.update(by_value.get(value, ()))


class PolicyIndex:
    """A set of compiled policies, immutable once built.

    Args:
        policies: in any order; ids are unique.
    """

    __slots__ = ("_acting", "_actors", "_buckets", "_considered", "_policies", "_sources")

    def __init__(self, policies: Iterable[CompiledPolicy] = ()) -> None:
        ordered = sorted(policies, key=lambda policy: (policy.namespace, policy.name))
        self._policies = {policy.id: policy for policy in ordered}
        self._sources = _sources(policy.trust.source for policy in ordered)
        self._actors = _sources(actor.source for policy in ordered for actor in policy.actors)
        self._considered = _uncrowded(self._sources, ordered, lambda policy: (policy.trust.source,))
        self._acting = _uncrowded(self._actors, ordered, _acting)
        grouped: dict[KeySource, dict[str, list[_Ranked]]] = defaultdict(lambda: defaultdict(list))
        for ranked in enumerate(ordered):
            for audience in ranked[1].trust.audiences:
                grouped[ranked[1].trust.source][audience].append(ranked)
        self._buckets = {
            source: {audience: _bucket(members) for audience, members in by_audience.items()}
            for source, by_audience in grouped.items()
        }

    def __len__(self) -> int:
        return len(self._policies)

    def issuers(self, issuer: str) -> tuple[KeySource, ...]:
        """The key sources that policies name for the issuer, its own first.

        None at all: nobody trusts the issuer, so nothing is to be fetched.
        """
        return self._sources.get(issuer, ())

    def actors(self, issuer: str) -> tuple[KeySource, ...]:
        """The same for actor tokens."""
        return self._actors.get(issuer, ())

    def considered(self, issuer: str, policy: str | None) -> tuple[KeySource, ...]:
        """The key sources that a token of the issuer is held against; of a policy that its bearer names, only its own.

        Args:
            issuer: of the token.
            policy: id of the policy that is named; None, or one that is not there or not about the issuer: nothing is.
        """
        named = self._policies.get(policy) if policy is not None else None
        if named is not None and named.trust.source.issuer == issuer and named.trust.source.kind != TAILNET.kind:
            return (named.trust.source,)
        return self._considered.get(issuer, ())

    def acting(self, issuer: str, policy: str | None) -> tuple[KeySource, ...]:
        """The same for actor tokens; those of a policy that is named come first."""
        named, others = self._policies.get(policy) if policy is not None else None, self._acting.get(issuer, ())
        if named is None:
            return others
        return tuple(dict.fromkeys([*(source for source in _acting(named) if source.issuer == issuer), *others]))

    def get(self, policy: str) -> CompiledPolicy | None:
        """The policy with that id (`<namespace>/<name>`)."""
        return self._policies.get(policy)

    def all(self, source: KeySource) -> Sequence[CompiledPolicy]:
        """All policies of a key source by namespace and name, for traces."""
        return [policy for policy in self._policies.values() if policy.trust.source == source]

    def trusts(self, source: KeySource, audiences: Iterable[str]) -> bool:
        """Whether any policy of the source accepts any of these audiences."""
        buckets = self._buckets.get(source, {})
        return any(audience in buckets for audience in audiences)

    def candidates(self, source: KeySource, audiences: Iterable[str], claims: Claims) -> Sequence[CompiledPolicy]:
        """The policies that may match, by namespace and name; every one that does match is among them.

        Args:
            source: whose keys verified the token.
            audiences: the token's, without duplicates or with.
            claims: the token's.
        """
        buckets = self._buckets.get(source)
        if buckets is None:
            return ()
        found: dict[int, CompiledPolicy] = {}
        for audience in audiences:
            bucket = buckets.get(audience)
            if bucket is not None:
                bucket.find(claims, found)
        return [found[place] for place in sorted(found)] if len(found) > 1 else tuple(found.values())


def _sources(named: Iterable[KeySource]) -> dict[str, tuple[KeySource, ...]]:
    """Sources by issuer; of those that differ only in the expiry of their keys, one with the latest."""
    sources: dict[KeySource, KeySource] = {}
    for source in named:
        if source.kind == TAILNET.kind:  # no token is ever held against its policies
            continue
        known = sources.setdefault(source, source)
        if known.expires_at is not None:
            limit = source.expires_at
            sources[known] = replace(known, expires_at=None if limit is None else max(limit, known.expires_at))
    by_issuer: dict[str, list[KeySource]] = defaultdict(list)
    for source in sources.values():
        by_issuer[source.issuer].append(source)
    return {issuer: tuple(sorted(members, key=_is_special)) for issuer, members in by_issuer.items()}


def _acting(policy: CompiledPolicy) -> tuple[KeySource, ...]:
    return tuple(actor.source for actor in policy.actors)


def _uncrowded(
    sources: dict[str, tuple[KeySource, ...]],
    ordered: Iterable[CompiledPolicy],
    of: Callable[[CompiledPolicy], Iterable[KeySource]],
) -> dict[str, tuple[KeySource, ...]]:
    """The sources by issuer, without those that are only beyond what a namespace may bring."""
    if all(len(members) <= MOST_SOURCES for members in sources.values()):
        return sources
    kept: set[KeySource] = set()
    brought: Counter[tuple[str, str]] = Counter()
    for policy in ordered:
        for source in of(policy):
            place = (policy.namespace, source.issuer)
            if source not in kept and (brought[place] < MOST_SOURCES or not _is_special(source)):
                kept.add(source)
                brought[place] += _is_special(source)
    return {issuer: tuple(source for source in members if source in kept) for issuer, members in sources.items()}


def _is_special(source: KeySource) -> bool:
    """Whether the keys come from elsewhere than the issuer itself: asked after it, so that no tenant's slow others."""
    return source.kind != "discovery" or source.location != well_known(source.issuer) or bool(source.ca_digest)


def _bucket(members: Sequence[_Ranked]) -> _Bucket:
    rules = (rule for _, policy in members for rule in policy.trust.rules)
    shared = Counter((rule.path, value) for rule in rules for value in rule.keys or ())
    bucket = _Bucket()
    tables: dict[Path, dict[str | int, list[_Ranked]]] = {}
    for ranked in members:
        rule = _most_selective(ranked[1], shared)
        if rule is None or rule.keys is None:
            bucket.rest.append(ranked)
            continue
        if rule.path not in tables:
            tables[rule.path] = {}
            bucket.by_claim.setdefault(rule.path[0], []).append((rule.path[1:], tables[rule.path]))
        for value in rule.keys:
            tables[rule.path].setdefault(value, []).append(ranked)
    return bucket


def _most_selective(policy: CompiledPolicy, shared: Counter[tuple[Path, str | int]]) -> Rule | None:
    """The exact rule whose commonest value the fewest policies share; top-level claims before nested ones."""
    exact = [rule for rule in policy.trust.rules if rule.keys is not None]
    return min(
        exact,
        key=lambda rule: (max((shared[rule.path, value] for value in rule.keys or ()), default=0), len(rule.path)),
        default=None,
    )


def _follow(value: Any, path: Path) -> Any:  # noqa: ANN401 - any JSON value
    for step in path:
        if type(value) is not dict:
            return None
        value = value.get(step)
    return value
