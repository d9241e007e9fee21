"""What all upstreams have in common on the wire: a client that sends, answers in JSON, refusals in two dialects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import orjson

from tailseal.upstream.errors import UpstreamError, UpstreamReason

OK: Final = 200

_SCOPE_ERRORS: Final = frozenset({"invalid_scope", "invalid_target"})
_CLIENT_ERRORS: Final = frozenset({"invalid_client", "unauthorized_client", "invalid_grant"})

_LATER: Final = frozenset({408, 429, 502, 503, 504})
"""Whatever is asked. A 500 is not among them: it may be about one request, and must not cost others theirs."""


class Reply(Protocol):
    """What is looked at of an HTTP answer."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        ...

    @property
    def body(self) -> bytes:
        """The complete body."""
        ...


class PostForm(Protocol):
    """The guarded client, as far as a token endpoint needs it."""

    async def __call__(self, url: str, fields: Mapping[str, str]) -> Reply:
        """Send a form.

        Raises:
            UpstreamError: the upstream cannot be reached.
        """
        ...


class PostJson(Protocol):
    """The guarded client, as far as an API needs it."""

    async def __call__(self, url: str, content: Mapping[str, Any], bearer: str) -> Reply:
        """Send a JSON object.

        Raises:
            UpstreamError: the upstream cannot be reached.
        """
        ...


def refusal(
    reply: Reply, *, forbidden: UpstreamReason, rejected: UpstreamReason = UpstreamReason.REJECTED
) -> UpstreamError:
    """An RFC 6749 error (headscale), or Tailscale's own `{"message": ...}`.

    Args:
        reply: whose status is not 200.
        forbidden: what a 403 without an error code means here.
        rejected: what any other fault of the request means here.
    """
    error = _json_or_empty(reply.body).get("error")
    if error in _SCOPE_ERRORS:
        return UpstreamError(
            UpstreamReason.SCOPE_REFUSED, "the upstream's client may not grant the scopes or tags", outage=False
        )
    if reply.status == 401 or error in _CLIENT_ERRORS:  # noqa: PLR2004
        return UpstreamError(UpstreamReason.CREDENTIAL_REFUSED, "the upstream refuses our credential", outage=False)
    if reply.status == 403 and not isinstance(error, str):  # noqa: PLR2004
        return UpstreamError(forbidden, "the upstream forbids it", outage=False)
    text = f"the upstream answered with status {reply.status}"
    if reply.status < 500 and reply.status not in _LATER:  # noqa: PLR2004
        return UpstreamError(rejected, text, outage=False)
    wait = _seconds(reply.headers.get("retry-after"))
    return UpstreamError(UpstreamReason.UNAVAILABLE, text, retry_after=wait, outage=reply.status in _LATER)


def json_object(body: bytes) -> dict[str, Any]:
    """The answer's JSON object.

    Raises:
        UpstreamError: it is none.
    """
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise UpstreamError(UpstreamReason.MALFORMED, "the upstream's answer is not a JSON object")
    return answer


def place(api_url: str, path: str) -> str:
    """The URL of a path below an API's base URL."""
    return api_url.rstrip("/") + path


def _seconds(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 6 else None  # noqa: PLR2004


def _json_or_empty(body: bytes) -> dict[str, Any]:
    try:
        return json_object(body)
    except UpstreamError:
        return {}
