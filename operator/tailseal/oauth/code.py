"""Redeeming an authorization code (RFC 6749 section 4.1.3, RFC 7636 section 4.6): everything that must be as it was."""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from typing import Final

from tailseal.domain.keys.public import base64url
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.parameters import Form, one
from tailseal.oauth.records import Code

SECONDS: Final = 60
"""How long a code can be redeemed."""

_VERIFIER: Final = re.compile(r"[A-Za-z0-9\-._~]{43,128}")


def unknown() -> OAuthError:
    """The answer to a code that is not there, whyever."""
    text = "the code is not one of this client's, or has expired, or was used before"
    return OAuthError("invalid_grant", text, reason="CodeUnknown")


def check(code: Code, form: Form, jkt: str) -> None:
    """Whether the request is by whom the code was for.

    Args:
        code: as kept; that it is the client's was seen before.
        form: the parameters.
        jkt: key that was proven; empty: none.

    Raises:
        OAuthError: `invalid_grant`, or `invalid_request` for a verifier that can be none.
    """
    if not hmac.compare_digest(one(form, "redirect_uri").encode(), code.redirect_uri.encode()):
        raise OAuthError("invalid_grant", "parameter `redirect_uri` is not that of the authorization request")
    _check_verifier(code, one(form, "code_verifier"))
    if code.jkt and code.jkt != jkt:
        raise OAuthError("invalid_grant", "the code is bound to another key (`dpop_jkt`)", reason="ProofOfAnotherKey")


def _check_verifier(code: Code, verifier: str) -> None:
    if verifier and not _VERIFIER.fullmatch(verifier):
        text = "parameter `code_verifier` must be 43 to 128 characters of A-Z a-z 0-9 - . _ ~"
        raise OAuthError("invalid_request", text)
    if verifier and not code.code_challenge:  # RFC 9700 section 2.1.1: somebody took the challenge out
        text = "parameter `code_verifier`: the authorization request had no `code_challenge`"
        raise OAuthError("invalid_grant", text, reason="PkceDowngrade")
    if code.code_challenge:
        made = base64url(sha256(verifier.encode()).digest())
        if not verifier or not hmac.compare_digest(made.encode(), code.code_challenge.encode()):
            raise OAuthError("invalid_grant", "parameter `code_verifier` does not fit", reason="PkceMismatch")
