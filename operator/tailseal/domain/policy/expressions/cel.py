"""The Common Expression Language over a token's claims: compiled and type-checked once, evaluated in bounded time.

Three traps of the library are dealt with here and nowhere else: it gives an evaluation error back as a *text*, which
is true in an `if` and would do as a claim; it cuts texts off at a NUL; and it refuses all claims for the sake of a
single one that it cannot carry.
It is loaded only where an expression is compiled.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from tailseal.domain.policy.expressions.shape import ShapeError, claims_of

if TYPE_CHECKING:
    from cel_expr_python.cel import Activation, Env, Expression

MAX_TEXT: Final = 2048
"""Characters of a text in a claim, and of its names."""
MAX_VALUES: Final = 256
"""Values in one claim, lists and objects counted with what they hold."""
MAX_RESULT: Final = 512
"""Characters of a text that an expression gives."""
MAX_TEXTS: Final = 64
"""Texts in a list that an expression gives."""
MAX_TOGETHER: Final = 4096
"""Characters of all of these."""

Kind = Literal["condition", "text", "texts", "integer", "boolean"]
Result = bool | int | str | tuple[str, ...]
"""What expressions give: nothing that JSON, and everybody who reads it, has not just so."""

_STRANGE: Final = re.compile("[\x00\ud800-\udfff]")
_INT64: Final = range(-(2**63), 2**63)
_SAFE: Final = range(-(2**53) + 1, 2**53)  # what every reader of JSON keeps exact (RFC 8259 section 6)


class ExpressionError(ValueError):
    """The expression cannot be used; the message says what would be right."""


class EvaluationError(Exception):
    """The expression gives no answer for these claims. It says nothing of them: their values belong to no text."""


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression; two are equal if they are written the same and asked the same.

    Args:
        text: as its author wrote it.
        kind: `condition` and `boolean` give true or false, `text` a string, `texts` a list of them, `integer` a whole
            number.
        claims: names of the claims that it looks at.
    """

    text: str
    kind: Kind
    claims: frozenset[str]
    _expression: Expression = field(repr=False, compare=False)
    _type: Any = field(repr=False, compare=False)

    def evaluate(self, values: Values) -> Result:
        """What the expression gives, exactly of its kind.

        Raises:
            EvaluationError: it fails, gives another type or too much, or needs a claim that cannot be carried.
        """
        if not self.claims.isdisjoint(values.unfit):
            raise EvaluationError("a claim holds a value that expressions cannot be given")
        try:
            found = self._expression.eval(values.activation(_environment()))
            value = _read(found) if found.type() == self._type else None
        except Exception:  # noqa: BLE001 - the library's own texts may hold values
            value = None
        if value is None:
            raise EvaluationError("the expression fails, or does not give what is asked for")
        return value


class Values:
    """A token's claims as expressions see them, carried over once for all expressions of a request.

    Args:
        claims: the token's.
    """

    __slots__ = ("_activation", "_carried", "unfit")

    def __init__(self, claims: Mapping[str, Any]) -> None:
        self._carried: dict[str, Any] = {}
        self._activation: Activation | None = None
        unfit = []
        for name, value in claims.items():
            try:
                if value is not None:
                    self._carried[_text(name)] = _carried(value, [MAX_VALUES])
            except _Unfit:
                unfit.append(name)
        self.unfit = frozenset(unfit)
        """Claims with a value that would not arrive as it is: an expression that looks at one fails."""

    def activation(self, environment: Env) -> Activation:
        """What the library evaluates on."""
        if self._activation is None:
            self._activation = environment.Activation({"claims": self._carried})
        return self._activation


@functools.lru_cache(maxsize=4096)
def compiled(text: str, kind: Kind) -> Program:
    """The expression, checked against the types of everything it uses.

    Raises:
        ExpressionError: it is no expression, uses what is not there or not bounded, or gives another type; or the
            library cannot be loaded, so that nothing could be decided by it.
    """
    try:
        claims = claims_of(text)
        environment = _environment()
        expression = environment.compile(text)
    except ShapeError as error:
        raise ExpressionError(str(error)) from None
    except ImportError:
        raise ExpressionError("cannot be evaluated: the package cel-expr-python is not installed") from None
    except (RuntimeError, MemoryError) as error:
        raise ExpressionError(f"no valid expression: {_reason(str(error))}") from None
    from cel_expr_python import cel  # noqa: PLC0415 - see above

    wanted, allowed = _TYPES[kind]
    found = expression.return_type()
    if found.name() not in allowed:
        raise ExpressionError(f"gives {found.name()}, and must give {wanted}")
    return Program(text, kind, claims, expression, getattr(cel.Type, _GIVEN[kind]))


def _read(found: Any) -> Result | None:  # noqa: ANN401 - a value of the library, of a type that was compared
    """The value, if it is within bounds."""
    value = found.value()
    if type(value) is str:
        return value if len(value) <= MAX_RESULT else None
    if type(value) is int:
        return value if value in _SAFE else None
    return _texts(value) if type(value) is list else value if type(value) is bool else None


def _texts(items: list[Any]) -> tuple[str, ...] | None:
    """The items, if all are texts and none says too much: each is a value of the library with a type of its own."""
    if len(items) > MAX_TEXTS:
        return None
    texts = tuple(item.value() for item in items if item.type().name() == "STRING")
    short = all(len(text) <= MAX_RESULT for text in texts) and sum(map(len, texts)) <= MAX_TOGETHER
    return texts if short and len(texts) == len(items) else None


_TYPES: Final[Mapping[Kind, tuple[str, frozenset[str]]]] = {
    "condition": ("true or false: compare the claim, as in claims.NAME == true", frozenset({"BOOL"})),
    # A claim's type is known later.
    "text": ("a text: write string(...) around it", frozenset({"STRING", "DYN"})),
    "texts": ("a list of texts", frozenset({"LIST<STRING>", "LIST<DYN>", "DYN"})),
    "integer": ("a whole number: write int(...) around it", frozenset({"INT", "DYN"})),
    "boolean": ("true or false", frozenset({"BOOL", "DYN"})),
}
_GIVEN: Final[Mapping[Kind, str]] = {
    "condition": "BOOL",
    "text": "STRING",
    "texts": "LIST",
    "integer": "INT",
    "boolean": "BOOL",
}
"""The library's type of what an expression of the kind must give."""


@functools.cache
def _environment() -> Env:
    from cel_expr_python import cel  # noqa: PLC0415 - 6 MB that only expressions need

    return cel.NewEnv(variables={"claims": cel.Type.Map(cel.Type.STRING, cel.Type.DYN)})


def _reason(text: str) -> str:
    """The first thing that the library says, without its drawing of the place."""
    first = text.split("\n", 1)[0]
    return first.removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: <input>:").removesuffix(" (in container '')")


class _Unfit(Exception):  # noqa: N818 - control flow inside this module
    """The value would not arrive as it is."""


def _carried(value: Any, room: list[int]) -> Any:  # noqa: ANN401 - any JSON value
    """The value as it is; nulls in objects count as not there, as in every rule."""
    room[0] -= 1
    if room[0] < 0:
        raise _Unfit
    if value is None or type(value) is bool or type(value) is float:
        return value
    if type(value) is str:
        return _text(value)
    if type(value) is int and value in _INT64:
        return value
    if type(value) is list:
        return [_carried(item, room) for item in value]
    if type(value) is dict:
        return {_text(name): _carried(member, room) for name, member in value.items() if member is not None}
    raise _Unfit  # an integer beyond 64 bits, or a decimal that no double is equal to


def _text(value: str) -> str:
    """The text; one with a NUL would arrive cut off there, and half of a surrogate pair not at all."""
    if len(value) > MAX_TEXT or _STRANGE.search(value):
        raise _Unfit
    return value
