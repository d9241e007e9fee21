"""`POST /revoke` (RFC 7009): a client gives back a token of its own."""

from __future__ import annotations

from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth import introspection
from tailseal.oauth.errors import OAuthError
from tailseal.state.grants import Kind as Kept
from tailseal.state.grants import Record
from tailseal.tokens.answers import NO_STORE, Response
from tailseal.workers.common.limits.exchange import source
from tailseal.workers.idp.authenticated import client_of
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Endpoint, Kind, Request
from tailseal.workers.idp.found import Found, find


def endpoint(runtime: IdpRuntime) -> Endpoint:
    """The endpoint."""

    async def act(request: Request) -> Response:
        client = await client_of(runtime, request)
        found = await find(runtime, request.snapshot, request.required("token"))
        if found is not None:
            _check(found, client)
            if not found.refreshes and found.record is None:
                runtime.room.take("revoked", source(request.peer) if client.public else client.uid)
            await _revoke(runtime, found)
            request.audit["revoked"] = "refresh" if found.refreshes else "access"
        return Response(200, b"", NO_STORE)  # of one that is over, or never was, there is nothing else to say

    return Endpoint(runtime, Kind("revoke", cors=True, funnel=True), act)


def _check(found: Found, client: CompiledClient) -> None:
    same = found.claims.get("client_id") == client.client_id
    if not same or (found.family is not None and found.family.client != client.uid):
        raise OAuthError("invalid_request", "the token is not one of this client's", reason="TokenOfAnotherClient")


async def _revoke(runtime: IdpRuntime, found: Found) -> None:
    """A refresh token ends whatever came of the same login (section 2.1); an access token only itself."""
    if found.refreshes and found.family is not None:
        await runtime.grants.end(found.family.id)
    elif found.record is not None:
        await runtime.grants.remove(Kept.ACCESS, found.record.digest)
    else:
        until = float(found.claims["exp"])
        await runtime.grants.put([Record(Kept.REVOKED, introspection.mark_of(found.claims), b"", until)])
