"""Who sent a request, asked of the tailnet; without one, nobody can be known."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message

from tailseal.domain.caller import Caller, Known
from tailseal.oauth import admission
from tailseal.oauth.admission import Person
from tailseal.oauth.errors import OAuthError, unavailable
from tailseal.tailnet import headers
from tailseal.tailnet.errors import NobodyError, Refusal
from tailseal.tailnet.resolve import CallerResolver
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.http.connection import connection_of
from tailseal.workers.common.http.wire import Receive, Scope, Send
from tailseal.workers.idp.context import IdpRuntime

if TYPE_CHECKING:
    from tailseal.workers.idp.endpoint import Request

_ACCEPTED, _NOBODY = "tailseal.accepted", "tailseal.nobody"
_CLOSE = (b"connection", b"close")


async def visitor(runtime: IdpRuntime, request: Request, *resources: str) -> Person:
    """Who sent the request, written down with what of their app capabilities counts for nothing.

    Args:
        runtime: for the tailnet.
        request: of theirs.
        resources: that they ask for, e.g. `client/grafana`.

    Raises:
        OAuthError, NobodyError, UnavailableError: as `person_of`.
    """
    who = await person_of(runtime, request.scope, request.snapshot)
    request.audit.update(subject=who.caller.subject, **who.capabilities.faults(*resources))
    return who


async def person_of(runtime: IdpRuntime, scope: Scope, snapshot: Snapshot) -> Person:
    """Who sent the request, with what they may do here.

    Args:
        runtime: for the tailnet.
        scope: of the request.
        snapshot: whose settings name the capability.

    Raises:
        OAuthError: there is no tailnet, or a browser was led here by another name.
        NobodyError: nobody that the tailnet knows.
        UnavailableError: nobody can say.
    """
    if headers.values(scope["headers"], b"tailscale-funnel-request"):
        raise NobodyError(Refusal.FUNNEL)
    if _is_foreign(scope, snapshot.settings.issuer):
        text = "this answers at the address of the provider alone: open it by that"
        raise OAuthError("access_denied", text, status=401, reason="ForeignHost")
    if runtime.callers is None:
        text = "this provider is part of no tailnet, so nobody who calls can be known, and nobody can log in here"
        raise OAuthError("access_denied", text, status=401, reason="NoTailnet")
    try:
        caller = await runtime.callers.caller(await _accepted(runtime.callers, scope), scope["headers"])
    except NobodyError:
        connection_of(scope).kept[_NOBODY] = True
        raise
    return admission.person(caller, snapshot.settings.capability)


def parting(app: ASGIApp) -> ASGIApp:
    """The application, where a connection stands for who opened it: one that is nobody's closes with its answer.

    The node may be another's by now, or known a moment later: who comes again comes by a new one, and is asked about.
    """

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        async def said(message: Message) -> None:
            if message["type"] == "http.response.start" and _NOBODY in connection_of(scope).kept:
                message = {**message, "headers": [*message["headers"], _CLOSE]}
            await send(message)

        await app(scope, receive, said)

    return run


def _is_foreign(scope: Scope, issuer: str) -> bool:
    """Whether a page of another site may ask: over plain http no certificate keeps its name from leading here."""
    own = urlsplit(issuer)
    return own.scheme == "http" and headers.values(scope["headers"], b"host") != [own.netloc.encode()]


async def person_again(runtime: IdpRuntime, known: Known, snapshot: Snapshot) -> Person:
    """Who it is by now that something was given to.

    Raises:
        OAuthError: there is no tailnet to ask, which may pass.
        NobodyError: they are gone, or another.
        UnavailableError: nobody can say.
    """
    if runtime.callers is None:
        raise unavailable("NoTailnet")
    return admission.person(await runtime.callers.again(known), snapshot.settings.capability)


def source_of(scope: Scope) -> str:
    """The address that a request comes from, for limits and never as a proof.

    Behind serve, or where a node forwards connections to us, the socket's own peer is the same for everybody.
    """
    known: Caller | None = connection_of(scope).kept.get(_ACCEPTED)
    if known is not None:
        return str(known.node.addresses[0])
    client = scope.get("client")
    if client:
        return str(client[0])
    try:
        return str(headers.serve_peer(scope["headers"]))  # a unix socket, which serve alone writes to
    except NobodyError:
        return ""


async def _accepted(callers: CallerResolver, scope: Scope) -> Caller | None:
    """Asked once a connection: what belongs to one is kept with it, because a port soon belongs to another."""
    connection = connection_of(scope)
    if _ACCEPTED not in connection.kept:
        host, port = scope.get("client") or ("", 0)
        connection.kept[_ACCEPTED] = await callers.accepted(host, port, connection.is_over)
    accepted: Caller | None = connection.kept[_ACCEPTED]
    return accepted
