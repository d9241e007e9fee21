"""`require`: what an endpoint that takes Starlette's request asks of its callers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket

from tailseal.guard.denied import Denied, nobody
from tailseal.guard.middleware import visitor
from tailseal.guard.requirement import Requirement
from tailseal.tailnet import Refusal

_POLICY_VIOLATION: Final = 1008

_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])


def require(
    capability: str, *, action: str, resource: str | Iterable[str], allow_anonymous: bool = False
) -> Callable[[_Endpoint], _Endpoint]:
    """Let in only those who were granted the action on the resource; several of these must all hold.

    The endpoint must take the request (or the web socket), and the application must stand behind a `Guard`.

    Args:
        capability: such as `example.com/cap/app`.
        action: such as `read`.
        resource: such as `items/{id}`, with path parameters by name; several: one grant must cover all of them.
        allow_anonymous: whether those come in whom the tailnet does not know, if the `Guard` lets them. Whom it knows
            must have been granted the action even then.

    Raises:
        ValueError: it makes no sense; says what would be right.
    """
    requirement = Requirement.of(capability, action, resource)

    def decorate(endpoint: _Endpoint) -> _Endpoint:
        guarded: _Endpoint = _guarded(endpoint, requirement, allow_anonymous=allow_anonymous)
        return guarded

    return decorate


def _guarded(endpoint: Any, requirement: Requirement, *, allow_anonymous: bool) -> Any:  # noqa: ANN401 - any endpoint
    if not inspect.iscoroutinefunction(endpoint):

        @functools.wraps(endpoint)
        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            denied = _denial(_connection(args, kwargs), requirement, allow_anonymous=allow_anonymous)
            return endpoint(*args, **kwargs) if denied is None else _response(denied)

        return call

    @functools.wraps(endpoint)
    async def call_async(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        connection = _connection(args, kwargs)
        denied = _denial(connection, requirement, allow_anonymous=allow_anonymous)
        if denied is None:
            return await endpoint(*args, **kwargs)
        if isinstance(connection, WebSocket):
            await connection.close(_POLICY_VIOLATION, denied.reason)
            return None
        return _response(denied)

    return call_async


def _denial(connection: HTTPConnection, requirement: Requirement, *, allow_anonymous: bool) -> Denied | None:
    found = visitor(connection.scope)
    if found.is_anonymous:
        return None if allow_anonymous else nobody(Refusal.OUTSIDE)
    return requirement.denial(found, connection.path_params)


def _connection(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> HTTPConnection:
    for argument in (*args, *kwargs.values()):
        if isinstance(argument, HTTPConnection):
            return argument
    raise TypeError("a guarded endpoint must take the request, so that the guard can see whose it is")


def _response(denied: Denied) -> Response:
    headers = {name.decode(): value.decode() for name, value in denied.headers}
    return Response(denied.body, denied.status, headers)
