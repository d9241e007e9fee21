"""Tells applications that somebody logged out (OpenID Connect Back-Channel Logout): a few times, beside the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import structlog

from tailseal.oauth import credentials, logout
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.records import Login
from tailseal.state.grants import Family
from tailseal.state.protocol import StateUnavailable
from tailseal.workers.idp import signing
from tailseal.workers.idp.context import IdpRuntime
from tailseal.workers.idp.endpoint import Request

if TYPE_CHECKING:
    from tailseal.domain.clients.compile import CompiledClient

AT_ONCE: Final = 8
WAITING: Final = 1000
"""Applications that are told at the same time, and that wait for it; more are not told: the log says so."""

PAUSES: Final = (0.0, 1.0, 5.0)
"""Seconds before each try; all are over long before the token has expired."""

_ID_BYTES: Final = 16
_TAKEN: Final = frozenset({200, 204})
_ASK_AGAIN: Final = frozenset({408, 429, 500, 502, 503, 504})

_log = structlog.get_logger(__name__)


class Backchannel:
    """What is still to be told.

    Args:
        runtime: for the clients and the guarded client.
        pauses: seconds before each try.
    """

    def __init__(self, runtime: IdpRuntime, pauses: Sequence[float] = PAUSES) -> None:
        self._runtime, self._pauses = runtime, pauses
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def tell(self, request: Request, families: Sequence[Family]) -> int:
        """Tell the applications of these logins, each once; the number that will be told.

        Args:
            request: by which somebody logged out.
            families: what has ended, or begun in the session that has.
        """
        told: set[tuple[str, str]] = set()
        for family in families:
            login = Login.from_bytes(family.content)
            if (login.client_id, login.sid) not in told and await self._one(request, family, login):
                told.add((login.client_id, login.sid))
        return len(told)

    async def aclose(self) -> None:
        """Wait for all tries that are under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _one(self, request: Request, family: Family, login: Login) -> bool:
        try:
            client = await self._runtime.find_client(login.client_id)
            if client is None or client.uid != family.client or not client.backchannel_logout_uri:
                return False
            token = await self._token(request, client, login)
        except (OAuthError, StateUnavailable) as error:
            _log.warning("an application is not told of a logout", client=login.client_id, why=type(error).__name__)
            return False
        if len(self._tasks) >= WAITING or self._runtime.egress is None:
            _log.warning("an application is not told of a logout", client=login.client_id, why="too many wait")
            return False
        task = asyncio.create_task(self._deliver(client, token))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _token(self, request: Request, client: CompiledClient, login: Login) -> str:
        claims = logout.token_claims(
            request.snapshot.settings,
            client,
            subject=login.subject,
            sid=login.sid,
            token_id=credentials.handle(self._runtime.random(_ID_BYTES)),
            now=request.now,
        )
        return await signing.signed(self._runtime, request.snapshot, logout.TYPE, claims, client.id_token_algorithm)

    async def _deliver(self, client: CompiledClient, token: str) -> None:
        why = ""
        for pause in self._pauses:
            await asyncio.sleep(pause)
            async with self._turns:
                why, again = await self._try(client.backchannel_logout_uri, token)
            if not why:
                return
            if not again:
                break
        _log.warning("an application did not take the news of a logout", client=client.client_id, why=why)

    async def _try(self, url: str, token: str) -> tuple[str, bool]:
        """Why it was not taken, and whether another try may help; nothing: it was."""
        from tailseal.egress.errors import EgressError  # noqa: PLC0415 - httpx is imported when first needed

        if self._runtime.egress is None:  # pragma: no cover - seen before
            return "no way out", False
        try:
            answer = await (await self._runtime.egress()).post_form(url, {"logout_token": token})
        except EgressError as error:
            return error.reason, True
        return ("" if answer.status in _TAKEN else f"status {answer.status}"), answer.status in _ASK_AGAIN
