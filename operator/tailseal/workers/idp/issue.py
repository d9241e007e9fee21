"""`POST /issue`, as Tailbone has it: a token for whoever calls over the tailnet, if a TrustPolicy allows it.

Nothing has to be sent: the tailnet says who it is, and policies with `from.tailnet` what they get.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from typing import ClassVar, Final
from urllib.parse import urlsplit

import orjson
from starlette.routing import Route

from tailseal.domain.policy.source import KeySource
from tailseal.oauth.admission import Person
from tailseal.oauth.errors import OAuthError
from tailseal.tailnet import NobodyError, UnavailableError, headers
from tailseal.tailnet.whois import RUNNING
from tailseal.tokens.answers import JSON, Response
from tailseal.tokens.issue import Step
from tailseal.tokens.outcomes import Answered, Call
from tailseal.tokens.request import RequestError, TokenRequest, read_wish
from tailseal.tokens.vouched import Vouched, vouched
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.http import wire
from tailseal.workers.common.http.wire import Receive, Scope, Send
from tailseal.workers.exchange.token import TokenEndpoint
from tailseal.workers.idp.callers import person_of
from tailseal.workers.idp.context import IdpRuntime

PATH: Final = "/issue"

_WHO: Final = "tailseal.who"
_NOT_HERE: Final = Response(401, b'{"error":"access_denied"}', JSON)


class IssueEndpoint(TokenEndpoint):
    """The exchange without a subject token, in Tailbone's words.

    Args:
        runtime: the identity provider's ports.
    """

    endpoint: ClassVar = "issue"

    def __init__(self, runtime: IdpRuntime) -> None:
        super().__init__(runtime.common)
        self._idp = runtime

    async def _answer(self, scope: Scope, body: bytes) -> Answered:
        snapshot, _ = self._current()
        if snapshot is not None:
            scope = {**scope, _WHO: await self._who(scope, snapshot)}
        return await super()._answer(scope, body)

    async def _who(self, scope: Scope, snapshot: Snapshot) -> Person | RequestError:
        if _is_foreign(scope, snapshot.settings.issuer):
            return RequestError("access_denied", "ForeignOrigin", "pages of other origins get no tokens here", 403)
        try:
            return await person_of(self._idp, scope, snapshot)
        except OAuthError as error:
            return RequestError(error.error, error.reason, error.description, error.status)
        except NobodyError as error:
            return RequestError("access_denied", error.reason, "nobody that the tailnet knows is calling", 401)
        except UnavailableError as error:
            return RequestError(
                "temporarily_unavailable", error.reason, "nobody can say who is calling: try again", 503
            )

    def _call(self, scope: Scope, body: bytes) -> Call:
        call, who = super()._call(scope, body), scope.get(_WHO)
        if who is None:
            return call
        try:
            return call._replace(vouched=self._vouched(who, call))
        except RequestError as error:
            return call._replace(dialect=_Refusing(error))

    def _vouched(self, who: Person | RequestError, call: Call) -> Vouched | None:
        snapshot, _ = self._current()
        if isinstance(who, RequestError):
            raise who
        if snapshot is None:  # pragma: no cover - without one nobody was asked
            return None
        asked, settings = read_wish(call.body, call.content_type), snapshot.settings
        return vouched(who.caller, asked, settings, settings.issuer.rstrip("/") + PATH)

    def _caller(self, scope: Scope, forwarded: str) -> str:
        who = scope.get(_WHO)
        return str(who.caller.node.addresses[0]) if isinstance(who, Person) else super()._caller(scope, forwarded)

    def _step(self, call: Call, missing: Mapping[KeySource, str]) -> Step:
        _, exchange = self._current()
        if call.vouched is None or exchange is None:
            return super()._step(call, missing)
        return exchange.step_for(call.vouched, call, self._runtime.clock())

    def _said(self, answered: Answered) -> Response:
        response = answered.response
        if answered.result != "granted" or JSON[0] not in response.headers:
            return response
        return response._replace(body=orjson.dumps({"token": orjson.loads(response.body)["access_token"]}))


class _Refusing:
    """Reads no request: it is refused already."""

    def __init__(self, error: RequestError) -> None:
        self._error = error

    def __call__(self, body: bytes) -> TokenRequest:  # noqa: ARG002 - a dialect's
        raise self._error


class HealthEndpoint:
    """`/_healthz`, as Tailbone has it: whether a caller would be known, and a token be signed.

    Args:
        runtime: the identity provider's ports.
    """

    def __init__(self, runtime: IdpRuntime) -> None:
        self._idp = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - nothing is read
        """Answer one request of any method, from within the tailnet."""
        if headers.values(scope["headers"], b"tailscale-funnel-request"):
            await wire.respond(send, _NOT_HERE)
            return
        healthy = self._idp.common.withheld() is None and await self._knows_callers()
        body = orjson.dumps({"ok": healthy, "version": _version(), "commit": ""})
        response = Response(200 if healthy else 503, body, JSON)
        await wire.respond(send, response, head=scope["method"] == "HEAD")

    async def _knows_callers(self) -> bool:
        if self._idp.callers is None:
            return False
        try:
            return (await self._idp.callers.own_node()).state == RUNNING
        except UnavailableError:
            return False


def routes(runtime: IdpRuntime) -> list[Route]:
    """The endpoints that Tailbone has.

    Args:
        runtime: their ports.
    """
    return [
        Route(PATH, IssueEndpoint(runtime), methods=["POST"]),
        Route("/_healthz", HealthEndpoint(runtime)),
    ]


def _is_foreign(scope: Scope, issuer: str) -> bool:
    """Whether a page asks that is not ours: a name can be made to lead here by whoever owns it."""
    own = urlsplit(issuer)
    return any(
        value != f"{own.scheme}://{own.netloc}".encode() for value in headers.values(scope["headers"], b"origin")
    )


@lru_cache(maxsize=1)
def _version() -> str:
    return metadata.version("tailseal")
