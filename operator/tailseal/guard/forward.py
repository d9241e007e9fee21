"""Answers proxies that ask before they pass a request on: nginx, Traefik and Envoy can be told to.

200 lets the request through, and says in headers who it is; whatever else is answered, does not. These headers are
always there, empty where nothing is known, so that a proxy overwrites what a caller sent under their names.
"""

from __future__ import annotations

from collections.abc import Callable
from email.charset import QP, Charset
from email.header import Header as EncodedHeader
from enum import StrEnum
from typing import Final

import structlog

from tailseal.guard.denied import NO_REQUEST, Denied, Header
from tailseal.guard.middleware import Receive, Scope, Send, deny
from tailseal.guard.rules import Rule, Rules
from tailseal.guard.sight import ANONYMOUS, Sight, Visitor
from tailseal.tailnet import headers

_METHOD: Final = b"x-forwarded-method"
_URI: Final = b"x-forwarded-uri"

_log = structlog.get_logger(__name__)


class Asking(StrEnum):
    """Where a proxy says what was asked of it."""

    FORWARDED = "forwarded"
    """In `X-Forwarded-Method` and `X-Forwarded-Uri`: Traefik does, nginx can be told to."""
    ORIGINAL = "original"
    """In the request itself, which has the method and path of the one that it is about: Envoy."""


class Forward:
    """The application that proxies ask.

    Args:
        sight: how callers are known.
        rules: what they need.
        asking: where the proxy says what it is about.
    """

    def __init__(self, sight: Sight, rules: Rules, asking: Asking) -> None:
        self._sight, self._rules = sight, rules
        self._asked: Callable[[Scope], tuple[str, str] | None] = _READ[asking]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one question."""
        asked = self._asked(scope)
        found = NO_REQUEST if asked is None else self._rules.find(*asked)
        if isinstance(found, Denied):
            _tell(found, "", ANONYMOUS)
            await deny(found, scope, receive, send)
            return
        rule, parameters = found
        visitor = await self._visitor(rule, scope)
        denied = visitor if isinstance(visitor, Denied) else _denial(rule, visitor, parameters)
        if denied is not None:
            _tell(denied, rule.path, visitor)
            await deny(denied, scope, receive, send)
        elif isinstance(visitor, Visitor):
            fields = [*_said(visitor), (b"content-length", b"0"), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 200, "headers": fields})
            await send({"type": "http.response.body", "body": b""})

    async def _visitor(self, rule: Rule, scope: Scope) -> Visitor | Denied:
        if rule.anonymous:
            return ANONYMOUS
        return await self._sight.visitor(scope.get("client"), scope["headers"])


def _denial(rule: Rule, visitor: Visitor, parameters: dict[str, str]) -> Denied | None:
    """The first of the rule's requirements that does not hold."""
    found = (requirement.denial(visitor, parameters) for requirement in rule.requirements)
    return next((denied for denied in found if denied is not None), None)


def _tell(denied: Denied, path: str, visitor: Visitor | Denied) -> None:
    """One line; of the request only the rule that is about it, since paths may hold what no log should."""
    caller = visitor.caller if isinstance(visitor, Visitor) else None
    subject = caller.subject if caller is not None else ""
    _log.info("refused", status=denied.status, reason=denied.reason, rule=path, subject=subject)


def _said(visitor: Visitor) -> list[Header]:
    caller = visitor.caller
    told = {
        "tailseal-subject": "" if caller is None else caller.subject,
        "tailseal-login": visitor.login,
        "tailseal-node": "" if caller is None else caller.node.name,
        "tailseal-tags": "" if caller is None else ",".join(caller.node.tags),
    }
    return [(name.encode(), _encoded(value)) for name, value in told.items()]


def _encoded(text: str) -> bytes:
    """As serve does: what is not visible ASCII by RFC 2047, on one line."""
    if text.isascii() and (not text or text.isprintable()):
        return text.encode()
    charset = Charset("utf-8")
    charset.header_encoding = QP
    return EncodedHeader(text, charset, maxlinelen=0).encode(linesep="").encode("ascii", "replace")


def _forwarded(scope: Scope) -> tuple[str, str] | None:
    method, uri = (headers.values(scope["headers"], name) for name in (_METHOD, _URI))
    if len(method) != 1 or len(uri) != 1:
        return None
    return method[0].decode("latin-1"), uri[0].decode("latin-1")


def _original(scope: Scope) -> tuple[str, str] | None:
    return scope["method"], scope["raw_path"].decode("latin-1")


_READ: Final = {Asking.FORWARDED: _forwarded, Asking.ORIGINAL: _original}
