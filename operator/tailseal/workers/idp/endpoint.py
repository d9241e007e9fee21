"""What the endpoints that programs call have in common: they are limited, read, decided, written down, answered.

Errors are JSON whatever is accepted, and no fault of ours shows a caller more than that it happened.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from time import perf_counter
from typing import Any, Final

import structlog

from tailseal.oauth import errors
from tailseal.oauth.errors import OAuthError, unavailable
from tailseal.state.protocol import StateUnavailable
from tailseal.tailnet import headers as tailnet_headers
from tailseal.tailnet.errors import NobodyError, UnavailableError
from tailseal.tokens import form
from tailseal.tokens.answers import Header, Response
from tailseal.tokens.refusals import Outage
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.http import wire
from tailseal.workers.common.http.wire import Receive, Scope, Send
from tailseal.workers.common.telemetry.audit import AuditError
from tailseal.workers.common.telemetry.event import event, origin
from tailseal.workers.exchange.peer import caller, networks
from tailseal.workers.idp.callers import source_of
from tailseal.workers.idp.context import IdpRuntime

MAX_BODY_BYTES: Final = 65_536

_FORM: Final = "application/x-www-form-urlencoded"
_WANTED: Final = frozenset({b"content-type", b"x-forwarded-for"})
_ACCEPT: Final = frozenset({b"accept"})
ANY_ORIGIN: Final[tuple[Header, ...]] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"*"),
)
"""Lets scripts of any origin read an answer, and what its headers ask for: a nonce, to wait, a scheme."""


_NO_METHOD: Final = 405

_log = structlog.get_logger(__name__)

# Every request asks; they change with a bundle.
_networks = lru_cache(maxsize=4)(networks)


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was read.

    Args:
        scope: as ASGI has it.
        snapshot: under which it is decided.
        form: parameters of the body or, where there is none, of the query.
        content: the body, where it is no form.
        now: Unix seconds.
        peer: address that it comes from, as far as can be told: for limits, never a proof.
        audit: what the audit line is to say beside what it says of every decision.
    """

    scope: Scope
    snapshot: Snapshot
    form: Mapping[str, list[str]]
    content: bytes = field(repr=False)
    now: float
    peer: str
    audit: dict[str, Any]

    @property
    def method(self) -> str:
        """Of the request, in capitals."""
        method: str = self.scope["method"]
        return method

    @property
    def url(self) -> str:
        """The endpoint's own URL: of the issuer, whatever Host says."""
        return self.at(self.scope["path"])

    def at(self, path: str) -> str:
        """The URL of one of our paths."""
        return self.snapshot.settings.issuer.rstrip("/") + path

    def one(self, name: str) -> str:
        """A parameter, or an empty text."""
        return next(iter(self.form.get(name, ())), "")

    def required(self, name: str) -> str:
        """A parameter that must be there.

        Raises:
            OAuthError: `invalid_request`.
        """
        if not (found := self.one(name)):
            raise OAuthError("invalid_request", f"parameter `{name}` is missing")
        return found


Act = Callable[[Request], Awaitable[Response]]
"""Decides and answers; raises `OAuthError` to refuse."""

Says = Callable[[Request | None, OAuthError, str], Response]
"""Makes the answer to a refusal, with the decision's id; the request is None where it could not be read."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How an endpoint is called.

    Args:
        name: a fixed word, for metrics and audit.
        methods: that it answers to.
        cors: whether scripts of any origin may read its answers.
        repeatable: parameters that may stand more than once.
        reads: what a body is.
        funnel: whether the public internet may call.
        quiet: methods that decide nothing, so there is no audit line.
        says: how refusals are answered.
        headers: of every answer.
    """

    name: str
    methods: frozenset[str] = frozenset({"POST"})
    cors: bool = False
    repeatable: frozenset[str] = frozenset()
    reads: str = _FORM
    funnel: bool = False
    quiet: frozenset[str] = frozenset()
    says: Says = lambda _request, error, decision: errors.answer(error, decision)
    headers: Sequence[Header] = ()


class Endpoint:
    """An endpoint as an ASGI application.

    Args:
        runtime: its ports.
        kind: how it is called.
        act: decides and answers.
    """

    def __init__(self, runtime: IdpRuntime, kind: Kind, act: Act) -> None:
        self._runtime, self._kind, self._act = runtime, kind, act

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] == "OPTIONS" and self._kind.cors:
            await wire.respond(send, _preflight(self._kind.methods))
            return
        body = await wire.body_or_none(receive, send, MAX_BODY_BYTES)
        if body is None:
            return
        response = await self._answer(scope, body)
        allow = ((b"allow", ", ".join(sorted(self._kind.methods)).encode()),) if response.status == _NO_METHOD else ()
        extra = (*self._kind.headers, *allow, *(ANY_ORIGIN if self._kind.cors else ()))
        await wire.respond(send, response._replace(headers=(*response.headers, *extra)), head=scope["method"] == "HEAD")

    async def _answer(self, scope: Scope, body: bytes) -> Response:
        common, started = self._runtime.common, perf_counter()
        decision, audit = common.decision_id(), dict[str, Any]()
        request: Request | None = None
        refusal: OAuthError | None = None
        try:
            self._check(scope)
            request = self._read(scope, body, audit)
            response = await self._act(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, there is an answer
            refusal = _refusal(error, decision)
            response = self._said(scope, request, refusal, decision)
        written = self._written(scope, audit, decision, refusal, started)
        return response if written is None else self._said(scope, request, written, decision)

    def _said(self, scope: Scope, request: Request | None, refusal: OAuthError, decision: str) -> Response:
        if request is None and prefers_json(scope):
            return errors.answer(refusal, decision)
        return self._kind.says(request, refusal, decision)

    def _check(self, scope: Scope) -> None:
        """What needs no look at the body."""
        if scope["method"] not in self._kind.methods:
            raise OAuthError("invalid_request", "this method is not answered here", status=405, reason="Method")
        if not self._kind.funnel and tailnet_headers.values(scope["headers"], b"tailscale-funnel-request"):
            raise OAuthError("access_denied", "this is answered within the tailnet only", status=401, reason="Funnel")
        if withheld := self._runtime.common.withheld():
            raise unavailable(withheld)

    def _read(self, scope: Scope, body: bytes, audit: dict[str, Any]) -> Request:
        common, asked = self._runtime.common, wire.headers(scope, _WANTED)
        snapshot = common.current()
        if snapshot is None:
            raise unavailable(Outage.NO_BUNDLE)
        trusted = _networks(snapshot.settings.trusted_proxies)
        peer = caller(source_of(scope), asked.get(b"x-forwarded-for", ""), trusted)
        audit["caller"] = peer
        if limited := common.limits.admit(peer):
            raise errors.of(limited)
        fields = self._fields(scope, body, asked.get(b"content-type", ""))
        return Request(scope, snapshot, fields, body, common.clock(), peer, audit)

    def _fields(self, scope: Scope, body: bytes, content_type: str) -> dict[str, list[str]]:
        if len(body) > MAX_BODY_BYTES:
            text = f"the body is longer than {MAX_BODY_BYTES} bytes"
            raise OAuthError("invalid_request", text, status=413, reason="RequestTooLarge")
        reads_body = scope["method"] in {"POST", "PUT"}
        if reads_body and (body or content_type) and content_type.partition(";")[0].strip().lower() != self._kind.reads:
            raise OAuthError("invalid_request", f"Content-Type must be {self._kind.reads}", reason="MediaType")
        if reads_body and self._kind.reads != _FORM:
            return {}
        try:
            return form.parse(body if reads_body else scope.get("query_string", b""), self._kind.repeatable)
        except form.FormError as error:
            raise OAuthError("invalid_request", str(error), reason="MalformedForm") from None

    def _written(
        self, scope: Scope, audit: dict[str, Any], decision: str, refusal: OAuthError | None, started: float
    ) -> OAuthError | None:
        """Write down the decision; what stands in the way of that is the answer then."""
        common, seconds = self._runtime.common, perf_counter() - started
        asked = audit.pop("result", "granted")
        result = asked if refusal is None else "refused" if refusal.status < 500 else "error"  # noqa: PLR2004
        reason = "" if refusal is None else refusal.reason
        common.metrics.decided(audit)
        common.metrics.exchange(self._kind.name, result, reason, seconds)
        if "caller" in audit and refusal is None:
            common.limits.excuse(audit["caller"])
        if scope["method"] in self._kind.quiet:
            return None
        snapshot = common.current()
        place = origin(common.component, self._kind.name, None if snapshot is None else snapshot.settings)
        fields = {
            "time": common.clock(),
            "decision": decision,
            "result": result,
            **({"reason": reason} if reason else {}),
            **audit,
        }
        try:
            common.audit.write(event(fields, place, seconds))
        except AuditError:
            return unavailable(Outage.AUDIT_UNAVAILABLE)
        return None


def _refusal(error: Exception, decision: str) -> OAuthError:
    if isinstance(error, OAuthError):
        return error
    if isinstance(error, StateUnavailable):
        return unavailable(error.fault)
    if isinstance(error, UnavailableError):
        return unavailable(error.reason)
    if isinstance(error, NobodyError):
        return OAuthError("access_denied", "nobody that the tailnet knows is calling", status=401, reason=error.reason)
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in frames[::-1])
    _log.error("request failed", decision=decision, kind=type(error).__name__, where=where)
    return OAuthError("server_error", "this failed: nothing was done", status=500, reason="InternalError")


def prefers_json(scope: Scope) -> bool:
    """Whether a program asks, and not a browser."""
    accept = wire.headers(scope, _ACCEPT).get(b"accept", "")
    return "json" in accept and "html" not in accept


def _preflight(methods: frozenset[str]) -> Response:
    allowed = ", ".join(sorted(methods)).encode()
    fields = (
        *ANY_ORIGIN,
        (b"access-control-allow-methods", allowed),
        (b"access-control-allow-headers", b"*, authorization"),
        (b"access-control-max-age", b"86400"),
        (b"allow", allowed + b", OPTIONS"),
    )
    return Response(204, b"", fields)
