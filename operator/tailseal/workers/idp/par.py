"""`POST /par` (RFC 9126): a client leaves an authorization request with us, before a browser comes with it."""

from __future__ import annotations

from typing import Final

import orjson

from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth import authorize, credentials, pushed
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.parameters import REPEATABLE
from tailseal.state.grants import Kind as Kept
from tailseal.tokens.answers import JSON, Response
from tailseal.workers.idp import proof
from tailseal.workers.idp.anonymous import Anonymous
from tailseal.workers.idp.authenticated import client_of
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Endpoint, Kind, Request

RATE: Final = 10.0
BURST: Final = 200
"""Requests that one source may push in the name of public clients: no more than 1,100 of its wait at a time."""


def endpoint(runtime: IdpRuntime) -> Endpoint:
    """The endpoint."""
    anonymous = Anonymous(RATE, BURST)

    async def act(request: Request) -> Response:
        client = await client_of(runtime, request)
        anonymous.admit(request, client)  # before a proof is taken down as used, which takes up room as well
        asked = pushed.parameters(request.form) | {"client_id": [client.client_id]}
        jkt = await proof.proven(runtime, request)  # the code is bound to its key (RFC 9449 section 10.1)
        if jkt and asked.setdefault("dpop_jkt", [jkt]) != [jkt]:
            raise OAuthError("invalid_request", "parameter `dpop_jkt` is not of the key that the proof is by")
        authorize.read(asked, authorize.target(asked, client), request.snapshot.settings)
        handle = credentials.handle(runtime.random(credentials.RANDOM_BYTES))
        await runtime.grants.put([pushed.record(client, asked, handle, request.now)])
        content = {"request_uri": pushed.PREFIX + handle, "expires_in": pushed.SECONDS}
        return Response(201, orjson.dumps(content), JSON)

    return Endpoint(runtime, Kind("par", cors=True, repeatable=REPEATABLE), act)


async def redeemed(runtime: IdpRuntime, client: CompiledClient, request_uri: str) -> dict[str, list[str]]:
    """The request that a client pushed; from now on nobody gets it again.

    Args:
        runtime: for what is kept.
        client: that `client_id` names.
        request_uri: as the browser brought it.

    Raises:
        OAuthError: `invalid_request_uri`.
        StateUnavailable: nobody can say.
    """
    digest = pushed.named(request_uri)
    kept = await runtime.grants.get(Kept.PUSHED, digest)
    request = pushed.redeemed(kept, client)  # before it is used up, so that nobody else can use it up
    taken = await runtime.grants.use(Kept.PUSHED, digest)
    if taken is None or not taken.first:
        return pushed.redeemed(None, client)
    return request
