"""An RFC 8693 token request read from the wire: everything about its shape is decided here, nothing about trust."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from tailseal.domain.policy.grants import GrantRequest
from tailseal.tokens import form, verify

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"

MAX_BODY_BYTES: Final = 65_536
"""A subject token at its limit fits in, every character escaped."""

_FORM: Final = "application/x-www-form-urlencoded"
REPEATABLE: Final = frozenset({"audience", "resource"})
"""Parameters that may come more than once (RFC 8693 section 2.1)."""

CREDENTIALS: Final = frozenset({"client_secret", "client_assertion", "client_assertion_type"})
"""Parameters by which a client proves who it is."""
_ASKED: Final = ("audience", "resource", "scope", "requested_token_type", "policy", "grant", "tags")
_MAX_ENTRIES: Final = 32
_MAX_TEXT: Final = 512

_SCOPES: Final = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+(?: [\x21\x23-\x5B\x5D-\x7E]+)*")
_ABSOLUTE_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[\x21\x22\x24-\x7E]+")
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9.\-]*[a-z0-9])?")


Fields = Mapping[str, Sequence[str]]


class RequestFault(StrEnum):
    """Stable reasons for which a request is refused before its token is looked at."""

    MEDIA_TYPE = "UnsupportedMediaType"
    TOO_LARGE = "RequestTooLarge"
    AUTHORIZATION_MISSING = "AuthorizationMissing"
    AUTHORIZATION_MALFORMED = "AuthorizationMalformed"
    FORM = "MalformedForm"
    PARAMETER_MISSING = "ParameterMissing"
    PARAMETER_MALFORMED = "ParameterMalformed"
    GRANT_TYPE = "UnsupportedGrantType"
    TOKEN_TYPE = "UnsupportedTokenType"  # noqa: S105 - a reason, not a secret
    CLIENT_AUTHENTICATION = "ClientAuthenticationNotSupported"


class RequestError(Exception):
    """The request is refused.

    Args:
        error: OAuth error code (RFC 6749 section 5.2, RFC 8693 section 2.2.2).
        reason: the stable word.
        message: which parameter is wrong and what would be right; never a value from the request.
        status: HTTP status.
    """

    def __init__(self, error: str, reason: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.error = error
        self.reason = reason
        self.status = status


class TokenRequest(NamedTuple):
    """The parameters of a token exchange.

    Args:
        subject_token: the token to exchange; never to be logged.
        subject_token_type: one of `verify.SUBJECT_TOKEN_TYPES`.
        asked: what the caller wants for it.
        actor_token: of the party that acts for the subject, empty if nobody does; never to be logged.
        actor_token_type: one of `verify.SUBJECT_TOKEN_TYPES`; empty without an actor token.
    """

    subject_token: str
    subject_token_type: str
    asked: GrantRequest
    actor_token: str = ""
    actor_token_type: str = ""


def read(body: bytes, content_type: str, *, authorization: bool, client: str = "") -> TokenRequest:
    """Read a request; parameters that nobody knows are ignored (RFC 6749 section 3.2).

    Args:
        body: the form.
        content_type: header `Content-Type`.
        authorization: whether a header `Authorization` came along.
        client: id of the client that was proven by what came along; empty: none was.

    Raises:
        RequestError: it cannot be decided on.
    """
    fields = _fields(body, content_type)
    if not client and (authorization or not CREDENTIALS.isdisjoint(fields)):
        raise RequestError(
            "invalid_client",
            RequestFault.CLIENT_AUTHENTICATION,
            "what should prove a client is none that is taken here: leave it out, and the subject token speaks",
            status=401,
        )
    return _request(fields)


def read_wish(body: bytes, content_type: str) -> GrantRequest:
    """Read what a caller asks for who needs no token, by as many parameters of `read` as they give: else for a JWT.

    Args:
        body: the form; nothing at all is as good.
        content_type: header `Content-Type`.

    Raises:
        RequestError: it cannot be decided on.
    """
    fields = _fields(body, content_type) if body else {}
    values = tuple([tuple(fields[name]) if name in fields else () for name in _ASKED])
    asked = _asked(values)
    return asked if asked.requested_token_type is not None else asked._replace(requested_token_type=verify.JWT)


def _fields(body: bytes, content_type: str) -> Fields:
    if len(body) > MAX_BODY_BYTES:
        raise _refuse(RequestFault.TOO_LARGE, f"the body is longer than {MAX_BODY_BYTES} bytes", status=413)
    if content_type != _FORM and content_type.partition(";")[0].strip().lower() != _FORM:
        raise _refuse(RequestFault.MEDIA_TYPE, f"Content-Type must be {_FORM}")
    try:
        return form.parse(body, REPEATABLE)
    except form.FormError as error:
        raise _refuse(RequestFault.FORM, str(error)) from None


def _request(fields: Fields) -> TokenRequest:
    if _required(fields, "grant_type") != GRANT_TYPE:
        raise RequestError(
            "unsupported_grant_type", RequestFault.GRANT_TYPE, f"parameter `grant_type` must be {GRANT_TYPE}"
        )
    token_type = _token_type(fields, "subject_token_type")
    values = tuple([tuple(fields[name]) if name in fields else () for name in _ASKED])
    request = TokenRequest(_required(fields, "subject_token"), token_type, _asked(values))
    if "actor_token" not in fields and "actor_token_type" not in fields:
        return request
    actor_token, actor_token_type = _required(fields, "actor_token"), _token_type(fields, "actor_token_type")
    return request._replace(actor_token=actor_token, actor_token_type=actor_token_type)


def _token_type(fields: Fields, name: str) -> str:
    token_type = _required(fields, name)
    if token_type not in verify.SUBJECT_TOKEN_TYPES:
        raise _refuse(RequestFault.TOKEN_TYPE, f"parameter `{name}` must be jwt, id_token or access_token")
    return token_type


# Callers of one pipeline ask for the same thing each time; what is refused is never kept.
@lru_cache(maxsize=128)
def _asked(values: tuple[tuple[str, ...], ...]) -> GrantRequest:
    """What is asked for, by the values of the parameters that `_ASKED` names."""
    fields = dict(zip(_ASKED, values, strict=True))
    return GrantRequest(
        audiences=_list(fields, "audience", bool, "invalid_target"),
        resources=_list(fields, "resource", _ABSOLUTE_URI.fullmatch, "invalid_target"),
        scopes=_words(fields, "scope", "invalid_scope"),
        requested_token_type=_text(fields, "requested_token_type", bool),
        policy=_text(fields, "policy", _policy),
        grant=_text(fields, "grant", _NAME.fullmatch),
        tags=_words(fields, "tags", "invalid_request"),
    )


def _required(fields: Fields, name: str) -> str:
    values = fields.get(name)
    if not values:
        raise _refuse(RequestFault.PARAMETER_MISSING, f"parameter `{name}` is missing")
    return values[0]


def _text(fields: Fields, name: str, accept: Callable[[str], object]) -> str | None:
    values = fields.get(name)
    if not values:
        return None
    if len(values[0]) > _MAX_TEXT or not accept(values[0]):
        raise _refuse(RequestFault.PARAMETER_MALFORMED, f"parameter `{name}` is malformed")
    return values[0]


def _list(fields: Fields, name: str, accept: Callable[[str], object], error: str) -> tuple[str, ...]:
    values = fields.get(name)
    if not values:
        return ()
    if len(values) > _MAX_ENTRIES or any(len(value) > _MAX_TEXT or not accept(value) for value in values):
        raise RequestError(error, RequestFault.PARAMETER_MALFORMED, f"parameter `{name}` is malformed")
    return tuple(dict.fromkeys(values))


def _words(fields: Fields, name: str, error: str) -> tuple[str, ...]:
    """Space-delimited words, each once (RFC 6749 section 3.3)."""
    values = fields.get(name)
    if not values:
        return ()
    words = tuple(dict.fromkeys(values[0].split(" ")))
    if len(words) > _MAX_ENTRIES or len(values[0]) > _MAX_TEXT * 4 or not _SCOPES.fullmatch(values[0]):
        raise RequestError(error, RequestFault.PARAMETER_MALFORMED, f"parameter `{name}` is malformed")
    return words


def _policy(text: str) -> bool:
    namespace, _, name = text.partition("/")
    return bool(_NAME.fullmatch(namespace) and _NAME.fullmatch(name))


def _refuse(reason: RequestFault, message: str, status: int = 400) -> RequestError:
    return RequestError("invalid_request", reason, message, status)
