"""The client that a request comes from, where it proves who it is: for the exchange and all that clients ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from tailseal.domain.clients.compile import CompiledClient
from tailseal.oauth import clientauth, errors
from tailseal.oauth.clientauth import Presented
from tailseal.oauth.errors import OAuthError, unavailable
from tailseal.state.protocol import StateUnavailable
from tailseal.tokens import form as forms
from tailseal.tokens.answers import Refusal
from tailseal.tokens.keyset import KeySet
from tailseal.tokens.once import OnceKey
from tailseal.tokens.outcomes import Answered, Call, turned_away
from tailseal.tokens.refusals import Outage
from tailseal.tokens.request import CREDENTIALS, GRANT_TYPE, REPEATABLE
from tailseal.workers.common.outbound.keycache import KeysUnavailable
from tailseal.workers.common.runtime import Runtime

Find = Callable[[str], Awaitable[CompiledClient | None]]
"""Finds a client by its id."""

Queue = Callable[[], AbstractContextManager[bool]]
"""Gives a place to wait for a client's keys; False: there is none."""

_UNREGISTERED: Final = Refusal(
    400, "unauthorized_client", "GrantTypeNotRegistered", "the client is not registered for this grant type"
)

_TOO_MANY: Final = "the namespace has as many used tokens remembered as it may: assertions for a minute take less room"


async def identified(
    runtime: Runtime, find: Find, call: Call, authorization: str | None, queue: Queue
) -> Call | Answered:
    """The exchange's request with the client that it comes from, or why it is none of a client's.

    Args:
        runtime: the worker's ports.
        find: finds a client.
        call: the request, which brings something that only a client has.
        authorization: its header of that name.
        queue: where to wait for its keys.
    """
    snapshot = runtime.current()
    try:
        if snapshot is None:
            raise unavailable(Outage.NO_BUNDLE)
        fields = forms.parse(call.body, REPEATABLE)
        if authorization is None and CREDENTIALS.isdisjoint(fields):
            return call
        shown = clientauth.presented(authorization, fields)
        client = await proven(runtime, find, shown, snapshot.settings.token_endpoint, queue)
    except forms.FormError:
        return call  # and refused for it, as from everybody
    except OAuthError as error:
        return turned_away(call, error.refusal, runtime.clock())
    if GRANT_TYPE not in client.grant_types:
        return turned_away(call, _UNREGISTERED, runtime.clock())
    return call._replace(client=client.client_id)


def _anywhere() -> AbstractContextManager[bool]:
    return nullcontext(enter_result=True)


async def proven(
    runtime: Runtime, find: Find, shown: Presented, endpoint: str, queue: Queue = _anywhere
) -> CompiledClient:
    """The client, which has proven that it is.

    Args:
        runtime: the worker's ports.
        find: finds a client.
        shown: what the request brought.
        endpoint: URL that was called.
        queue: where to wait for its keys.

    Raises:
        OAuthError: `invalid_client`, or `temporarily_unavailable` where nobody can say.
    """
    snapshot = runtime.current()
    if snapshot is None:
        raise unavailable(Outage.NO_BUNDLE)
    client = await find(shown.client_id)
    marks = clientauth.authenticate(
        shown,
        client,
        settings=snapshot.settings,
        endpoint=endpoint,
        keys=await _keys(runtime, client, shown, queue),
        now=runtime.clock(),
    )
    if client is None:  # pragma: no cover - authenticate has refused it
        raise clientauth.refused(shown)
    for mark in marks:
        await _claim(runtime, client, shown, mark)
    return client


async def _keys(runtime: Runtime, client: CompiledClient | None, shown: Presented, queue: Queue) -> KeySet | None:
    source = clientauth.key_source(client) if client is not None and shown.assertion is not None else None
    if source is None or shown.assertion is None:
        return None
    known = runtime.keys.get(source, shown.assertion.kid)
    if known is not None:
        return known
    with queue() as free:
        if not free:  # a namespace's slow keys must not take the places of those who need none
            raise unavailable(Outage.OVERLOADED)
        try:
            await runtime.keys.load(source, shown.assertion.kid)
        except KeysUnavailable as error:
            raise unavailable(error.reason) from None
    return runtime.keys.get(source, shown.assertion.kid)


async def _claim(runtime: Runtime, client: CompiledClient, shown: Presented, mark: OnceKey) -> None:
    """Take the assertion's mark, which costs the client's namespace as those of policies do."""
    kept = mark.expires_at - runtime.clock()
    if limited := runtime.limits.mark(client.namespace, kept):
        raise errors.of(limited._replace(description=_TOO_MANY))
    try:
        ours = await runtime.once.claim([mark])
    except StateUnavailable as error:
        raise unavailable(error.fault) from None
    if not ours:
        runtime.limits.unmark(client.namespace, kept)
        raise clientauth.refused(shown)
