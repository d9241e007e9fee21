"""Globs against a slow and obvious oracle, and regular expressions where people go wrong with them."""

from __future__ import annotations

import functools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tailseal.domain.policy.expressions import patterns
from tailseal.domain.policy.expressions.patterns import PatternError

LETTERS = "ab/:@."
SUBJECTS = st.text(LETTERS, max_size=14)
PARTS = st.lists(st.sampled_from(["a", "b", "ab", "/", ":", "@", ".", "*", "**", "?"]), min_size=1, max_size=9)


def oracle(pattern: str, text: str) -> bool:
    """The glob by definition: try everything."""

    @functools.cache
    def match(here: int, there: int) -> bool:
        if here == len(pattern):
            return there == len(text)
        if pattern.startswith("**", here):
            return any(match(here + 2, end) for end in range(there, len(text) + 1))
        if pattern[here] == "*":
            if match(here + 1, there):
                return True
            return there < len(text) and text[there] not in "/:@" and match(here, there + 1)
        if there == len(text):
            return False
        same = text[there] not in "/:@" if pattern[here] == "?" else text[there] == pattern[here]
        return same and match(here + 1, there + 1)

    return match(0, 0)


def meant(parts: list[str]) -> str:
    """The parts as a pattern without three stars in a row."""
    pattern = "".join(parts)
    while "***" in pattern:
        pattern = pattern.replace("***", "**")
    return pattern


@settings(max_examples=1500)
@given(PARTS.map(meant), SUBJECTS)
@example("**a*b", "a/ab")
@example("*ab*ab", "aabab")
@example("a**b*a", "ab/ba")
@example("?*?", "a/")
def test_a_glob_matches_what_its_definition_says(pattern: str, text: str) -> None:
    if pattern.count("*") - pattern.count("**") > patterns.MAX_STARS:
        return
    assert patterns.glob(pattern)(text) == oracle(pattern, text)


@settings(max_examples=500)
@given(PARTS.map(meant), st.data())
def test_a_glob_matches_every_string_made_from_it(pattern: str, data: st.DataObject) -> None:
    runs = {"**": st.text(LETTERS, max_size=4), "*": st.text("ab.", max_size=4), "?": st.sampled_from("ab.")}
    text, rest = "", pattern
    while rest:
        wildcard = next((wild for wild in runs if rest.startswith(wild)), "")
        text += data.draw(runs[wildcard]) if wildcard else rest[0]
        rest = rest[len(wildcard) or 1 :]
    assert patterns.glob(pattern)(text)
    assert text.startswith(patterns.literal_prefix(pattern))


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("repo:o/r:ref:refs/heads/main", "repo:o/r:ref:refs/heads/main", True),
        ("repo:o/r:ref:refs/heads/*", "repo:o/r:ref:refs/heads/x", True),
        ("repo:o/r:ref:refs/heads/*", "repo:o/r:ref:refs/heads/x/y", False),
        ("repo:o/*:environment:prod", "repo:o/r:ref:x:environment:prod", False),
        ("repo:o/**", "repo:o/r:ref:refs/heads/x/y", True),
        ("repo:o/**", "repo:other/r", False),
        ("user@*.example", "user@a.example", True),
        ("*.example", "user@a.example", False),
        ("a.c", "abc", False),
        ("a", "A", False),
        ("a", "a\n", False),
        ("a*", "a\n", True),
        ("\u00e9", "e\u0301", False),
        ("*", "", True),
        ("?", "", False),
        ("[ab]", "a", False),
        ("(x|y)$", "(x|y)$", True),
    ],
)
def test_globs_mean_what_people_expect(pattern: str, text: str, *, expected: bool) -> None:
    assert patterns.glob(pattern)(text) is expected


@pytest.mark.parametrize("pattern", ["***", "a***b", "*a" * 9, "?" * 33, "a" * 257])
def test_a_glob_beyond_the_limits_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        patterns.glob(pattern)


@pytest.mark.parametrize("pattern", ["*a*a*a*a*a*a*ab", "**a**a**a**a**ab", "**a*a*a*a*b", "*a**a*a**ab", "*?*?*?*?b"])
def test_globs_that_ruin_backtracking_engines_end_at_once(pattern: str) -> None:
    assert not patterns.glob(pattern)("a" * patterns.MAX_SUBJECT)


@pytest.mark.parametrize("pattern", ["a**", "*a", "**a*a", "a?"])
def test_a_string_longer_than_the_limit_matches_no_pattern(pattern: str) -> None:
    assert not patterns.glob(pattern)("a" * (patterns.MAX_SUBJECT + 1))


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("a|b", "a", True),
        ("a|b", "ax", False),
        ("a|b", "xb", False),
        ("^a$|b", "xb", False),
        ("a$", "a\n", False),
        ("a.c", "a\nc", False),
        ("(a+)+$", "a" * 2000 + "b", False),
        (".*", "\ud800", False),
        ("(?i)a", "A", True),
        ("", "", True),
    ],
)
def test_a_regex_matches_the_whole_string(pattern: str, text: str, *, expected: bool) -> None:
    assert patterns.regex(pattern)(text) is expected


@pytest.mark.parametrize("pattern", ["(", r"(a)\1", "(?=a)", "a{1000}{1000}", "\ud800", "a" * 257])
def test_a_regex_that_is_not_linear_or_no_regex_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        patterns.regex(pattern)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [("*", "https://a/b:c@d", True), ("https://*", "https://a", True), ("https://*", "https://a/b", False)],
)
def test_a_lone_star_in_bounds_is_everything(pattern: str, text: str, *, expected: bool) -> None:
    assert patterns.allows(pattern)(text) is expected
