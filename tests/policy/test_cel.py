"""CEL in policies: what compiles, what it gives, and that neither errors nor loops get anybody anything."""

from __future__ import annotations

import subprocess
import sys
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from tailseal.domain.policy.expressions import cel
from tailseal.domain.policy.expressions.cel import EvaluationError, ExpressionError, Values

CLAIMS: dict[str, Any] = {
    "ref": "refs/heads/main",
    "run_attempt": "1",
    "n": 5,
    "f": 1.5,
    "yes": True,
    "no": False,
    "none": None,
    "groups": ["sre", "dev", 7, None],
    "o": {"p": {"q": "deep"}, "gone": None},
    "a-b/c": "odd",
    "largest": 2**63 - 1,
    "beyond": 2**63,
    "far": 10**60,
    "exact": Decimal("0.1000000000000000055511151231257827"),
    "surrogate": "\ud800",
    "nul": "main\x00evil",
    "long": "a" * 2049,
    "many": list(range(256)),
}


def ask(text: str, claims: dict[str, Any] | None = None, kind: cel.Kind = "condition") -> Any:  # noqa: ANN401
    """What comes of it: a value, or the error."""
    try:
        return cel.compiled(text, kind).evaluate(Values(CLAIMS if claims is None else claims))
    except EvaluationError as error:
        return error


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("claims.run_attempt == '1'", True),
        ("claims.run_attempt == 1", False),
        ("claims.ref.startsWith('refs/heads/') && claims.n > 4", True),
        ("claims.n == 5.0", True),
        ("claims.f == 1.5", True),
        ("claims.yes == true && claims.no == false", True),
        ("claims['a-b/c'] == 'odd'", True),
        ("'a-b/c' in claims", True),
        ("'sre' in claims.groups && !('ops' in claims.groups)", True),
        ("claims.groups.exists(g, g == 'dev')", True),
        ("claims.groups.all(g, g == 'dev')", False),
        ("claims.groups.filter(g, g != 'dev').size() == 3", True),
        ("claims.o.p.q == 'deep'", True),
        ("claims.ref.matches('heads/m.*')", True),
        ("claims.ref.matches(r'^refs/[a-z]+/\\w{4}$')", True),
        ("has(claims.ref) && !has(claims.missing)", True),
        ("claims.missing == 'x' || claims.n == 5", True),
        ("claims.largest == 9223372036854775807", True),
        ("type(claims.n) == int && type(claims.ref) == string", True),
        ("timestamp('2026-01-01T00:00:00Z') < timestamp('2027-01-01T00:00:00Z')", True),
        ("int(claims.run_attempt) < 3", True),
        ("claims.ref in ['refs/heads/main', 'refs/heads/next']", True),
        ("'claims.size()' != \"it's\"", True),
    ],
)
def test_a_condition_gives_true_or_false(text: str, *, value: bool) -> None:
    assert ask(text) is value


@pytest.mark.parametrize("name", ["has(claims.none)", "has(claims.o.gone)", "'none' in claims"])
def test_a_null_counts_as_not_there_as_in_every_rule(name: str) -> None:
    assert ask(name) is False


@pytest.mark.parametrize(
    "text",
    [
        "claims.missing == 'x'",
        "claims.missing != 'x'",
        "!(claims.missing == 'x')",
        "claims.o.missing.q == 'x'",
        "claims.none == null",
        "claims.n.startsWith('5')",
        "claims.n + 9223372036854775807 > 0",
        "1 / 0 == 1",
        "int(claims.ref) == 1",
        "claims.ref ? true : false",
        "claims.groups[9] == 'x'",
        "timestamp(claims.ref) < timestamp('2027-01-01T00:00:00Z')",
    ],
)
def test_an_error_of_evaluation_is_no_answer_neither_yes_nor_no(text: str) -> None:
    assert isinstance(ask(text), EvaluationError)


@pytest.mark.parametrize("name", ["beyond", "far", "exact", "surrogate", "nul", "long"])
def test_a_value_that_would_not_arrive_as_it_is_fails_whoever_looks_at_it_and_nobody_else(name: str) -> None:
    for text in (f"claims.{name} == 1", f"claims.{name} != 1", f"has(claims.{name})", f"'{name}' in claims"):
        assert isinstance(ask(text), EvaluationError)
        assert isinstance(ask(f"claims.n == 5 || {text}"), EvaluationError)
    assert ask("claims.n == 5") is True


def test_values_within_a_claim_are_counted_and_looked_at_as_well() -> None:
    nested = {"l": [[1] * 100, [2] * 100], "o": {"x": [{"y": 2**70}]}, "n": 1}
    assert ask("claims.l[0][0] == 1", nested) is True
    assert isinstance(ask("claims.o.x.size() == 1", nested), EvaluationError)
    assert isinstance(ask("claims.l.size() == 3", {"l": [[1] * 100] * 3}), EvaluationError)
    assert ask("claims.many.size() == 256 || true", {"n": 1}) is True


@pytest.mark.parametrize("kind", ["condition", "text"])
def test_an_error_carries_nothing_of_the_token(kind: cel.Kind) -> None:
    text = "int(claims.ref) == 1" if kind == "condition" else "string(int(claims.ref))"
    error = ask(text, {"ref": "found-in-the-token"}, kind)
    assert "found" not in f"{error!r} {error} {error.__cause__} {error.__context__}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clams.ref == 'x'", "undeclared reference to 'clams.ref'"),
        ("claims.ref.startWith('x')", "startWith() is not available"),
        ("claims.yes", "compare the claim, as in claims.NAME == true"),
        ("claims.n + 1", "must give true or false"),
        ("'true'", "gives STRING, and must give true or false"),
        ("1 == '1'", "no matching overload"),
        ("claims.ref ==", "Syntax error"),
        (" ", "Syntax error"),
        ("claims.size() == 1", "name the claim"),
        ("claims == claims", "name the claim"),
        ("claims[claims.ref] == 1", "name the claim"),
        (r"claims['\x72ef'] == 1", "name the claim"),
        ("claims.all(name, name != 'x')", "name the claim"),
        ("(claims).ref == 'x'", "name the claim"),
        (".claims.ref == 'x'", "a dot stands between"),
        ("1 in .claims.groups", "a dot stands between"),
        ("b'x' == b'x'", "write texts as"),
        ("'''x''' == 'x'", "write texts as"),
        ("true // 'x'", "comments have no place"),
        ("google.protobuf.Empty{} == 1", "has no place in an expression"),
        ("claims.`ref` == 'x'", "has no place in an expression"),
        ("claims.ref == 'x')", "nothing was opened"),
        ("claims.ref.matches(claims.n)", "written out as a text"),
        ("matches(claims.ref, 'x')", "written out as a text"),
        ("claims.ref.matches('x{65}')", "repetitions in a pattern are too many"),
        (r"claims.ref.matches('x\x7b65}')", "write it as r'PATTERN'"),
        (r"claims.ref.matches('x\\\x7b65}')", "write it as r'PATTERN'"),
        (r"claims.ref.matches('x\173' + '65}')", "written out as a text"),
        (r"claims.ref.matches('x\u007b65}')", "write it as r'PATTERN'"),
        (r"claims.ref.matches(r'\pL{64}')", "the pattern may take too long"),
        (r"claims.ref.matches('\\p{Greek}{64}')", "the pattern may take too long"),
        (r"claims.ref.matches(r'(\pL\pN\pM\pS\pP\pZ\pC){14}')", "the pattern may take too long"),
        ("claims.ref.matches('" + r"\\pL" * 20 + "')", "the pattern may take too long"),
        ("claims.ref.matches('" + "a{64}" * 25 + "')", "the pattern may take too long"),
        ("claims.ref.matches('" + ".{64}" * 20 + "')", "the pattern may take too long"),
        ("claims.ref.matches('((a{9}){9}){9}')", "the pattern may take too long"),
        ("claims.s.matches('((a?){30}){30}((a?){30}){30}((a?){30}){30}b')", "the pattern may take too long"),
        ("claims.groups.all(a, [claims.o] == [claims.o])", "a list within a loop"),
        ("claims.groups.all(a, [a, a] == [a, a])", "a list within a loop"),
        ("claims.groups.all(a, a in [claims.ref])", "a list within a loop"),
        ("[claims.groups].all(a, [[1], [a]] == [[1], [a]])", "a list within a loop"),
        ("claims.ref.matches('" + "x" * 129 + "')", "characters of a pattern are too many"),
        ("[claims.ref].map(y, y + y).size() == 1", "map() is not available"),
        ("claims.groups.exists(a, claims.groups.exists(b, a == b))", "a loop within a loop"),
        ("claims.groups.exists(a, a.matches('x'))", "matches within a loop"),
        ("claims.groups.exists(a, a + a == 'x')", "+ within a loop"),
        ("&&".join(["claims.groups.exists(a, true)"] * 3), "3 loops"),
        ("&&".join(["claims.ref.matches('x')"] * 3), "3 uses of matches"),
        ("+".join(["claims.n"] * 10) + " > 1", "9 uses of +"),
        ("claims.groups.exists(a, " + "||".join(["a == 'x'"] * 9) + ")", "9 comparisons and calls within loops"),
        ("(" * 100 + "true" + ")" * 100, "recursion"),
    ],
)
def test_what_cannot_be_decided_by_does_not_compile_and_says_why(text: str, says: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        cel.compiled(text, "condition")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("claims.ref", "refs/heads/main"), ("'n-' + string(claims.n)", "n-5"), ("claims.yes == true ? 'a' : 'b'", "a")],
)
def test_a_template_gives_a_text(text: str, value: str) -> None:
    assert ask(text, kind="text") == value


@pytest.mark.parametrize(
    "text", ["claims.missing", "claims.n", "claims.yes", "claims.groups", "claims.o", "claims.groups[3]", "claims.wide"]
)
def test_a_template_that_gives_no_text_or_too_long_a_one_or_an_error_gives_nothing(text: str) -> None:
    assert isinstance(ask(text, CLAIMS | {"wide": "x" * 513}, "text"), EvaluationError)


def test_a_template_must_be_able_to_give_a_text() -> None:
    with pytest.raises(ExpressionError, match="must give a text"):
        cel.compiled("claims.n == 5", "text")


@pytest.mark.parametrize(
    "text",
    [
        "claims.groups.exists(a, a in ['x', 'y'] || a == [1, true, null][0])",
        "claims.groups.exists(a, claims['groups'][0] == a)",
        "[claims.ref, 'x'] == ['x', claims.ref] || 'x' in [claims.ref]",
        r"claims.ref.matches(r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}')",
        r"claims.ref.matches('^refs/tags/v[0-9]{1,4}\\.[0-9]{1,4}(-rc[0-9]{1,2})?$')",
        r"claims.ref.matches(r'[^/]{1,64}/[^/]{1,64}')",
        r"claims.ref.matches(r'\pL+')",
        "claims.ref.matches('x{64}')",
    ],
)
def test_what_people_write_is_not_too_dear(text: str) -> None:
    assert cel.compiled(text, "condition")


BOMBS = [
    "claims.many.exists(x, " + " || ".join(["9999 in claims.many"] * 8) + ")",
    "claims.many.exists(x, " + " || ".join(["claims.many != claims.many"] * 8) + ")",
    "claims.many.exists(x, claims.s.contains('aaaaaaaaaaaaaaaaaaaaaaab'))",
    "claims.s.matches('(a+)+$') && claims.s.matches('(a?){30}(a|b|c|d)*b')",
    "claims.s.matches('a{64}a{64}a{64}a{64}a{64}a{64}b') || claims.s.matches('.{64}.{64}b')",
    r"claims.s.matches(r'\pL{7}') && claims.s.matches(r'\PL{6}.*b')",
    "[" + ",".join(["claims.many"] * 100) + "].all(a, " + " && ".join(["a == claims.many"] * 8) + ") && claims.s == ''",
    "+".join(["claims.s"] * 9) + " == 'x'",
    "+".join(["claims.many"] * 9) + " == [1]",
]


@pytest.mark.parametrize("text", BOMBS, ids=lambda text: text[:30])
def test_the_dearest_expressions_that_compile_end_within_a_tenth_of_a_second_of_work(text: str) -> None:
    program = cel.compiled(text, "condition")
    values = Values({"many": list(range(255)), "s": "a" * 2048})
    started = time.thread_time()
    assert program.evaluate(values) is False or "matches" in text
    assert time.thread_time() - started < 2.0  # measured: 0.02; of CPU, not of the wall's clock


@hypothesis(max_examples=400, deadline=None)
@given(st.text(alphabet="claims.ref[]()'\"r\\/+ =<&|!?:,0123456789nxmatchesexistsin{}`\n", max_size=60))
def test_no_text_makes_the_compiler_fail_in_another_way(text: str) -> None:
    try:
        cel.compiled(text, "condition")
    except ExpressionError:
        return
    assert isinstance(ask(text), bool | EvaluationError)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@hypothesis(max_examples=300, deadline=None)
@given(JSON)
def test_what_arrives_is_equal_to_what_was_sent_or_nothing_is_decided_by_it(value: Any) -> None:  # noqa: ANN401
    """Sent twice and compared by the evaluator, and compared with the literal for whole numbers."""
    same = ask("claims.a == claims.b", {"a": value, "b": value})
    assert same is True or isinstance(same, EvaluationError)
    if type(value) is int and -(2**63) < value < 2**63:
        assert ask(f"claims.a == {value}", {"a": value}) is True
        assert ask(f"claims.a == {value - 1}", {"a": value}) is (value == -(2**63))


@hypothesis(max_examples=300, deadline=None)
@given(st.text(max_size=20))
def test_a_text_comes_through_letter_by_letter_or_not_at_all(text: str) -> None:
    through = ask("claims.a", {"a": text}, "text")
    assert through == text or isinstance(through, EvaluationError)
    assert isinstance(ask("claims.o.size() == 1", {"o": {text: 1}}), EvaluationError) is isinstance(
        through, EvaluationError
    )


def test_nothing_is_loaded_until_an_expression_is_compiled() -> None:
    code = (
        "import sys, tailseal.workers.sts, tailseal.domain.policy.compile;"
        "from tailseal.domain.policy.expressions import cel; assert 'cel_expr_python' not in sys.modules;"
        "cel.compiled('true', 'condition'); assert 'cel_expr_python' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_package_nothing_compiles_and_the_finding_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cel._environment.cache_clear()
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    with pytest.raises(ExpressionError, match="cel-expr-python is not installed"):
        cel.compiled("claims.never_compiled_before == 'x'", "condition")
