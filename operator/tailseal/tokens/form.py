"""A strict reader of form bodies (RFC 6749 appendix B): what it accepts reads the same in every other parser."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

MAX_FIELDS: Final = 64

_SHORT: Final = 256
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


class FormError(ValueError):
    """The body is not a form that can be read in only one way; the message names the fault, never a value."""


def parse(body: bytes, repeatable: Collection[str] = ()) -> dict[str, list[str]]:
    """Fields by name, in order; those without a value count as absent (RFC 6749 section 3.2).

    Args:
        body: `application/x-www-form-urlencoded`, UTF-8 inside the escapes.
        repeatable: names that may stand more than once; any other may not, known or not (RFC 6749 section 3.2).

    Raises:
        FormError: not ASCII, a broken escape, broken UTF-8, too many fields, or a repeated name.
    """
    fields: dict[str, list[str]] = {}
    for pair in _text(body).split("&", MAX_FIELDS):
        raw_name, _, raw_value = pair.partition("=")
        if not raw_value:
            continue
        name = unquote(raw_name)
        values = fields.setdefault(name, [])
        if values and name not in repeatable:
            raise FormError("a parameter stands more than once")
        values.append(unquote(raw_value))
    return fields


def _text(body: bytes) -> str:
    if body.count(b"&") >= MAX_FIELDS:
        raise FormError(f"the form has more than {MAX_FIELDS} parameters")
    try:
        return body.decode("ascii")
    except UnicodeDecodeError:
        raise FormError("the form holds bytes that must be escaped") from None


def unquote(text: str) -> str:
    """Decode escapes and `+`.

    Raises:
        FormError: a percent sign without two hexadecimal digits, or bytes that are not UTF-8.
    """
    if "%" not in text and "+" not in text:
        return text
    return _unquote_short(text) if len(text) <= _SHORT else _unquote(text)


def _unquote(text: str) -> str:
    if _BROKEN_ESCAPE.search(text):
        raise FormError("a percent sign is not followed by two hexadecimal digits")
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeDecodeError:
        raise FormError("an escape is not UTF-8") from None


# Audiences, token types and scopes repeat from caller to caller.
_unquote_short = lru_cache(maxsize=1024)(_unquote)
