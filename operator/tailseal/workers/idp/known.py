"""Finds clients wherever they are from: an object, a registration of their own, or a document at a URL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from ipaddress import ip_network
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

import structlog

from tailseal.oauth.errors import OAuthError, unavailable
from tailseal.state.grants import Grants, Kind
from tailseal.workers.common.bundle.snapshot import Snapshot

if TYPE_CHECKING:
    from tailseal.domain.clients.compile import CompiledClient
    from tailseal.egress.client import Egress

MOST: Final = 1000
"""Documents that are kept; the one that expires first leaves for another."""

AT_ONCE: Final = 8
"""Documents that are fetched at the same time; more are turned away."""

PAUSE: Final = 30.0
"""Seconds for which a document that was no client's is not asked for again."""

_OK: Final = 200

_log = structlog.get_logger(__name__)


class _Kept(NamedTuple):
    client: CompiledClient | None
    until: float


class KnownClients:
    """Says who a client is.

    Args:
        current: the last good snapshot.
        grants: where registrations are kept.
        egress: gives the guarded client.
        clock: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        current: Callable[[], Snapshot | None],
        grants: Grants,
        egress: Callable[[], Awaitable[Egress]],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._current, self._grants, self._egress, self._clock = current, grants, egress, clock
        self._documents: dict[str, _Kept] = {}
        self._fetching: dict[str, asyncio.Task[_Kept]] = {}

    async def __call__(self, client_id: str) -> CompiledClient | None:
        """The client of an id; None: there is none.

        Raises:
            OAuthError: `temporarily_unavailable`: too many documents are being fetched.
            StateUnavailable: nobody can say whether it has registered.
        """
        snapshot = self._current()
        if snapshot is None:
            return None
        if (found := snapshot.clients.get(client_id)) is not None:
            return found
        introduced = await self._introduced(client_id, snapshot)
        if introduced is None:
            return None
        opened = snapshot.settings.open_hosts
        return replace(
            introduced,
            audiences=services(snapshot),
            jwks_uri=_public(introduced.jwks_uri, opened),
            backchannel_logout_uri=_public(introduced.backchannel_logout_uri, opened),
        )

    async def _introduced(self, client_id: str, snapshot: Snapshot) -> CompiledClient | None:
        from tailseal.oauth import clientmetadata, credentials, registration  # noqa: PLC0415 - only where it is on

        ways = snapshot.settings.introductions
        if ways.dynamic and client_id.startswith(registration.PREFIX):
            record = await self._grants.get(Kind.REGISTERED, credentials.digest(client_id))
            return registration.client_of(registration.Registered.from_bytes(record.content)) if record else None
        if clientmetadata.is_one(client_id, ways.metadata_hosts):
            return await self._document(client_id)
        return None

    async def _document(self, url: str) -> CompiledClient | None:
        kept = self._documents.get(url)
        if kept is not None and self._clock() < kept.until:
            return kept.client
        task = self._fetching.get(url)
        if task is None:
            if len(self._fetching) >= AT_ONCE:
                raise unavailable("ClientMetadataBusy")
            task = self._fetching[url] = asyncio.create_task(self._fetch(url))
            task.add_done_callback(lambda _: self._fetching.pop(url, None))
        return (await asyncio.shield(task)).client

    async def _fetch(self, url: str) -> _Kept:
        """What is at the URL; a document that cannot be had, or is no client's, is none for a while."""
        from tailseal.egress.errors import EgressError  # noqa: PLC0415 - httpx is imported when first needed
        from tailseal.oauth import clientmetadata  # noqa: PLC0415

        try:
            answer = await (await self._egress()).get(url)
            # Whatever is there beside a document is no JSON object.
            client = clientmetadata.read(url, answer.body if answer.status == _OK else b"")
            kept = _Kept(client, self._clock() + clientmetadata.seconds(answer.headers))
        except (EgressError, OAuthError) as error:
            _log.warning("no client at the URL", url=url, why=str(error))
            kept = _Kept(None, self._clock() + PAUSE)
        if len(self._documents) >= MOST:
            del self._documents[min(self._documents, key=lambda known: self._documents[known].until)]
        self._documents[url] = kept
        return kept


def _public(url: str, opened: Sequence[str]) -> str:
    """The URL, if it leads to the public internet; what the platform opened beside that is for those whom it admitted.

    Where a whole range of addresses is open, any name may lead there.
    """
    host = (urlsplit(url).hostname or "").rstrip(".")
    if any(_is_range(entry) or entry.lower().rstrip(".") == host for entry in opened):
        return ""
    return url


def _is_range(entry: str) -> bool:
    try:
        ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False
    return True


def services(snapshot: Snapshot) -> frozenset[str]:
    """What tokens of clients that introduced themselves may be for: services that objects name as theirs."""
    return frozenset[str]().union(*(client.resources for client in snapshot.clients.values()))
