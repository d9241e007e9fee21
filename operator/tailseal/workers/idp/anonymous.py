"""Limits what those leave with us who prove nothing: a public client's id is known to all, and the store has an end."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from tailseal.oauth.errors import OAuthError
from tailseal.workers.common.limits.bucket import Limiter
from tailseal.workers.common.limits.exchange import source

if TYPE_CHECKING:
    from tailseal.domain.clients.compile import CompiledClient
    from tailseal.workers.idp.endpoint import Request

_SOURCES: Final = 16_384


class Anonymous:
    """What one source may leave with us in the name of public clients.

    Args:
        rate: a second.
        burst: at once.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._limiter = Limiter(rate, burst, _SOURCES)

    def admit(self, request: Request, client: CompiledClient) -> None:
        """Draw for what is to be kept.

        Raises:
            OAuthError: `temporarily_unavailable`, 429.
        """
        wait = self._limiter.take(source(request.peer), monotonic()) if client.public else 0.0
        if wait:
            raise OAuthError(
                "temporarily_unavailable",
                "public clients left too much here from this address",
                status=429,
                reason="AnonymousLimited",
                retry_after=int(wait) + 1,
            )
