"""Limits what clients leave with us before anybody has logged in to them: the store is everybody's, and has an end.

A public client's id is known to all, and people make clients for themselves: these are limited by where they come from.
All others are limited by their namespace.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from tailseal.oauth.errors import limited
from tailseal.workers.common.limits.bucket import Limiter
from tailseal.workers.common.limits.exchange import source

if TYPE_CHECKING:
    from tailseal.domain.clients.compile import CompiledClient
    from tailseal.workers.idp.endpoint import Request

_SOURCES: Final = 16_384


class Anonymous:
    """What one source may leave with us in the name of public clients; the clients of a namespace twice as much.

    Args:
        rate: a second.
        burst: at once.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._sources = Limiter(rate, burst, _SOURCES)
        self._namespaces = Limiter(2 * rate, 2 * burst, _SOURCES)

    def admit(self, request: Request, client: CompiledClient) -> None:
        """Draw for what is to be kept.

        Raises:
            OAuthError: `temporarily_unavailable`, 429.
        """
        now = monotonic()
        if client.public or client.introduced:
            wait, text = self._sources.take(source(request.peer), now), "clients left too much here from this address"
        else:
            wait, text = self._namespaces.take(client.namespace, now), "clients of this namespace left too much here"
        if wait:
            raise limited(wait, text, "AnonymousLimited")
