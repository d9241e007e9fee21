"""Who sent a request, asked of the tailnet; without one, nobody can be known."""

from __future__ import annotations

from tailseal.domain.caller import Caller, Known
from tailseal.oauth import admission
from tailseal.oauth.admission import Person
from tailseal.oauth.errors import OAuthError
from tailseal.tailnet import headers
from tailseal.tailnet.errors import NobodyError, Refusal
from tailseal.tailnet.resolve import CallerResolver
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.http.wire import Scope
from tailseal.workers.idp.authenticated import unavailable
from tailseal.workers.idp.context import IdpRuntime

_ACCEPTED = "tailseal.accepted"


async def person_of(runtime: IdpRuntime, scope: Scope, snapshot: Snapshot) -> Person:
    """Who sent the request, with what they may do here.

    Args:
        runtime: for the tailnet.
        scope: of the request.
        snapshot: whose settings name the capability.

    Raises:
        OAuthError: there is no tailnet.
        NobodyError: nobody that the tailnet knows.
        UnavailableError: nobody can say.
    """
    if headers.values(scope["headers"], b"tailscale-funnel-request"):
        raise NobodyError(Refusal.FUNNEL)
    if runtime.callers is None:
        text = "this provider is part of no tailnet, so nobody who calls can be known, and nobody can log in here"
        raise OAuthError("access_denied", text, status=401, reason="NoTailnet")
    caller = await runtime.callers.caller(await _accepted(runtime.callers, scope), scope["headers"])
    return admission.person(caller, snapshot.settings.capability)


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


async def _accepted(callers: CallerResolver, scope: Scope) -> Caller | None:
    """Asked once a connection: what belongs to one is kept with it, because a port soon belongs to another."""
    kept = scope.get("state", {}).get("connection", {})
    if _ACCEPTED not in kept:
        host, port = scope.get("client") or ("", 0)
        kept[_ACCEPTED] = await callers.accepted(host, port)
    accepted: Caller | None = kept[_ACCEPTED]
    return accepted
