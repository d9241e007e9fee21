"""Where a database may be: anywhere that the platform's people say, but never at a link-local or metadata address."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

from tailseal.egress.errors import EgressError
from tailseal.egress.guard import Address, Opened, check_address
from tailseal.egress.network import Resolver

_ANYWHERE: Final = Opened.of(("0.0.0.0/0", "::/0"))
"""Whoever may write an IdentityProvider and its Secrets may name a private host: it is no tenant's choice."""

_LOOKUPS: Final = 2


class Addresses:
    """The addresses of a host, or a refusal where one is out of bounds; see `state.postgres.connect.Resolve`."""

    def __init__(self) -> None:
        self._resolve = Resolver(_LOOKUPS)

    async def __call__(self, host: str) -> Sequence[str]:
        """All addresses.

        Raises:
            OSError: there is none, or one may not be connected to.
        """
        try:
            try:
                found: tuple[Address, ...] = (ip_address(host),)
            except ValueError:
                found = await self._resolve(host)
            for address in found:
                check_address(host, address, _ANYWHERE)
        except EgressError as error:
            raise OSError(error.reason) from None
        return [str(address) for address in found]
