"""`POST /introspect` (RFC 7662): tells a token's client, and services that it is for, what it is; others nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth import introspection
from tailseal.oauth.errors import OAuthError
from tailseal.tokens.answers import JSON, NO_STORE, Response
from tailseal.workers.common.http import wire
from tailseal.workers.idp import signing
from tailseal.workers.idp.authenticated import client_of
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Endpoint, Kind, Request
from tailseal.workers.idp.found import Found, find

_WANTED: Final = frozenset({b"accept"})


def endpoint(runtime: IdpRuntime) -> Endpoint:
    """The endpoint."""

    async def act(request: Request) -> Response:
        client = await client_of(runtime, request)
        if client.public:
            text = "a public client proves nothing, so it is told nothing"
            raise OAuthError("invalid_client", text, status=401, reason="PublicClient")
        found = await find(runtime, request.snapshot, request.required("token"))
        if found is not None and not await _is_still(runtime, found):
            found = None
        answer = _answer(found, client)
        request.audit["active"] = answer["active"]
        return await _told(runtime, request, client, answer)

    return Endpoint(runtime, Kind("introspect", funnel=True), act)


async def _is_still(runtime: IdpRuntime, found: Found) -> bool:
    """Whether the client is there that the token was given to; what a policy gave is no client's."""
    client_id = str(found.claims.get("client_id", ""))
    if client_id.startswith("policy:") or "policy" in found.claims:
        return True
    client = await runtime.find_client(client_id)
    return client is not None and (found.family is None or found.family.client == client.uid)


def _answer(found: Found | None, client: CompiledClient) -> Mapping[str, Any]:
    if found is None:
        return introspection.INACTIVE
    theirs = found.family is not None and found.family.client != client.uid  # of an elder client of the same id
    if found.claims.get("client_id") == client.client_id:
        mine = not theirs
    else:
        mine = not found.refreshes and introspection.concerns(client, found.claims)
    if not mine:
        return introspection.INACTIVE
    said = introspection.described(found.claims)
    return {name: value for name, value in said.items() if not (found.refreshes and name == "token_type")}


async def _told(runtime: IdpRuntime, request: Request, client: CompiledClient, answer: Mapping[str, Any]) -> Response:
    """As JSON or, to who asks for it, signed (RFC 9701)."""
    vary = (b"vary", b"Accept")
    if not introspection.wants_jwt(wire.headers(request.scope, _WANTED).get(b"accept", "")):
        return Response(200, orjson.dumps(answer), (*JSON, vary))
    claims = introspection.claims(answer, client, request.snapshot.settings, request.now)
    token = await signing.signed(runtime, request.snapshot, introspection.TYPE, claims)
    kind = (b"content-type", introspection.MEDIA_TYPE.encode())
    return Response(200, token.encode(), (kind, *NO_STORE, vary))
