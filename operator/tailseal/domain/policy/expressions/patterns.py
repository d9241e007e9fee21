"""Compiles globs and regular expressions to tests that match a whole string in linear time, whoever wrote them.

Glob: `*` is any run of characters without `/`, `:` and `@`, `?` is one such character, `**` is any run at all;
everything else is itself. Code points are compared as they are: no case folding, no normalisation, no special
treatment of line ends.

Why three forms of a glob: equality and prefix cost a tenth of a regular expression; the others become a regular
expression in which each star is an atomic group that ends at the first occurrence of the literal after it. That is
exact where all stars before the first `**` are `*`, and where only literals stand after it: an earlier occurrence
then leaves at least what a later one would. Where a `*` follows a `**` it is not, and such globs go to RE2.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Final

import re2

from tailseal.domain.policy.expressions import pattern_cost

Test = Callable[[str], bool]

MAX_PATTERN: Final = 256
"""Longest pattern in characters."""

MAX_STARS: Final = 8
"""Most stars (`*` and `**` alike) in a glob."""

MAX_SINGLES: Final = 32
"""Most `?` in a glob."""

MAX_SUBJECT: Final = 2048
"""Longest string in characters that a pattern is held against; a longer one never matches."""

_STARS: Final = re.compile(r"(\*+)")
_WILDCARD: Final = re.compile(r"[*?]")
_PART: Final = "[^/:@]"
_RE2_MEMORY: Final = 1 << 20


class PatternError(ValueError):
    """The pattern cannot be used; the message says what would be right."""


def glob(pattern: str) -> Test:
    """A test whether a whole string is one that the glob denotes.

    Raises:
        PatternError: too long, too many stars, or three stars in a row.
    """
    _limit_length(pattern)
    parts = [part for part in _STARS.split(pattern) if part]
    stars = [part for part in parts if _is_star(part)]
    if any(len(star) > len("**") for star in stars):
        raise PatternError("three stars in a row mean nothing: write * (stops at / : @) or ** (does not)")
    if len(stars) > MAX_STARS:
        raise PatternError(f"{len(stars)} stars are too many: at most {MAX_STARS}, or write a regex")
    if pattern.count("?") > MAX_SINGLES:
        raise PatternError(f"{pattern.count('?')} question marks are too many: at most {MAX_SINGLES}")
    if literal_prefix(pattern) == pattern:
        return pattern.__eq__
    if parts[1:] == ["**"] and "?" not in pattern:
        return _prefix(parts[0])
    after = stars[stars.index("**") :] if "**" in stars else []
    return _linear("".join(map(_to_re2, parts))) if "*" in after else _atomic(parts)


def regex(pattern: str) -> Test:
    """A test whether a whole string matches the regular expression (RE2 syntax; anchored at both ends).

    Raises:
        PatternError: too long, or not RE2 syntax (which has no look-around and no back-references).
    """
    _limit_length(pattern)
    if pattern_cost.size(pattern) > pattern_cost.MAX_SIZE:
        raise PatternError("may take too long: fewer or smaller counts, no \\p with a count, no counts of counts")
    return _linear(pattern)


def literal_prefix(pattern: str) -> str:
    """What every string begins with that the glob denotes."""
    return _WILDCARD.split(pattern, maxsplit=1)[0]


@functools.lru_cache(maxsize=4096)
def allows(pattern: str) -> Test:
    """A test for a pattern of an IdentityProvider's bounds: a glob, where a lone `*` is everything.

    Raises:
        PatternError: as `glob`.
    """
    return glob("**" if pattern == "*" else pattern)


def _limit_length(pattern: str) -> None:
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"{len(pattern)} characters are too many: at most {MAX_PATTERN}")


def _is_star(part: str) -> bool:
    return part.startswith("*")


def _prefix(prefix: str) -> Test:
    return lambda text: len(text) <= MAX_SUBJECT and text.startswith(prefix)


def _atomic(parts: list[str]) -> Test:
    """Each star but the last takes the shortest run up to the literal after it, and never looks back."""
    last = max((position for position, part in enumerate(parts) if _is_star(part)), default=-1)
    expression = []
    for position, part in enumerate(parts):
        if not _is_star(part):
            expression.append("" if 0 < position < last else _literal(part, re.escape))
            continue
        run = "." if part == "**" else _PART
        group = f"(?>{run}*?{_literal(parts[position + 1], re.escape)})" if position < last else f"{run}*"
        expression.append(group)
    return _lazily("".join(expression))


def _lazily(expression: str) -> Test:
    """A test that compiles when it is first asked: of a hundred thousand policies few ever are."""
    match: Callable[[str], object] | None = None

    def test(text: str) -> bool:
        nonlocal match
        if match is None:
            match = re.compile(expression, re.DOTALL).fullmatch
        return len(text) <= MAX_SUBJECT and match(text) is not None

    return test


def _to_re2(part: str) -> str:
    if _is_star(part):
        return "(?s:.*)" if part == "**" else f"{_PART}*"
    return _literal(part, re2.escape)


def _literal(text: str, escape: Callable[[str], str]) -> str:
    return _PART.join(map(escape, text.split("?")))


def _linear(pattern: str) -> Test:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _RE2_MEMORY
    try:
        match = re2.compile(pattern, options=options).fullmatch
    except UnicodeError as error:
        raise PatternError("half of a surrogate pair is no character") from error
    except re2.error as error:
        raise PatternError(f"not a regular expression of RE2: {_reason(error)}") from error

    def test(text: str) -> bool:
        try:
            return len(text) <= MAX_SUBJECT and match(text) is not None
        except UnicodeError:  # a lone surrogate: no text that any pattern could mean
            return False

    return test


def _reason(error: Exception) -> str:
    text = error.args[0] if error.args else "unreadable"
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)
