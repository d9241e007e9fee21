"""Gets the keys of a foreign issuer for the key cache: by discovery, from a URL, or out of the policy itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import orjson

from tailseal.domain.policy.source import KeySource
from tailseal.tokens.errors import KeySetError
from tailseal.tokens.keyset import KeySet, parse_jwks
from tailseal.workers.common.outbound.keycache import KeysUnavailable

if TYPE_CHECKING:
    from tailseal.egress.client import Egress

_OK: Final = 200


class KeyFetcher:
    """Fetches through the guarded client, which is imported when it is first needed.

    Args:
        egress: gives the client under the present settings.
    """

    def __init__(self, egress: Callable[[], Awaitable[Egress]]) -> None:
        self._egress = egress

    async def __call__(self, source: KeySource) -> KeySet:
        """The source's keys.

        Raises:
            KeysUnavailable: unreachable, malformed, or of another issuer.
        """
        if source.kind == "session":  # the exchange has them, and nobody else may stand in for us
            raise KeysUnavailable("KeysUnreachable", "our own keys are never fetched")
        if source.kind == "jwks":
            return _parsed(source, source.jwks.encode())
        location = await self._discover(source) if source.kind == "discovery" else source.location
        return _parsed(source, await self._get(source, location))

    async def _discover(self, source: KeySource) -> str:
        """`jwks_uri` of the discovery document (OpenID Connect Discovery 1.0 section 4.3)."""
        try:
            document = orjson.loads(await self._get(source, source.location))
            issuer, location = document["issuer"], document["jwks_uri"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise KeysUnavailable("DiscoveryMalformed", f"{source.location} is no discovery document") from None
        if issuer != source.issuer:
            text = f"{source.location} is the discovery document of another issuer than {source.issuer}"
            raise KeysUnavailable("DiscoveryMismatch", text)
        if not isinstance(location, str):
            raise KeysUnavailable("DiscoveryMalformed", f"{source.location}: jwks_uri is not a text")
        return location

    async def _get(self, source: KeySource, url: str) -> bytes:
        from tailseal.egress.errors import EgressError  # noqa: PLC0415 - httpx is imported when first needed

        try:
            answer = await (await self._egress()).get(url, ca=source.ca_bundle)
        except EgressError as error:
            raise KeysUnavailable("KeysUnreachable", f"keys of {source.issuer}: {error.reason}: {error}") from None
        if answer.status != _OK:
            text = f"keys of {source.issuer}: {url} answered with status {answer.status}"
            raise KeysUnavailable("KeysUnreachable", text)
        return answer.body


def _parsed(source: KeySource, document: bytes) -> KeySet:
    try:
        return parse_jwks(document)
    except KeySetError as error:
        raise KeysUnavailable("KeysMalformed", f"keys of {source.issuer}: {error}") from None
