"""The strict reader of compact JWS tokens: everything that is decided before a key is looked at.

PyJWT's own reader costs several times the signature it guards (docs/benchmarks.md), so the checks it made are made
here, each in C where possible: three segments, strict base64url, JSON objects without duplicate members, no header
that changes the meaning of the signature or brings its own key.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final, NamedTuple, NoReturn

import orjson

from tailseal.tokens.errors import Fault, TokenError

MAX_TOKEN_BYTES: Final = 16_384
"""No token of any known issuer comes near; more is refused unread."""

MAX_DEPTH: Final = 16
"""How deep JSON may nest inside a token."""

_MAX_HEADER_BYTES: Final = 2048
_MAX_TEXT: Final = 512
_MAX_INTEGER_DIGITS: Final = 100

_EMBEDDED: Final = frozenset({"jwk", "jku", "x5u", "x5c"})
_UNSUPPORTED: Final = frozenset({"crit", "b64"})

_MARKS: Final = re.compile(rb'"[^"\\]*+(?:\\.?[^"\\]*+)*+"?|[][{}]', re.DOTALL)
"""Strings of JSON, also one without an end, and brackets outside of them; possessive, so that nothing is read twice."""

# The URL-safe alphabet in place of the standard one; what only the standard one has becomes illegal.
_ALPHABET: Final = bytes.maketrans(b"-_+/=", b"+/\x00\x00\x00")
# Characters that may end a segment of length 4n + 2 and 4n + 3: their unused low bits are zero (RFC 4648 section 3.5).
_LAST: Final = {2: frozenset(b"AQgw"), 3: frozenset(b"AEIMQUYcgkosw048")}
_PADDING: Final = {0: b"", 2: b"==", 3: b"="}


class Compact(NamedTuple):
    """A well-formed token, not yet verified: nothing in it may be believed.

    Args:
        header: the JOSE header.
        payload: the claims.
        signing_input: the bytes that the signature covers.
        signature: the decoded signature, never empty.
        alg: the header's `alg`.
        kid: the header's `kid`, or None.
    """

    header: dict[str, Any]
    payload: dict[str, Any]
    signing_input: bytes
    signature: bytes
    alg: str
    kid: str | None


def split(token: str | bytes) -> Compact:
    """Take a compact JWS apart.

    Raises:
        TokenError: it is not one that we would verify under any key.
    """
    return _split(token, _header)


def split_proof(token: str) -> Compact:
    """The same for a proof of possession, which brings its own key in `jwk` (RFC 9449 section 4.2).

    Raises:
        TokenError: it is not one that any key would verify.
    """
    return _split(token, _read_proof_header)


def _split(token: str | bytes, read_header: Callable[[bytes], dict[str, Any]]) -> Compact:
    data = token if isinstance(token, bytes) else _ascii(token)
    if len(data) > MAX_TOKEN_BYTES:
        raise TokenError(Fault.TOO_LARGE, f"the token is longer than {MAX_TOKEN_BYTES} bytes")
    segments = data.split(b".", 3)
    if len(segments) != 3:  # noqa: PLR2004 - the number of segments of a JWS
        raise TokenError(Fault.MALFORMED, "the token is not three segments divided by dots")
    head, body, tail = segments
    header = read_header(head)
    signature = decode(tail)
    if not signature:
        raise TokenError(Fault.MALFORMED, "the signature is empty")
    return Compact(
        header, json_object(decode(body)), data[: -len(tail) - 1], signature, header["alg"], header.get("kid")
    )


def decode(segment: bytes) -> bytes:
    """Strict base64url without padding (RFC 7515 section 2): exactly one spelling of every value.

    Raises:
        TokenError: `TokenMalformed`.
    """
    rest = len(segment) % 4
    if rest == 1 or (rest and segment[-1] not in _LAST[rest]):
        raise TokenError(Fault.MALFORMED, "a segment is not canonical base64url")
    try:
        return binascii.a2b_base64(segment.translate(_ALPHABET) + _PADDING[rest], strict_mode=True)
    except binascii.Error:
        raise TokenError(Fault.MALFORMED, "a segment is not base64url") from None


def encode(content: bytes) -> bytes:
    """Base64url without padding."""
    return binascii.b2a_base64(content, newline=False).rstrip(b"=").translate(_URL_SAFE)


_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


def json_object(content: bytes) -> dict[str, Any]:
    """A JSON object with no member named twice at any depth, no number that Python would not hold exactly.

    Bytes that the value serialises back to cannot have held anything twice; only others need the slow look.

    Raises:
        TokenError: `TokenMalformed`, `DuplicateMember` or `TokenTooDeep`.
    """
    if content.count(b"{") + content.count(b"[") > MAX_DEPTH:
        _check_depth(content)
    try:
        value = orjson.loads(content)
        if orjson.dumps(value) != content:
            value = _read_slowly(content)
    except (ValueError, RecursionError, TypeError):
        raise TokenError(Fault.MALFORMED, "a segment is not JSON") from None
    if type(value) is not dict:
        raise TokenError(Fault.MALFORMED, "a segment is not a JSON object")
    return value


# Callers of one issuer send the same few headers; a refused one is never kept.
@lru_cache(maxsize=512)
def _header(segment: bytes) -> dict[str, Any]:
    return _read_header(segment, _EMBEDDED)


def _read_proof_header(segment: bytes) -> dict[str, Any]:
    return _read_header(segment, _EMBEDDED - {"jwk"})


def _read_header(segment: bytes, embedded: frozenset[str]) -> dict[str, Any]:
    if len(segment) > _MAX_HEADER_BYTES:
        raise TokenError(Fault.TOO_LARGE, f"the header is longer than {_MAX_HEADER_BYTES} bytes")
    header = json_object(decode(segment))
    if not embedded.isdisjoint(header):
        raise TokenError(Fault.EMBEDDED_KEY, "the header brings or names a key of its own")
    if not _UNSUPPORTED.isdisjoint(header):
        raise TokenError(Fault.UNSUPPORTED_HEADER, "the header asks for an extension that is not supported")
    for name, required in (("alg", True), ("kid", False), ("typ", False)):
        _check_text(header, name, required=required)
    return header


def _check_text(header: dict[str, Any], name: str, *, required: bool) -> None:
    if name not in header and not required:
        return
    value = header.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT:
        raise TokenError(Fault.MALFORMED, f"header `{name}` is not a text of 1 to {_MAX_TEXT} characters")


def _ascii(token: str) -> bytes:
    try:
        return token.encode("ascii")
    except UnicodeEncodeError:
        raise TokenError(Fault.MALFORMED, "the token holds characters beyond ASCII") from None


def _check_depth(content: bytes) -> None:
    """Count brackets outside of strings, so that no parser ever recurses into a hostile depth."""
    depth = 0
    for mark in _MARKS.finditer(content):
        kind = mark.group()[:1]
        if kind in {b"{", b"["}:
            depth += 1
            if depth > MAX_DEPTH:
                raise TokenError(Fault.TOO_DEEP, f"JSON nests deeper than {MAX_DEPTH}")
        elif kind != b'"':
            depth -= 1


def _read_slowly(content: bytes) -> object:
    """The same value by the standard reader, which shows duplicates and keeps large numbers whole."""
    return json.loads(
        content.decode(),
        object_pairs_hook=_unique,
        parse_int=_integer,
        parse_float=_number,
        parse_constant=_refuse_constant,
    )


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    entries = list(pairs)
    members = dict(entries)
    if len(members) != len(entries):
        raise TokenError(Fault.DUPLICATE_MEMBER, "a JSON object names a member twice")
    return members


def _integer(text: str) -> int:
    if len(text) > _MAX_INTEGER_DIGITS:
        raise TokenError(Fault.MALFORMED, "a number is too long")
    return int(text)


def _number(text: str) -> float | Decimal:
    """A float where it is exactly what was written, else the decimal: numbers are never truncated."""
    if len(text) > _MAX_INTEGER_DIGITS:
        raise TokenError(Fault.MALFORMED, "a number is too long")
    try:
        exact, nearest = Decimal(text), float(text)
    except InvalidOperation:  # an exponent of twenty digits, which only a zero or next to it can have
        raise TokenError(Fault.MALFORMED, "a number is out of range") from None
    return nearest if Decimal(repr(nearest)) == exact else exact


def _refuse_constant(_: str) -> NoReturn:
    raise TokenError(Fault.MALFORMED, "a number is not finite")
