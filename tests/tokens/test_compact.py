"""The strict reader refuses what means two things, and reads the rest as everybody else does."""

# ruff: noqa: FBT001 - keys, claims and cases are of many types
from __future__ import annotations

import base64
import binascii
import contextlib
import json
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fakes.exchange import segment
from tailseal.tokens import compact
from tailseal.tokens.errors import Fault, TokenError

HEADER = {"alg": "RS256", "kid": "f1"}


def made(header: object = HEADER, payload: object = b"{}", signature: bytes = b"s") -> bytes:
    return b".".join((segment(header), segment(payload), segment(signature)))


def fault(token: bytes | str) -> Fault:
    with pytest.raises(TokenError) as caught:
        compact.split(token)
    return caught.value.reason


def test_a_token_is_taken_apart() -> None:
    found = compact.split(made(payload={"iss": "x"}))
    assert found.header == HEADER
    assert found.payload == {"iss": "x"}
    assert (found.alg, found.kid, found.signature) == ("RS256", "f1", b"s")
    assert found.signing_input == segment(HEADER) + b"." + segment({"iss": "x"})


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"..",
        b"a.b",
        b"a.b.c.d.e",
        made() + b".",
        made() + b"\n",
        b" " + made(),
        made().replace(b".", b"=.", 1),
        made(header=b"[]"),
        made(header=b"null"),
        made(header=b"{"),
        made(payload=b"[]"),
        made(payload=b"7"),
        made(payload=b'{"a":NaN}'),
        made(payload=b'{"a":Infinity}'),
        made(payload=b'{"a":1e999}'),
        made(payload=b'{"a":"\xff"}'),
        made(payload=b'{"a":"\\ud800"}'),
        made(payload=b"{}{}"),
        made(payload=b"\xef\xbb\xbf{}"),
        made(payload=b'{"a":' + b"1" * 200 + b"}"),
        made(payload=b'{"a":0e99999999999999999999}'),
        made(payload=b'{"a":1e-99999999999999999999}'),
        made(signature=b""),
        made(header={"kid": "f1"}),
        made(header={"alg": 7}),
        made(header={"alg": None}),
        made(header=HEADER | {"kid": 7}),
        made(header=HEADER | {"kid": ""}),
        made(header=HEADER | {"kid": None}),
        made(header=HEADER | {"kid": "k" * 513}),
        made(header=HEADER | {"typ": ["JWT"]}),
        "gé.a.b",
    ],
)
def test_what_is_no_jws_is_malformed(token: bytes | str) -> None:
    assert fault(token) is Fault.MALFORMED


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_a_token_may_not_bring_or_name_its_own_key(name: str) -> None:
    assert fault(made(header=HEADER | {name: None})) is Fault.EMBEDDED_KEY


@pytest.mark.parametrize("name", ["crit", "b64"])
def test_extensions_that_change_what_is_signed_are_refused(name: str) -> None:
    assert fault(made(header=HEADER | {name: ["exp"]})) is Fault.UNSUPPORTED_HEADER


@pytest.mark.parametrize(
    "content",
    [b'{"a":1,"a":1}', b'{"a":{"b":1,"b":2}}', b'{"a":[{"b":1,"b":2}]}', b'{"a":1,"\\u0061":2}', b'{ "a":1 , "a":2 }'],
)
def test_a_member_named_twice_is_refused_at_every_depth(content: bytes) -> None:
    assert fault(made(payload=content)) is Fault.DUPLICATE_MEMBER
    header = content[:-1] + b',"alg":"RS256"}'
    assert fault(made(header=header)) is Fault.DUPLICATE_MEMBER


PIECES = st.lists(
    st.sampled_from([b"{", b"}", b"[", b"]", b'"', b"\\", b"\\\\", b'\\"', b"a", b"\n", b","]), max_size=120
)


@given(PIECES.map(b"".join))
def test_depth_is_counted_outside_of_strings_alone(content: bytes) -> None:
    deepest = depth = 0
    in_text = escaped = False
    for byte in content:
        if in_text:
            in_text, escaped = escaped or byte != 0x22, byte == 0x5C and not escaped
        elif byte == 0x22:
            in_text = True
        elif byte in b"{}[]":
            depth += 1 if byte in b"{[" else -1
            deepest = max(deepest, depth)
    if deepest > compact.MAX_DEPTH:
        with pytest.raises(TokenError, match="nests deeper"):
            compact.json_object(content)
    else:
        with contextlib.suppress(TokenError):
            compact.json_object(content)


def test_deep_nesting_is_refused_before_a_parser_follows_it() -> None:
    assert fault(made(payload=b'{"a":' * 17 + b"1" + b"}" * 17)) is Fault.TOO_DEEP
    assert fault(made(payload=b"[" * 5000)) is Fault.TOO_DEEP
    compact.split(made(payload=b'{"a":' * 16 + b"1" + b"}" * 16))


def test_brackets_inside_of_texts_are_no_nesting() -> None:
    value = '[{"\\' * 20
    assert compact.split(made(payload={"a": value, "b": [[1]] * 20})).payload["a"] == value


def test_long_tokens_are_refused_unread() -> None:
    assert fault(made(payload={"a": "x" * 16_384})) is Fault.TOO_LARGE
    assert fault(made(header=HEADER | {"x": "x" * 2048})) is Fault.TOO_LARGE


def test_numbers_are_never_truncated() -> None:
    content = b'{"big":123456789012345678901234567890,"near":0.1,"exact":0.1000000000000000055511151231257827}'
    payload = compact.split(made(payload=content)).payload
    assert payload["big"] == 123456789012345678901234567890
    assert payload["near"] == 0.1
    assert payload["exact"] == Decimal("0.1000000000000000055511151231257827")


def test_faults_show_nothing_of_the_token() -> None:
    secret = b"c3VwZXJzZWNyZXQ"
    for token in (secret, made(payload=b'{"a":"%b","a":1}' % secret), b".".join((secret, secret, secret))):
        with pytest.raises(TokenError) as caught:
            compact.split(token)
        assert secret.decode() not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def _by_round_trip(data: bytes) -> bytes | None:
    """What strict base64url is, said slowly: the only spelling of a value in the alphabet."""
    try:
        content = base64.urlsafe_b64decode(data + b"=" * (-len(data) % 4))
    except (binascii.Error, ValueError):
        return None
    return content if base64.urlsafe_b64encode(content).rstrip(b"=") == data else None


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@given(st.one_of(st.binary(max_size=40), st.text(ALPHABET + "+/=\n .", max_size=40).map(str.encode)))
@example(b"QQ==")
@example(b"QR")
@example(b"QUJ")
@example(b"Q\n")
@example(b"+/")
@example(b"\x00\x00")
@example(b"AAAA=")
def test_base64url_has_one_spelling_of_every_value(data: bytes) -> None:
    try:
        found: bytes | None = compact.decode(data)
    except TokenError:
        found = None
    assert found == _by_round_trip(data)


@given(st.binary(max_size=200))
def test_what_is_encoded_decodes_to_the_same(content: bytes) -> None:
    assert compact.encode(content) == base64.urlsafe_b64encode(content).rstrip(b"=")
    assert compact.decode(compact.encode(content)) == content


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), _json, max_size=4), st.booleans(), st.sampled_from([None, 1]))
def test_objects_read_as_the_standard_reader_reads_them(
    value: dict[str, object], ascii_only: bool, indent: int
) -> None:
    try:
        content = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    except UnicodeEncodeError:
        return
    try:
        found = compact.json_object(content)
    except TokenError:
        # Lone surrogates and numbers of a hundred digits are the only things json takes and we do not.
        assert "\\ud" in content.decode() or any(len(word) > 100 for word in content.decode().split())
        return
    assert found == json.loads(content)


@given(st.text('{}[]",:\\ut01eE+-. aN', max_size=60))
def test_no_input_raises_anything_else(text: str) -> None:
    try:
        compact.json_object(text.encode())
        json.loads(text)
    except TokenError:
        pass
