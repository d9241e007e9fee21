"""The client that a request comes from: what every endpoint that clients call asks before anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth import clientauth
from tailseal.oauth.clientauth import Presented
from tailseal.oauth.errors import OAuthError
from tailseal.state.protocol import StateUnavailable
from tailseal.tokens.keyset import KeySet
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.http import wire
from tailseal.workers.common.http.wire import Scope
from tailseal.workers.common.outbound.keycache import KeysUnavailable
from tailseal.workers.idp.context import IdpRuntime

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
    return await _proven(runtime, snapshot, shown, scope["path"])


def unavailable(reason: str) -> OAuthError:
    """The answer where nothing can be decided now."""
    return OAuthError("temporarily_unavailable", "this cannot be decided now: try again", status=503, reason=reason)


async def _proven(runtime: IdpRuntime, snapshot: Snapshot, shown: Presented, path: str) -> CompiledClient:
    client = await runtime.find_client(shown.client_id)
    endpoint = snapshot.settings.issuer.rstrip("/") + path
    marks = clientauth.authenticate(
        shown,
        client,
        settings=snapshot.settings,
        endpoint=endpoint,
        keys=await _keys(runtime, client, shown),
        now=runtime.common.clock(),
    )
    if marks:
        await _claim(runtime, shown, marks)
    if client is None:  # pragma: no cover - authenticate has refused it
        raise clientauth.refused(shown)
    return client


async def _keys(runtime: IdpRuntime, client: CompiledClient | None, shown: Presented) -> KeySet | None:
    source = clientauth.key_source(client) if client is not None and shown.assertion is not None else None
    if source is None or shown.assertion is None:
        return None
    known = runtime.common.keys.get(source, shown.assertion.kid)
    if known is not None:
        return known
    try:
        await runtime.common.keys.load(source, shown.assertion.kid)
    except KeysUnavailable as error:
        raise unavailable(error.reason) from None
    return runtime.common.keys.get(source, shown.assertion.kid)


async def _claim(runtime: IdpRuntime, shown: Presented, marks: Sequence[tuple[bytes, float]]) -> None:
    try:
        ours = await runtime.common.once.claim(marks)
    except StateUnavailable as error:
        raise unavailable(error.fault) from None
    if not ours:
        raise clientauth.refused(shown)
