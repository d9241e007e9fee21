"""Connects only to addresses that were checked: the name is resolved once, and what was checked is what is used."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Final

import httpcore

from tailseal.egress.errors import EgressError, EgressReason
from tailseal.egress.guard import Address, Opened, check_address

LOOKUPS: Final = 32
"""Lookups at once, for each client."""

Resolve = Callable[[str], Awaitable[tuple[Address, ...]]]
"""All addresses of a host name."""


class Resolver:
    """Asks the system, in threads of its own.

    A lookup that hangs cannot be given up, and event loops share a handful of threads among all of them (uvloop: four):
    a few names whose servers never answer would keep everybody from finding anything.

    Args:
        threads: lookups at once.
    """

    def __init__(self, threads: int = LOOKUPS) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolve")

    async def __call__(self, host: str) -> tuple[Address, ...]:
        """All addresses.

        Raises:
            EgressError: `HostNotFound`.
        """
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, _lookup, host)
        except (OSError, UnicodeError):
            raise EgressError(EgressReason.UNRESOLVED, f"{host} has no address") from None
        return tuple(dict.fromkeys(ip_address(address) for address in found))

    def close(self) -> None:
        """Begin no more lookups."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _lookup(host: str) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


class PinnedNetwork(httpcore.AsyncNetworkBackend):
    """Resolves, checks every address, and connects to one of those; the pool above still knows the host by name.

    Args:
        opened: what may be reached beyond the public internet.
        resolve: how names are resolved.
        inner: who opens the connection to an address.
    """

    def __init__(self, opened: Opened, resolve: Resolve, inner: httpcore.AsyncNetworkBackend | None = None) -> None:
        self._opened, self._resolve = opened, resolve
        self._inner = inner or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first checked address that answers."""
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in await self._checked(host):
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or EgressError(EgressReason.UNRESOLVED, f"{host} has no address")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109, ARG002 - httpcore's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Refused: no URL leads to a socket of this machine."""
        raise EgressError(EgressReason.ADDRESS_REFUSED, f"{path} is not a host")

    async def sleep(self, seconds: float) -> None:
        """Pause between httpcore's own retries."""
        await asyncio.sleep(seconds)

    async def _checked(self, host: str) -> tuple[Address, ...]:
        try:
            addresses: tuple[Address, ...] = (ip_address(host),)
        except ValueError:
            addresses = await self._resolve(host)
        for address in addresses:  # one bad address spoils the name: nobody needs a mixed answer
            check_address(host, address, self._opened)
        return addresses
