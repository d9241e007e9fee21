"""Collects the rules of one typed block: what the blocks of all providers say in the same way."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from tailseal.api.base import to_alias
from tailseal.api.findings import Finding
from tailseal.api.trustpolicy import GitHub, GitLab, Terraform
from tailseal.domain.policy import matchers
from tailseal.domain.policy.expressions import patterns
from tailseal.domain.policy.general import General
from tailseal.domain.policy.matchers import ClaimsTest, Path, Rule, Verdict

Read = Callable[[Mapping[str, Any]], Any]
"""Finds a value in the claims; None: it is not there."""

_BOOLEANS: Final = {True: "true", False: "false"}


class Either(NamedTuple):
    """Patterns of one member of a block, of which any may match.

    Args:
        member: attribute name.
        patterns: globs, or a single one where the member is no list.
        prefix: what stands before each of them in the claim, character by character.
    """

    member: str
    patterns: Sequence[str] | None
    prefix: str = ""

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Each pattern with its place below the block."""
        name = to_alias(self.member)
        if isinstance(self.patterns, str):
            return ((name, self.patterns),)
        return tuple((f"{name}[{position}]", pattern) for position, pattern in enumerate(self.patterns or ()))


class Block:
    """Rules and findings of a block, in the order in which they are added. What is None or empty adds none.

    Args:
        origin: the place of the block in the manifest, e.g. `spec.from.github`.
    """

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self._rules: list[Rule] = []
        self._findings: list[Finding] = []

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What was added."""
        return tuple(self._rules)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with it."""
        return tuple(self._findings)

    def hosted(self, block: GitHub | GitLab | Terraform, issuer: str) -> General:
        """The general form of a provider that people may host themselves: then they name issuer, keys and authority.

        Args:
            block: from the manifest.
            issuer: of the provider's public service.
        """
        return General(
            origin=self.origin,
            issuer=block.issuer or issuer,
            rules=self.rules,
            keys=block.keys,
            ca_bundle=block.ca_bundle or "",
            audiences=block.audiences,
            findings=self.findings,
        )

    def equal(self, member: str, claim: str, value: str | None) -> None:
        """The claim is that very string."""
        if value is not None:
            self.among(member, (claim,), (value,))

    def boolean(self, member: str, claim: str, value: bool | None) -> None:  # noqa: FBT001 - the value asked for
        """The claim is the word `true` or `false`: a JSON true is another type, which these issuers never send."""
        if value is not None:
            self.among(member, (claim,), (_BOOLEANS[value],))

    def among(self, member: str, path: Path, values: Sequence[str]) -> None:
        """The value at the path is one of these strings."""
        if values:
            self._rules.append(_among(_field(self.origin, member), path, tuple(values)))

    def present(self, member: str, path: Path) -> None:
        """There is a value at the path."""
        self.add(member, path, matchers.presence(path, wanted=True), "present: true")

    def like(self, path: Path, *either: Either, read: Read | None = None) -> None:
        """The value matches any of the globs.

        Args:
            path: of the claim.
            either: by member of the block; the first one with any pattern is the rule's place in a trace.
            read: finds the value where it is not simply what stands at the path.
        """
        given = [entry for entry in either if entry.patterns]
        if not given:
            return
        globs = [entry.prefix + pattern for entry in given for _, pattern in entry.places]
        tests = [test for entry in given for _, _, test in self._compiled(entry)]
        if read is None and all(_is_literal(glob) for glob in globs):
            self.among(given[0].member, path, globs)
            return
        test = matchers.text(lambda text: any(matches(text) for matches in tests))
        self.add(
            given[0].member,
            path,
            matchers.claim(path, test) if read is None else reading(read, test),
            ", ".join(globs),
            cost=1,
            prefix=patterns.literal_prefix(globs[0]) if len(globs) == 1 and read is None else "",
        )

    def any_like(self, path: Path, either: Either) -> None:
        """An element of the list at the path matches any of the globs."""
        if either.patterns:
            tests = [test for _, _, test in self._compiled(either)]
            test = matchers.text(lambda text: any(matches(text) for matches in tests))
            expected = ", ".join(either.prefix + pattern for _, pattern in either.places)
            self.add(either.member, path, matchers.claim(path, matchers.elements(test, "Any")), expected, cost=1)

    def started_by(self, member: str, claim: str, allowed: Sequence[str], strange: frozenset[str]) -> None:
        """The event that started the job is allowed; one that strangers can bring about, only by its very name.

        Args:
            member: attribute name.
            claim: that tells the event.
            allowed: globs; empty: any event.
            strange: events that people without a right to the repository can bring about; those that go on with `_`
                after such a name are meant as well.
        """
        self._rules.append(_started_by(_field(self.origin, member), (claim,), tuple(allowed), strange))
        for place, pattern, test in self._compiled(Either(member, allowed)):
            meant = "" if _is_literal(pattern) else ", ".join(sorted(filter(test, strange)))
            if meant:
                message = f"also means {meant}, which strangers can bring about: name each event, without * and ?"
                self._findings.append(Finding(f"{self.origin}.{place}", message))

    def add(
        self,
        member: str,
        path: Path,
        test: ClaimsTest,
        expected: str,
        *,
        cost: int = 0,
        keys: frozenset[str] | None = None,
        prefix: str = "",
    ) -> None:
        """A rule of any kind; the arguments are those of `Rule`, with the member's attribute name as its place."""
        known: frozenset[str | int] | None = None if keys is None else frozenset(keys)
        self._rules.append(Rule(_field(self.origin, member), path, cost, expected, known, prefix, test))

    def _compiled(self, either: Either) -> Iterator[tuple[str, str, patterns.Test]]:
        """Place, pattern and test of each; what is no pattern is a finding and matches nothing."""
        for place, pattern in either.places:
            try:
                yield place, pattern, patterns.glob(either.prefix + pattern)
            except patterns.PatternError as error:
                self._findings.append(Finding(f"{self.origin}.{place}", str(error)))
                yield place, pattern, _nothing


def reading(read: Read, test: matchers.Test) -> ClaimsTest:
    """A test of a value that is found in more than one claim."""

    def test_read(claims: Mapping[str, Any]) -> Verdict:
        found = read(claims)
        return Verdict.MISSING if found is None else test(found)

    return test_read


@functools.cache
def _field(origin: str, member: str) -> str:
    return f"{origin}.{to_alias(member)}"


# Thousands of policies name the same owner, the same branch and no event: they share the rules that say so.


@functools.lru_cache(maxsize=4096)
def _among(field: str, path: Path, values: tuple[str, ...]) -> Rule:
    only = values[0] if len(values) == 1 else None
    test = matchers.one_of(values) if only is None else matchers.exact(only)
    return Rule(field, path, 0, ", ".join(values), frozenset(values), "", matchers.claim(path, test, only))


@functools.lru_cache(maxsize=1024)
def _started_by(field: str, path: Path, allowed: tuple[str, ...], strange: frozenset[str]) -> Rule:
    named: frozenset[str | int] = frozenset(pattern for pattern in allowed if _is_literal(pattern))
    tests = [_glob(pattern) for pattern in allowed if pattern not in named] if allowed else [_anything]

    def test(event: str) -> bool:
        return event in named or (any(matches(event) for matches in tests) and not _is_of(event, strange))

    expected = ", ".join(allowed) or "none that strangers can bring about"
    keys = None if tests else named
    return Rule(field, path, 0, expected, keys, "", matchers.claim(path, matchers.text(test)))


def _glob(pattern: str) -> patterns.Test:
    try:
        return patterns.glob(pattern)
    except patterns.PatternError:  # a finding says so, and the policy never grants
        return _nothing


def _anything(_: str) -> bool:
    return True


def _nothing(_: str) -> bool:
    return False


def _is_literal(pattern: str) -> bool:
    return patterns.literal_prefix(pattern) == pattern


def _is_of(event: str, family: frozenset[str]) -> bool:
    return event in family or any(event.startswith(f"{name}_") for name in family)
