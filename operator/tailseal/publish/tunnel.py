"""Bytes between a library's connection and a checked address: TLS stays closed, so only their number is bounded."""

from __future__ import annotations

import asyncio
import contextlib
from ipaddress import ip_address
from typing import Final

from tailseal.egress.errors import EgressError, EgressReason
from tailseal.egress.guard import Address, Opened, check_address, check_url
from tailseal.egress.network import Resolve

LARGEST: Final = 1024 * 1024
"""Bytes that may come back on one connection."""

LINGER: Final = 1.0
"""Seconds for which a connection that ends may still flush what was written to it."""

_CHUNK: Final = 64 * 1024


class Guard:
    """Resolves names and refuses those that lead where nobody may be led.

    Args:
        opened: what may be reached beyond the public internet.
        resolve: how names are resolved.
    """

    def __init__(self, opened: Opened, resolve: Resolve) -> None:
        self._opened, self._resolve = opened, resolve

    async def check(self, url: str) -> None:
        """Refuse a URL that may not be asked now.

        Raises:
            EgressError: why.
        """
        await self._addresses(check_url(url, self._opened).host)

    async def connect(self, authority: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a host and port, to an address that was checked.

        Raises:
            EgressError: there is none.
        """
        url = check_url(f"https://{authority}", self._opened)
        for address in await self._addresses(url.host):
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(str(address), url.port or 443)
        raise EgressError(EgressReason.UNREACHABLE, f"{url.host} cannot be reached")

    async def _addresses(self, host: str) -> tuple[Address, ...]:
        try:
            addresses: tuple[Address, ...] = (ip_address(host),)
        except ValueError:
            addresses = await self._resolve(host)
        for address in addresses:
            check_address(host, address, self._opened)
        return addresses


async def splice(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Pass on what either side sends, until the far side ends or has sent too much."""
    try:
        async with asyncio.TaskGroup() as group:
            there = group.create_task(_copy(reader, far[1]))
            await _copy(far[0], writer, LARGEST)
            there.cancel()
    finally:
        await close(far[1])


async def close(writer: asyncio.StreamWriter) -> None:
    """End a connection, whatever its state: what the other side does not take soon is thrown away."""
    writer.close()
    try:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(LINGER):
                await writer.wait_closed()
    finally:
        writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int | None = None) -> None:
    passed = 0
    while chunk := await reader.read(_CHUNK):
        passed += len(chunk)
        if most is not None and passed > most:
            return
        writer.write(chunk)
        await writer.drain()
