"""What a caller is told, as bytes: the grant's answer by RFC 8693 section 2.2, refusals by RFC 6749 section 5.2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import orjson

Header = tuple[bytes, bytes]

NO_STORE: Final[tuple[Header, ...]] = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
JSON: Final[tuple[Header, ...]] = ((b"content-type", b"application/json"), *NO_STORE)
_TEXT: Final[tuple[Header, ...]] = ((b"content-type", b"text/plain; charset=utf-8"), *NO_STORE)

RETRY_AFTER_SECONDS: Final = 5
"""How long a caller is asked to wait where the cause is expected to pass."""


class Response(NamedTuple):
    """An HTTP answer. Its body may hold a token: never log it."""

    status: int
    body: bytes
    headers: Sequence[Header]


class Refusal(NamedTuple):
    """Why there is no token.

    Args:
        status: HTTP status.
        error: OAuth error code.
        reason: stable word: what programs and dashboards may rely on.
        description: one short sentence of ours; nothing of the request stands in it.
        retry_after: seconds after which to try again, where the status says that it may help.
    """

    status: int
    error: str
    reason: str
    description: str
    retry_after: int = RETRY_AFTER_SECONDS


def wants_text(accept: str) -> bool:
    """Whether the caller asked for the bare token: `text/plain` named, JSON not."""
    return "text/plain" in accept and "json" not in accept


def granted(
    token: str,
    *,
    issued_type: str,
    token_type: str,
    expires_in: int,
    scopes: Sequence[str],
    text: bool,
    extra: Sequence[Header] = (),
) -> Response:
    """The answer with a token.

    Args:
        token: the issued token.
        issued_type: its token type identifier (RFC 8693 section 3).
        token_type: `Bearer`, `DPoP`, or `N_A` for what is no access token.
        expires_in: seconds.
        scopes: what was granted.
        text: the bare token instead of JSON.
        extra: further headers.
    """
    if text:
        return Response(200, token.encode() + b"\n", (*_TEXT, *extra))
    content: dict[str, object] = {
        "access_token": token,
        "issued_token_type": issued_type,
        "token_type": token_type,
        "expires_in": expires_in,
    }
    if scopes:
        content["scope"] = " ".join(scopes)
    return Response(200, orjson.dumps(content), (*JSON, *extra) if extra else JSON)


def refused(refusal: Refusal, *, decision: str, text: bool, extra: Sequence[Header] = ()) -> Response:
    """The answer without one; the decision's id leads the policy's owner to the audit line."""
    headers = (*(_TEXT if text else JSON), *extra)
    if refusal.status in {429, 503}:
        headers = (*headers, (b"retry-after", b"%d" % refusal.retry_after))
    if refusal.status == 401:  # noqa: PLR2004 - RFC 6749 section 5.2
        headers = (*headers, (b"www-authenticate", b'Basic realm="tailseal"'))
    if text:
        line = f"{refusal.error}: {refusal.description} ({refusal.reason}, decision {decision})\n"
        return Response(refusal.status, line.encode(), headers)
    content = {
        "error": refusal.error,
        "error_description": refusal.description,
        "tailseal_reason": refusal.reason,
        "decision_id": decision,
    }
    return Response(refusal.status, orjson.dumps(content), headers)
