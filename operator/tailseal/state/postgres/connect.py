"""Connects to PostgreSQL: at an address that was checked, encrypted as the URL says, never waiting for long."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from tailseal.state.url import DatabaseURL

if TYPE_CHECKING:
    from asyncpg import Connection

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""The addresses of a host, all of which may be connected to; raises `OSError` where there is none."""

CONNECT_SECONDS: Final = 1.0


class Connector:
    """Makes connections for a pool.

    Args:
        url: of the database.
        authorities: PEM certificates that its own is checked with; empty: the system's.
        resolve: finds and checks addresses.

    Raises:
        ssl.SSLError: the authorities cannot be read.
    """

    def __init__(self, url: DatabaseURL, authorities: str, resolve: Resolve) -> None:
        self._url, self._resolve = url, resolve
        self._tls = None if url.sslmode == "disable" else _context(url, authorities)

    async def __call__(self, *_dsn: object, **options: Any) -> Connection:  # noqa: ANN401 - the pool's own
        """A connection to the first of the host's addresses that answers.

        Raises:
            OSError: none does.
            TimeoutError: not in time.
        """
        import asyncpg  # noqa: PLC0415 - loaded where a database is used

        failure: Exception = OSError("the host has no address")
        for address in await self._resolve(self._url.host):
            try:
                connection: Connection = await asyncpg.connect(
                    host=address,
                    port=self._url.port,
                    user=self._url.user,
                    password=self._url.password,
                    database=self._url.database,
                    ssl=self._tls or False,
                    timeout=CONNECT_SECONDS,
                    target_session_attrs="any",
                    server_settings={"application_name": "tailseal"},
                    **options,
                )
            except (OSError, TimeoutError) as error:
                failure = error
            else:
                return connection
        raise failure


class _Named(ssl.SSLContext):
    """Checks the certificate for the name in the URL, although an address is what is connected to."""

    name: str

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:  # noqa: ANN401 - as the standard library's
        options["server_hostname"] = self.name
        return super().wrap_bio(*args, **options)


def _context(url: DatabaseURL, authorities: str) -> ssl.SSLContext:
    context = _Named(ssl.PROTOCOL_TLS_CLIENT)
    context.name = url.host
    context.check_hostname = url.sslmode == "verify-full"
    if url.sslmode == "require":
        context.verify_mode = ssl.CERT_NONE
    elif authorities:
        context.load_verify_locations(cadata=authorities)
    else:
        context.load_default_certs()
    return context
