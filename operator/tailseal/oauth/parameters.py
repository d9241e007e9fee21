"""Parameters of OAuth requests, strictly: what a text may be, and what stands twice although it must not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from tailseal.oauth.errors import OAuthError

Form = Mapping[str, list[str]]

MAX_TEXT: Final = 2048
MAX_WORDS: Final = 32

SCOPES: Final = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+(?: [\x21\x23-\x5B\x5D-\x7E]+)*")
_ABSOLUTE_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[\x21\x22\x24-\x7E]+")


class _All(frozenset[str]):
    """Every name there is."""

    __slots__ = ()

    def __contains__(self, name: object) -> bool:
        return True


ALL: Final[frozenset[str]] = _All()
"""For `tokens.form.parse`, where what stands twice is to be refused later, when it is known how."""

REPEATABLE: Final = frozenset({"resource"})
"""RFC 8707 section 2; every other parameter may stand once (RFC 6749 section 3.1)."""


def one(form: Form, name: str) -> str:
    """The parameter's only value; an empty text, where it is absent or stands more than once."""
    values = form.get(name, ())
    return values[0] if len(values) == 1 else ""


def refuse_doubled(form: Form) -> None:
    """Refuse what stands more than once.

    Raises:
        OAuthError: `invalid_request`.
    """
    if any(len(values) > 1 and name not in REPEATABLE for name, values in form.items()):
        raise OAuthError("invalid_request", "a parameter stands more than once")


def scopes(form: Form) -> tuple[str, ...]:
    """What is asked for, each word once (RFC 6749 section 3.3).

    Raises:
        OAuthError: `invalid_scope`.
    """
    text = one(form, "scope")
    if not text:
        return ()
    if len(text) > MAX_TEXT or not SCOPES.fullmatch(text) or text.count(" ") >= MAX_WORDS:
        raise OAuthError("invalid_scope", "parameter `scope` must be words with single blanks between them")
    return tuple(dict.fromkeys(text.split(" ")))


def resources(form: Form) -> tuple[str, ...]:
    """What services the tokens are to be for, each once (RFC 8707 section 2).

    Raises:
        OAuthError: `invalid_target`.
    """
    found = form.get("resource", [])
    if len(found) > MAX_WORDS or any(len(uri) > MAX_TEXT or not _ABSOLUTE_URI.fullmatch(uri) for uri in found):
        raise OAuthError("invalid_target", "parameter `resource` must be an absolute URI without a fragment")
    return tuple(dict.fromkeys(found))
