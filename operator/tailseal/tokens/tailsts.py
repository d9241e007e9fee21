"""The dialect of TailSTS: a bearer token and a list of scopes in, a bare Tailscale token or one line of text out.

Only words and status codes are TailSTS's; what is asked for goes through the same exchange as every other request.
TailSTS spoke of no audience, no bounds and no outage: what it had no words for is said by the nearest of its own, but
for 429 and 503, which tell a caller to come again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from tailseal.domain.policy.denial import Denial
from tailseal.domain.policy.grants import ACCESS_TOKEN, GrantRequest
from tailseal.tokens import verify
from tailseal.tokens.answers import Response
from tailseal.tokens.errors import Fault
from tailseal.tokens.outcomes import Answered
from tailseal.tokens.request import MAX_BODY_BYTES, RequestError, RequestFault, TokenRequest

_BEARER: Final = "Bearer "
_MAX_SCOPES: Final = 32

_MALFORMED_TOKEN: Final = (401, "malformed token")
_INVALID_TIME: Final = (401, "token expired or not yet valid")
_UNUSABLE_TOKEN: Final = (401, "cannot handle this token")
_NO_POLICY: Final = (401, "no matching policy")
_DENIED: Final = (403, "request denied")
_FAILED: Final = (500, "failed to get tailscale token")

_WORDS: Final[Mapping[str, tuple[int, str]]] = {
    RequestFault.AUTHORIZATION_MISSING: (401, "missing Authorization header"),
    RequestFault.AUTHORIZATION_MALFORMED: (401, "invalid Authorization header"),
    RequestFault.TOO_LARGE: (400, "invalid request"),
    RequestFault.PARAMETER_MALFORMED: (400, "invalid request"),
    RequestFault.PARAMETER_MISSING: (400, "missing scopes"),
    Fault.MALFORMED: (401, "invalid token"),
    Fault.TOO_LARGE: (401, "invalid token"),
    Fault.TOO_DEEP: (401, "invalid token"),
    Fault.DUPLICATE_MEMBER: (401, "invalid token"),
    Fault.CLAIM_MISSING: _MALFORMED_TOKEN,
    Fault.CLAIM_MALFORMED: _MALFORMED_TOKEN,
    Fault.BAD_SIGNATURE: (401, "invalid signature"),
    Fault.ALGORITHM_NOT_ALLOWED: (401, "invalid signature"),
    Fault.EXPIRED: _INVALID_TIME,
    Fault.NOT_YET_VALID: _INVALID_TIME,
    Denial.TOKEN_TOO_OLD: _INVALID_TIME,
    Fault.UNKNOWN_KEY: _UNUSABLE_TOKEN,
    Fault.UNSUPPORTED_HEADER: _UNUSABLE_TOKEN,
    Fault.EMBEDDED_KEY: _UNUSABLE_TOKEN,
    Fault.WRONG_TYPE: _UNUSABLE_TOKEN,
    Denial.KEYS_EXPIRED: _UNUSABLE_TOKEN,
    Denial.UNKNOWN_ISSUER: _NO_POLICY,
    Denial.AUDIENCE_NOT_TRUSTED: _NO_POLICY,
    Denial.NO_POLICY_MATCHES: (403, "subject mismatch"),
}
"""Status and text by reason. `Denial.ALGORITHM_NOT_ALLOWED` is the same word as the fault of that name."""

_COME_AGAIN: Final[Mapping[int, str]] = {429: "too many requests", 503: "temporarily unavailable"}


def read(body: bytes, authorization: str | None, upstream: str) -> TokenRequest:
    """Read a request of the dialect, checked in TailSTS's order.

    Args:
        body: `{"scopes": [...]}`; other members are ignored, and the case of this one's name.
        authorization: header `Authorization`, None if there is none.
        upstream: name of the upstream that the dialect is for.

    Raises:
        RequestError: it cannot be decided on.
    """
    if authorization is None:
        raise _refuse(RequestFault.AUTHORIZATION_MISSING, "header `Authorization` is missing")
    if not authorization.startswith(_BEARER):
        raise _refuse(RequestFault.AUTHORIZATION_MALFORMED, "header `Authorization` must be `Bearer` and a token")
    scopes = tuple(dict.fromkeys(_scopes(body)))
    asked = GrantRequest(scopes=scopes, requested_token_type=ACCESS_TOKEN, upstream=upstream)
    return TokenRequest(authorization.removeprefix(_BEARER), verify.JWT, asked)


def said(answered: Answered) -> Response:
    """The answer in TailSTS's words; the stable reason and the decision's id stand in headers.

    Args:
        answered: what the exchange decided, for `Accept: text/plain`.
    """
    response = answered.response
    if answered.result == "granted":
        return response._replace(body=response.body.rstrip(b"\n"))
    status, text = _words(response.status, answered.reason)
    headers = [(name, value) for name, value in response.headers if name != b"www-authenticate"]
    decision = str(answered.audit.get("decision", ""))
    extra = ((b"tailseal-reason", answered.reason.encode()), (b"tailseal-decision", decision.encode()))
    return Response(status, text.encode() + b"\n", (*headers, *extra))


def _words(status: int, reason: str) -> tuple[int, str]:
    if reason.startswith("Upstream"):
        return _FAILED
    if status in _COME_AGAIN:
        return status, _COME_AGAIN[status]
    return _FAILED if status >= 500 else _WORDS.get(reason, _DENIED)  # noqa: PLR2004 - the class of server errors


def _scopes(body: bytes) -> list[str]:
    if len(body) > MAX_BODY_BYTES:
        raise _refuse(RequestFault.TOO_LARGE, f"the body is longer than {MAX_BODY_BYTES} bytes")
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _refuse(RequestFault.PARAMETER_MALFORMED, "the body must be JSON") from None
    scopes = _member(content)
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes) or len(scopes) > _MAX_SCOPES:
        raise _refuse(RequestFault.PARAMETER_MALFORMED, f"`scopes` must be a list of at most {_MAX_SCOPES} texts")
    if not scopes:
        raise _refuse(RequestFault.PARAMETER_MISSING, "`scopes` is missing or empty")
    return scopes


def _member(content: Any) -> object:  # noqa: ANN401 - whatever the caller sent
    """The value of `scopes`, found as Go's JSON finds it: in any case, the last one counts, null is absence."""
    if content is not None and not isinstance(content, dict):
        raise _refuse(RequestFault.PARAMETER_MALFORMED, "the body must be a JSON object")
    found = [value for name, value in (content or {}).items() if name.casefold() == "scopes"]
    return found[-1] if found and found[-1] is not None else []


def _refuse(reason: RequestFault, message: str) -> RequestError:
    return RequestError("invalid_request", reason, message)
