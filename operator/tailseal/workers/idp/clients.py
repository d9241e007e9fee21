"""`GET /clients/` and `/clients/{id}`: what clients there are, for administrators to look at. Manifests change them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from tailseal.oauth.errors import OAuthError
from tailseal.tokens.answers import JSON, Response
from tailseal.workers.idp.callers import visitor
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Endpoint, Kind, Request

if TYPE_CHECKING:
    from tailseal.domain.clients.compile import CompiledClient


def endpoint(runtime: IdpRuntime) -> Endpoint:
    """Both."""

    async def act(request: Request) -> Response:
        person = await visitor(runtime, request)
        if not person.capabilities.allow("admin", "*"):
            text = "an app capability of the tailnet has to let you see clients"
            raise OAuthError("access_denied", text, status=403, reason="AdminNotAllowed")
        client_id = str(request.scope.get("path_params", {}).get("client_id", ""))
        if not client_id:
            known = request.snapshot.clients
            return Response(200, orjson.dumps([_shown(known[each]) for each in sorted(known)]), JSON)
        found = await runtime.find_client(client_id)
        if found is None:
            raise OAuthError("not_found", "there is no such client", status=404)
        return Response(200, orjson.dumps(_shown(found)), JSON)

    return Endpoint(runtime, Kind("clients", methods=frozenset({"GET", "HEAD"})), act)


def _shown(client: CompiledClient) -> Mapping[str, Any]:
    """Everything but secrets, and what stands for them."""
    allowed = client.allow
    return {
        "client_id": client.client_id,
        "namespace": client.namespace,
        "name": client.name,
        "introduced": client.introduced or "object",
        "public": client.public,
        "token_endpoint_auth_methods": client.auth_methods,
        "redirect_uris": client.redirect_uris,
        "post_logout_redirect_uris": client.post_logout_redirect_uris,
        "backchannel_logout_uri": client.backchannel_logout_uri,
        "grant_types": sorted(client.grant_types),
        "scope": " ".join(sorted(client.scopes)),
        "audiences": sorted(client.audiences),
        "resources": sorted(client.resources),
        "allow": "capability login" if allowed is None else "rules of the client",
    }
