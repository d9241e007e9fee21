"""The client that a request comes from: what every endpoint that clients call asks before anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth import clientauth
from tailseal.workers.common.http import wire
from tailseal.workers.common.http.wire import Scope
from tailseal.workers.exchange.clients import proven, unavailable
from tailseal.workers.idp.context import IdpRuntime

__all__ = ["client_of", "unavailable"]

_WANTED: Final = frozenset({b"authorization"})


async def client_of(runtime: IdpRuntime, scope: Scope, form: Mapping[str, Sequence[str]]) -> CompiledClient:
    """The client, which has proven that it is.

    Args:
        runtime: the endpoint's ports.
        scope: of the request.
        form: its parameters.

    Raises:
        OAuthError: `invalid_client`, `invalid_request`, or `temporarily_unavailable` where nobody can say.
    """
    shown = clientauth.presented(wire.headers(scope, _WANTED).get(b"authorization"), form)
    snapshot = runtime.common.current()
    if snapshot is None:
        raise unavailable("NoBundle")
    endpoint = snapshot.settings.issuer.rstrip("/") + scope["path"]
    return await proven(runtime.common, runtime.find_client, shown, endpoint)
