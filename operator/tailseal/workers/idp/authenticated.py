"""The client that a request comes from: what every endpoint that clients call asks before anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth import clientauth
from tailseal.workers.common.http import wire
from tailseal.workers.exchange.clients import proven
from tailseal.workers.idp.context import IdpRuntime

if TYPE_CHECKING:
    from tailseal.workers.idp.endpoint import Request

_WANTED: Final = frozenset({b"authorization"})


async def client_of(runtime: IdpRuntime, request: Request) -> CompiledClient:
    """The client, which has proven that it is; the audit line names it.

    Args:
        runtime: the endpoint's ports.
        request: that it comes with.

    Raises:
        OAuthError: `invalid_client`, `invalid_request`, or `temporarily_unavailable` where nobody can say.
    """
    shown = clientauth.presented(wire.headers(request.scope, _WANTED).get(b"authorization"), request.form)
    client = await proven(runtime.common, runtime.find_client, shown, request.url)
    request.audit["client"] = client.client_id
    return client
