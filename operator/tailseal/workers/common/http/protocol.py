"""uvicorn's HTTP protocol with an end to its patience: no stranger holds memory, or a place, for as long as he likes.

uvicorn itself waits for ever for a request's head of any size, and for ever for an answer to be taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Literal

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from tailseal.workers.common.http import connection

MAX_HEAD_BYTES: Final = 32_768
"""Bytes of request line and headers, or of what follows a chunked body; no honest client comes near."""

HEAD_SECONDS: Final = 10.0
"""How long a connection may take to bring the head of its next request, from its first byte or from connecting."""

HURRY_SECONDS: Final = 1.0
"""How long where half of the places are taken; an idle connection is then not kept at all."""

LAST_SECONDS: Final = 2.0
"""How long whoever connected before the port was closed may still take for his first request."""

TAKE_SECONDS: Final = 10.0
"""How long a caller may leave an answer untaken, with the buffers full or the connection closing."""

_TOO_LARGE: Final = (
    STATUS_LINE[431] + b"content-type: text/plain\r\ncontent-length: 16\r\nconnection: close\r\n\r\nhead too large\r\n"
)


Refusal = Literal["malformed", "tooLarge", "crowded"]
"""Why a request got no further than its head."""


class Protocol(HttpToolsProtocol):
    """One connection.

    Args:
        refused: told of each request that is refused here; anybody can cause as many as he likes, so none is logged.
        ending: whether callers are to go elsewhere: each connection is closed with its next answer.
        rest: as uvicorn has it.
    """

    _unclaimed = 0
    """Bytes that were read and are no body, since the last head or body ended."""
    _patience: asyncio.TimerHandle | None = None
    _untaken: asyncio.TimerHandle | None = None

    def __init__(
        self,
        *,
        refused: Callable[[Refusal], None],
        ending: Callable[[], bool] = lambda: False,
        **rest: Any,  # noqa: ANN401 - as uvicorn has it
    ) -> None:
        self._connection = connection.Connection()
        # uvicorn copies this for each request: what stands below stays that of the connection.
        super().__init__(**rest, app_state={connection.STATE: self._connection})
        self._refused, self._ending = refused, ending
        self._accepted_at = self.loop.time()

    @property
    def is_coming(self) -> bool:
        """Whether it was accepted a moment ago and still shakes hands; nobody says of one that failed at that."""
        transport: asyncio.Transport | None = self.transport  # None until then, whatever uvicorn annotates
        return transport is None and self.loop.time() - self._accepted_at < LAST_SECONDS

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as uvicorn has it
        """Wait for the first head."""
        self._connection.made(transport)
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget all timers; who still asks about it learns that it is over."""
        self._connection.lost()
        self._cease(self._patience)
        self._cease(self._untaken)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, unless what came is a head without end; whatever comes between requests begins the next one."""
        self._unclaimed += len(data)
        super().data_received(data)
        if self._patience is None and self._is_between():  # most heads come in one piece and need no timer
            self._await_head()
        if self._unclaimed > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refused("tooLarge")
            if self._is_between():
                self.transport.write(_TOO_LARGE)
            self._close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refused("malformed")
        super().send_400_response(msg)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._unclaimed = 0
        self._cease(self._patience)
        self._patience = None
        if self._is_full():
            self._refused("crowded")
        super().on_headers_complete()
        if self._is_crowded() or self._ending():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """What came is body, of which the application reads no more than it wants."""
        self._unclaimed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Nothing of this request is left."""
        self._unclaimed = 0
        super().on_message_complete()

    def shutdown(self) -> None:
        """The port is closed: an idle connection goes, but one whose first request is on its way may bring it."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first, whatever uvicorn annotates
        if cycle is not None:
            super().shutdown()
        else:
            self._cease(self._patience)
            self._patience = self.loop.call_later(LAST_SECONDS, self._close)

    def pause_writing(self) -> None:
        """The buffers are full: the caller has to take something soon."""
        super().pause_writing()
        self._untaken = self.loop.call_later(TAKE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The caller took something."""
        self._cease(self._untaken)
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, whether its last answer was taken or not."""
        self._close()

    def _is_between(self) -> bool:
        """Whether no request is being answered."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first, whatever uvicorn annotates
        return cycle is None or cycle.response_complete

    def _is_full(self) -> bool:
        """Whether uvicorn answers 503 in place of the application."""
        return self.limit_concurrency is not None and (
            len(self.connections) >= self.limit_concurrency or len(self.tasks) >= self.limit_concurrency
        )

    def _is_crowded(self) -> bool:
        return self.limit_concurrency is not None and 2 * len(self.connections) > self.limit_concurrency

    def _await_head(self) -> None:
        self._patience = self.loop.call_later(HURRY_SECONDS if self._is_crowded() else HEAD_SECONDS, self._close)

    def _close(self) -> None:
        """Close; a caller who takes nothing does not keep the connection."""
        if not self.transport.is_closing():
            self.transport.close()
            self._cease(self._untaken)
            self._untaken = self.loop.call_later(TAKE_SECONDS, self.transport.abort)

    @staticmethod
    def _cease(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()
