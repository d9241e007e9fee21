"""How the answer to an authorization request travels (RFC 6749 section 4.1.2, RFC 9207), in each response mode."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from tailseal.oauth.authorize import Target
from tailseal.tokens.answers import NO_STORE, Header, Response

_HEADERS: Final[tuple[Header, ...]] = (*NO_STORE, (b"referrer-policy", b"no-referrer"))


def parameters(where: Target, issuer: str, **answer: str) -> dict[str, str]:
    """What the client is sent, `iss` always with it (RFC 9207 section 2).

    Args:
        where: it goes.
        issuer: ours.
        answer: `code`, or `error` and `error_description`.
    """
    return {**answer, **({"state": where.state} if where.state else {}), "iss": issuer}


def to(location: str, *headers: Header) -> Response:
    """Send a browser on.

    Always 303: it must not post again what it posted to us (RFC 9700 section 4.12).

    Args:
        location: an absolute URL.
        headers: beside those of all such answers.
    """
    return Response(303, b"", (*_HEADERS, (b"location", location.encode()), *headers))


def redirect(where: Target, sent: dict[str, str]) -> Response:
    """The answer by redirect; the query that a registered URI has of its own stays (RFC 6749 section 3.1.2)."""
    text = urlencode(sent)
    if where.mode == "fragment":
        return to(f"{where.redirect_uri}#{text}")
    return to(f"{where.redirect_uri}{'&' if '?' in where.redirect_uri else '?'}{text}")
