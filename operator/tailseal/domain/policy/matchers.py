"""Rules on claims: typed and three-valued, so that "not there", "of another type" and "another value" stay apart.

A null counts as not there. Strings, integers, booleans and decimals are never converted into one another: `"1"`,
`1`, `1.0` and `true` are four different things. Numbers are compared exactly, never truncated or rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Literal

from tailseal.domain.policy.expressions import patterns


class Verdict(Enum):
    """What came of one rule and one token."""

    MATCH = "match"
    MISSING = "missing"
    WRONG_TYPE = "wrong type"
    MISMATCH = "mismatch"


Test = Callable[[Any], Verdict]
"""Of a value that is there (neither missing nor null)."""

ClaimsTest = Callable[[Mapping[str, Any]], Verdict]
"""Of all claims of a token."""

Path = tuple[str, ...]

REGEX: Final = 2
"""Cost of a regular expression; see `Rule`."""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One rule of a policy.

    Args:
        field: its place in the manifest, e.g. `spec.from.oidc.claims[2]`.
        path: the claim, or the path into nested objects.
        cost: 0 for equality, 1 for a pattern, 2 for a regular expression: cheap rules come first.
        expected: what it asks for, in the words of the manifest (for traces).
        keys: the claim's only values that can match, where they are known and the claim is no list: for the index.
        prefix: what every value that can match begins with, as far as that is known.
        test: the rule itself.
    """

    field: str
    path: Path
    cost: int
    expected: str
    keys: frozenset[str | int] | None
    prefix: str
    test: ClaimsTest


def exact(value: str) -> Test:
    """The same string, code point by code point."""

    def test(found: Any) -> Verdict:  # noqa: ANN401 - any JSON value
        if type(found) is not str:
            return Verdict.WRONG_TYPE
        return Verdict.MATCH if found == value else Verdict.MISMATCH

    return test


def exact_integer(value: int) -> Test:
    """The same integer; a number written with a fraction or exponent, a boolean or a string is another type."""

    def test(found: Any) -> Verdict:  # noqa: ANN401
        if type(found) is not int:
            return Verdict.WRONG_TYPE
        return Verdict.MATCH if found == value else Verdict.MISMATCH

    return test


def exact_boolean(value: bool) -> Test:  # noqa: FBT001 - the value that is asked for
    """The same boolean; GitLab's `"true"` is a string."""

    def test(found: Any) -> Verdict:  # noqa: ANN401
        if type(found) is not bool:
            return Verdict.WRONG_TYPE
        return Verdict.MATCH if found is value else Verdict.MISMATCH

    return test


def exact_decimal(value: Decimal) -> Test:
    """The same number in value (`1.50` is `1.5`).

    A binary float stands for the shortest decimal that denotes it, which is what its issuer wrote up to 15 digits.
    """

    def test(found: Any) -> Verdict:  # noqa: ANN401
        if type(found) not in {int, float, Decimal}:
            return Verdict.WRONG_TYPE
        number = Decimal(repr(found)) if type(found) is float else Decimal(found)
        if not number.is_finite():
            return Verdict.WRONG_TYPE
        return Verdict.MATCH if number == value else Verdict.MISMATCH

    return test


def one_of(values: Iterable[str]) -> Test:
    """One of the strings."""
    allowed = frozenset(values)

    def test(found: Any) -> Verdict:  # noqa: ANN401
        if type(found) is not str:
            return Verdict.WRONG_TYPE
        return Verdict.MATCH if found in allowed else Verdict.MISMATCH

    return test


def text(matches: patterns.Test) -> Test:
    """A string that a glob or a regular expression matches."""

    def test(found: Any) -> Verdict:  # noqa: ANN401
        if type(found) is not str:
            return Verdict.WRONG_TYPE
        return Verdict.MATCH if matches(found) else Verdict.MISMATCH

    return test


def elements(test: Test, quantifier: Literal["Any", "All"]) -> Test:
    """A list of which any, or all and at least one, of the elements match.

    With `All`, and where no element matches, an element of another type makes it `WRONG_TYPE`.
    """

    def test_list(found: Any) -> Verdict:  # noqa: ANN401
        if type(found) is not list:
            return Verdict.WRONG_TYPE
        verdicts = {test(element) for element in found}
        if quantifier == "Any" and Verdict.MATCH in verdicts:
            return Verdict.MATCH
        if Verdict.WRONG_TYPE in verdicts:
            return Verdict.WRONG_TYPE
        return Verdict.MATCH if verdicts == {Verdict.MATCH} else Verdict.MISMATCH

    return test_list


def claim(path: Path, test: Test, exactly: str | None = None) -> ClaimsTest:
    """The value at a path must be there and pass the test.

    Args:
        path: of the claim.
        test: of the value.
        exactly: a text that passes it, which is then not asked: what decisions meet most costs them the least.
    """
    if len(path) > 1:
        return _nested(path, test)
    name = path[0]
    if exactly is not None:

        def test_text(claims: Mapping[str, Any]) -> Verdict:
            found = claims.get(name)
            if type(found) is str and found == exactly:
                return Verdict.MATCH
            return Verdict.MISSING if found is None else test(found)

        return test_text

    def test_claim(claims: Mapping[str, Any]) -> Verdict:
        found = claims.get(name)
        return Verdict.MISSING if found is None else test(found)

    return test_claim


def presence(path: Path, *, wanted: bool) -> ClaimsTest:
    """The value at a path must be there, or must not be."""
    there = claim(path, lambda _: Verdict.MATCH)

    def test(claims: Mapping[str, Any]) -> Verdict:
        verdict = there(claims)
        if wanted or verdict is Verdict.WRONG_TYPE:
            return verdict
        return Verdict.MATCH if verdict is Verdict.MISSING else Verdict.MISMATCH

    return test


def _nested(path: Path, test: Test) -> ClaimsTest:
    def test_path(claims: Mapping[str, Any]) -> Verdict:
        found: Any = claims
        for step in path:
            if not isinstance(found, dict):
                return Verdict.WRONG_TYPE
            found = found.get(step)
            if found is None:
                return Verdict.MISSING
        return test(found)

    return test_path
