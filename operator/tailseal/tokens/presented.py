"""A token as somebody presented it: taken apart, so that it can be looked at before anything in it is believed."""

from __future__ import annotations

from typing import NamedTuple

from tailseal.tokens import compact, verify
from tailseal.tokens.compact import Compact


class Presented(NamedTuple):
    """A token as somebody presented it: well-formed, and not yet believed.

    Args:
        token: taken apart.
        token_type: one of `verify.SUBJECT_TOKEN_TYPES`.
        issuer: its `iss`.
    """

    token: Compact
    token_type: str
    issuer: str


def present(text: str, token_type: str) -> Presented:
    """Take a presented token apart.

    Raises:
        TokenError: it is not one that we would verify under any key.
    """
    token = compact.split(text)
    verify.check_type(token, token_type)
    return Presented(token, token_type, verify.issuer(token.payload))
