"""Holds a CEL expression to what can be evaluated in a bounded time, and reads off which claims it looks at.

Why: the evaluator cannot be interrupted. It bounds the steps of loops, not their cost: a list in a list takes seconds,
and `[x].map(y, y + y).map(y, y + y)…` all memory. So loops are few, do not stand within each other, and neither join
nor match; and a claim is always named, so that what cannot be carried over is known before it is asked for.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from tailseal.domain.policy.expressions import pattern_cost

MAX_LOOPS: Final = 2
MAX_IN_LOOPS: Final = 8
"""Comparisons and calls within loops."""
MAX_JOINS: Final = 8
"""Uses of `+`."""
MAX_MATCHES: Final = 2
MAX_MATCH_PATTERN: Final = 128
MAX_REPEAT: Final = 64
"""Largest count in a pattern's `{n,m}`."""

LOOPS: Final = frozenset({"all", "exists", "exists_one", "filter"})
FUNCTIONS: Final = LOOPS | {
    *("has", "size", "contains", "startsWith", "endsWith", "matches"),
    *("bool", "double", "dyn", "duration", "int", "string", "timestamp", "type", "uint"),
}
"""Everything that may be called. Left out: `map`, which multiplies; bytes; calendars, which need a table of zones."""

_TOKEN: Final = re.compile(
    r"""(?P<blank>[ \t\r\n\f]+)
    |(?P<text>[rR]'[^'\r\n]*'|[rR]"[^"\r\n]*"|'(?:\\.|[^'\\\r\n])*'|"(?:\\.|[^"\\\r\n])*")
    |(?P<number>[0-9][0-9A-Za-z]*(?:\.[0-9][0-9A-Za-z]*)?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>==|!=|<=|>=|&&|\|\||[-+*/%<>!?:.,()\[\]])""",
    re.VERBOSE,
)
_COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})
_PLAIN_TEXT: Final = re.compile(r"""[rR]?(['"])([^\\]*)\1""")
_ESCAPED: Final = re.compile(r"\\[xXuU0-7]")
_COUNTS: Final = re.compile(r"\{[^}]*?(\d+)\}")
_CLAIMS: Final = "claims"
_LIST: Final = "["
_CONSTANTS: Final = frozenset({"true", "false", "null"})


class ShapeError(ValueError):
    """The expression cannot be used; the message says what would be right."""


class Token(NamedTuple):
    """One word or sign of an expression.

    Args:
        kind: `text`, `number`, `name`, `sign` or `blank`.
        text: as written.
        at: place of its first character.
    """

    kind: str
    text: str
    at: int


def claims_of(expression: str) -> frozenset[str]:
    """Names of all claims that the expression looks at.

    Raises:
        ShapeError: it uses what is not bounded, or not named.
    """
    tokens = _tokens(expression)
    _check_cost(tokens)
    return frozenset(_claim(tokens, place) for place in range(len(tokens)) if _is_root(tokens, place))


def _tokens(expression: str) -> list[Token]:
    found: list[Token] = []
    place = 0
    while place < len(expression):
        match = _TOKEN.match(expression, place)
        if match is None:
            raise ShapeError(f"{expression[place]!r} at character {place + 1} has no place in an expression here")
        token = Token(str(match.lastgroup), match.group(), place)
        if token.kind == "text" and _touches(found, place):  # bytes, and texts over several lines
            raise ShapeError(f"character {place + 1}: write texts as 'text' or r'text'")
        if token.text == "." and (not found or found[-1].text == "in" or _is_open(found[-1])):
            raise ShapeError(f"character {place + 1}: a dot stands between a value and a name")
        if token.text == "/" and found and found[-1].text == "/":
            raise ShapeError(f"character {place + 1}: comments have no place here: write YAML comments")
        if token.kind != "blank":
            found.append(token)
        place = match.end()
    return found


def _touches(found: list[Token], place: int) -> bool:
    return bool(found) and found[-1].kind in {"text", "name"} and found[-1].at + len(found[-1].text) == place


def _is_open(token: Token) -> bool:
    """Whether what comes next begins a new value."""
    return token.kind == "sign" and token.text not in {")", "]"}


def _check_cost(tokens: list[Token]) -> None:
    opened: list[str] = []
    loops = joins = matches = inside = 0
    for place, token in enumerate(tokens):
        looping = not LOOPS.isdisjoint(opened)
        if token.text in {"(", "["} and token.kind == "sign":
            opened.append(_LIST if _is_list(tokens, place) else _called(tokens, place))
            continue
        if looping and _LIST in opened and token.kind == "name" and token.text not in _CONSTANTS:
            raise ShapeError("a list within a loop may take too long, but for one of texts and numbers")
        if token.text in {")", "]"} and token.kind == "sign":
            if not opened:
                raise ShapeError(f"character {token.at + 1}: nothing was opened that {token.text} could close")
            opened.pop()
            continue
        called = token.kind == "name" and _at(tokens, place + 1) == "("
        if called and token.text in LOOPS:
            loops += 1
            _refuse(looping, "a loop within a loop may take too long: use one of all, exists, exists_one, filter")
        if token.text == "matches" and called:
            matches += 1
            _refuse(looping, "matches within a loop may take too long: use startsWith, or a claim rule with regex")
            _check_pattern(tokens, place)
        if token.text == "+" and token.kind == "sign":
            joins += 1
            _refuse(looping, "+ within a loop may take too long")
        inside += looping and (called or (token.kind != "text" and token.text in _COMPARISONS))
    _limit(loops, MAX_LOOPS, "loops (all, exists, exists_one, filter)")
    _limit(matches, MAX_MATCHES, "uses of matches")
    _limit(joins, MAX_JOINS, "uses of +")
    _limit(inside, MAX_IN_LOOPS, "comparisons and calls within loops")


def _is_list(tokens: list[Token], place: int) -> bool:
    """Whether a list is written out here, and nothing looked up."""
    before = tokens[place - 1] if place else None
    looked_up = before is not None and (before.kind in {"name", "text"} or before.text in {")", "]"})
    return tokens[place].text == _LIST and (not looked_up or (before is not None and before.text == "in"))


def _called(tokens: list[Token], place: int) -> str:
    """The function whose arguments begin here; empty where it is no call."""
    before = tokens[place - 1] if place else None
    if tokens[place].text != "(" or before is None or before.kind != "name" or before.text == "in":
        return ""
    if before.text not in FUNCTIONS:
        raise ShapeError(f"{before.text}() is not available: there are {', '.join(sorted(FUNCTIONS))}")
    return before.text


def _check_pattern(tokens: list[Token], place: int) -> None:
    pattern = tokens[place + 2] if place + 2 < len(tokens) else None
    written = pattern is not None and pattern.kind == "text" and _at(tokens, place + 3) == ")"
    if pattern is None or not written or _at(tokens, place - 1) != ".":
        raise ShapeError("matches takes one pattern, written out as a text: claims.NAME.matches('PATTERN')")
    _limit(len(pattern.text) - 2, MAX_MATCH_PATTERN, "characters of a pattern")
    if pattern.text[0] not in "rR" and _ESCAPED.search(pattern.text.replace(r"\\", "")):
        raise ShapeError("what a pattern says must be seen: write it as r'PATTERN', without \\x, \\u and octal numbers")
    for count in _COUNTS.findall(pattern.text):
        _limit(int(count[:9]), MAX_REPEAT, "repetitions in a pattern")
    if pattern_cost.size(pattern.text) > pattern_cost.MAX_SIZE:
        raise ShapeError("the pattern may take too long: fewer or smaller counts, no \\p, no counts of counts")


def _is_root(tokens: list[Token], place: int) -> bool:
    return tokens[place].kind == "name" and tokens[place].text == _CLAIMS and _at(tokens, place - 1) != "."


def _claim(tokens: list[Token], place: int) -> str:
    """The claim that is looked at here."""
    after, named = _at(tokens, place + 1), tokens[place + 2] if place + 2 < len(tokens) else None
    if named is not None and after == "." and named.kind == "name" and _at(tokens, place + 3) != "(":
        return named.text
    if named is not None and after == "[" and _at(tokens, place + 3) == "]" and (text := _plain(named)) is not None:
        return text
    if _at(tokens, place - 1) == "in" and after not in {".", "["} and (text := _plain(tokens[place - 2])) is not None:
        return text
    raise ShapeError(f"character {tokens[place].at + 1}: name the claim: claims.NAME, claims['NAME'], 'NAME' in claims")


def _plain(token: Token) -> str | None:
    """What a text says, if that can be told without knowing its escapes."""
    match = _PLAIN_TEXT.fullmatch(token.text) if token.kind == "text" else None
    return match.group(2) if match else None


def _at(tokens: list[Token], place: int) -> str:
    """The sign or name at a place; empty where there is none, or a text."""
    if not 0 <= place < len(tokens) or tokens[place].kind == "text":
        return ""
    return tokens[place].text


def _refuse(wrong: bool, message: str) -> None:  # noqa: FBT001 - what is wrong
    if wrong:
        raise ShapeError(message)


def _limit(found: int, most: int, what: str) -> None:
    if found > most:
        raise ShapeError(f"{found} {what} are too many: at most {most}")
