"""What the form reader accepts, the standard library reads the same; what it refuses could be read in two ways."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tailseal.tokens import form


@pytest.mark.parametrize(
    "body",
    [
        b"a=1&a=2",
        b"a=1&%61=2",
        b"a=%",
        b"a=%4",
        b"a=%zz",
        b"%=1",
        b"a=%ff",
        b"a=\xc3\xa9",
        b"a=%2" + b"5" * 300 + b"%",
        b"&".join(b"a%d=1" % n for n in range(65)),
        b"&" * 64,
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(body: bytes) -> None:
    with pytest.raises(form.FormError):
        form.parse(body)


def test_repeatable_names_keep_every_value_in_order() -> None:
    assert form.parse(b"audience=b&x=1&audience=a+c&audience=", {"audience"}) == {"audience": ["b", "a c"], "x": ["1"]}


def test_a_parameter_without_value_is_absent() -> None:
    assert form.parse(b"a=&b&=c&a=1") == {"": ["c"], "a": ["1"]}


_texts = st.text("ab=&+%;é 0F\n", max_size=8)


@given(st.lists(st.tuples(_texts, _texts), max_size=6))
def test_encoded_forms_come_back_as_they_were(pairs: list[tuple[str, str]]) -> None:
    expected: dict[str, list[str]] = {}
    for name, value in pairs:
        if value:
            expected.setdefault(name, []).append(value)
    assert form.parse(urlencode(pairs).encode(), set(expected)) == expected


@given(st.one_of(st.binary(max_size=40), st.text("ab=&+%;0F1", max_size=40).map(str.encode)))
@example(b"a=1;b=2")
@example(b"a==1")
@example(b"a=%2B+")
@example(b"=1&=")
@example(b"\xff=1")
def test_what_is_accepted_the_standard_library_reads_the_same(body: bytes) -> None:
    try:
        found = form.parse(body)
    except form.FormError:
        return
    pairs = parse_qsl(body.decode(), errors="strict")
    assert {name: [value] for name, value in pairs} == found
    assert len(pairs) == len(found)
