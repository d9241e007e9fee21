"""The one client for every outbound URL: https, pinned address, no redirects, size and time caps."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

import httpcore
import httpx

from tailseal.egress.errors import EgressError, EgressReason
from tailseal.egress.guard import Opened, check_url
from tailseal.egress.network import PinnedNetwork, Resolve, Resolver

LARGEST_ANSWER: Final = 1024 * 1024
"""Bytes. No content encoding is asked for or accepted: a small answer could unfold to any size."""

PATIENCE: Final = 5.0
"""Seconds for the whole of one request, if nothing else is said."""

CONNECTIONS: Final = 64
"""Kept open per client: as many as requests run at once, else each burst pays for new handshakes."""

PER_HOST: Final = 8
"""Requests to one host at once: where it is slow, the others wait for their turn, and not everybody for its end."""

_MOST_CLIENTS: Final = 64


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """A complete answer that leads nowhere else.

    Args:
        status: HTTP status.
        headers: names in lower case.
        body: bytes.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True, eq=False)
class _Pool:
    """The connections under one set of trusted certificates."""

    client: httpx.AsyncClient
    requests: int = 0
    """In progress."""
    evicted: bool = False


class Egress:
    """Outbound HTTP for everybody, under the platform's rules.

    Args:
        open_hosts: names and ranges beyond the public internet that may be reached.
        extra_ca: PEM certificates to trust besides the system's.
        resolve: how host names are resolved; None: as the system does.
        per_host: requests to one host at once.
        patience: seconds for the whole of one request; None: `PATIENCE`.
    """

    def __init__(
        self,
        open_hosts: Iterable[str] = (),
        extra_ca: str = "",
        *,
        resolve: Resolve | None = None,
        per_host: int = PER_HOST,
        patience: float | None = None,
    ) -> None:
        self._opened, self._extra_ca = Opened.of(open_hosts), extra_ca
        self._resolver = Resolver()
        self._resolve = resolve or self._resolver
        self._pools: dict[str, _Pool] = {}
        self._patience = PATIENCE if patience is None else patience
        self._per_host, self._turns = per_host, WeakValueDictionary[str, asyncio.Semaphore]()

    async def get(self, url: str, *, ca: str = "", accept: str = "application/json") -> Answer:
        """Fetch a document.

        Args:
            url: where.
            ca: PEM certificates to trust instead of the system's.
            accept: media type.

        Raises:
            EgressError: refused by us, or failed on the way; any HTTP status but a redirect is an answer.
        """
        return await self._send("GET", url, {"accept": accept}, None, ca)

    async def post(self, url: str, body: bytes, *, headers: Mapping[str, str], ca: str = "") -> Answer:
        """Send a body; it and the headers may hold secrets, so nothing of them is ever in an error.

        Raises:
            EgressError: as for `get`.
        """
        return await self._send("POST", url, {"accept": "application/json", **headers}, body, ca)

    async def post_form(
        self, url: str, fields: Mapping[str, str], *, headers: Mapping[str, str] | None = None, ca: str = ""
    ) -> Answer:
        """Send a form; the fields may hold secrets, so nothing of them is ever in an error.

        Raises:
            EgressError: as for `get`.
        """
        return await self._send("POST", url, {"accept": "application/json", **(headers or {})}, dict(fields), ca)

    async def request(self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """Send any request; headers and body may hold secrets, so nothing of them is ever in an error.

        Raises:
            EgressError: as for `get`.
        """
        return await self._send(method, url, headers, body or None, "")

    async def aclose(self) -> None:
        """Close all connections."""
        self._resolver.close()
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.client.aclose()

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], data: dict[str, str] | bytes | None, ca: str
    ) -> Answer:
        target = check_url(url, self._opened)
        try:
            async with asyncio.timeout(self._patience):
                sent = {"accept-encoding": "identity", **headers}
                form, content = (None, data) if isinstance(data, bytes) else (data, None)
                async with (
                    self._turn(target.host),
                    self._client(ca) as client,
                    client.stream(method, target, headers=sent, data=form, content=content) as response,
                ):
                    return await _receive(response)
        except TimeoutError:
            raise EgressError(EgressReason.TIMEOUT, f"{target.host} took longer than {self._patience:g} s") from None
        except (httpcore.ConnectError, httpx.ConnectError) as error:
            raise _connect_error(target.host, error) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, httpx.HTTPError):
            raise EgressError(EgressReason.UNREACHABLE, f"the connection to {target.host} failed") from None

    def _turn(self, host: str) -> asyncio.Semaphore:
        """Of the host; forgotten when nobody holds or awaits it."""
        return self._turns.setdefault(host, asyncio.Semaphore(self._per_host))

    @asynccontextmanager
    async def _client(self, ca: str) -> AsyncIterator[httpx.AsyncClient]:
        """The client that trusts these certificates; once evicted, it is closed after its last request."""
        pool = await self._pool(ca)
        pool.requests += 1
        try:
            yield pool.client
        finally:
            pool.requests -= 1
            await _close_unused(pool)

    async def _pool(self, ca: str) -> _Pool:
        """One per set of trusted certificates: a connection is never shared between different trust."""
        pool = self._pools.pop(ca, None)
        if pool is None:
            context = await asyncio.to_thread(_context, ca, self._extra_ca)
            transport = _Transport(context, PinnedNetwork(self._opened, self._resolve))
            pool = _Pool(httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False))
            if len(self._pools) >= _MOST_CLIENTS:
                former = self._pools.pop(next(iter(self._pools)))
                former.evicted = True
                await _close_unused(former)
        return self._pools.setdefault(ca, pool)  # the last used stands last


async def _close_unused(pool: _Pool) -> None:
    if pool.evicted and not pool.requests:
        await pool.client.aclose()


class _Transport(httpx.AsyncBaseTransport):
    """httpx on a pool of httpcore whose network is ours."""

    def __init__(self, context: ssl.SSLContext, network: PinnedNetwork) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=CONNECTIONS,
            max_keepalive_connections=CONNECTIONS,
            keepalive_expiry=60.0,
            network_backend=network,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request."""
        url = request.url
        response = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
            )
        )
        return httpx.Response(response.status, headers=response.headers, stream=_Stream(response))

    async def aclose(self) -> None:
        """Close the pool."""
        await self._pool.aclose()


class _Stream(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._response.aiter_stream():
            yield part

    async def aclose(self) -> None:
        await self._response.aclose()


async def _receive(response: httpx.Response) -> Answer:
    if response.is_redirect and response.status_code != httpx.codes.NOT_MODIFIED:
        raise EgressError(EgressReason.REDIRECT, f"{response.url.host} answered with a redirect, which is not followed")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise EgressError(EgressReason.ENCODED, f"{response.url.host} answered with a content encoding")
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > LARGEST_ANSWER:
            text = f"{response.url.host} answered with more than {LARGEST_ANSWER} bytes"
            raise EgressError(EgressReason.TOO_LARGE, text)
    return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, bytes(body))


def _context(ca: str, extra_ca: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=ca or None)
        if extra_ca and not ca:
            context.load_verify_locations(cadata=extra_ca)
    except (ssl.SSLError, TypeError):  # the latter where it is not ASCII
        raise EgressError(EgressReason.TLS, "the CA bundle holds no certificates in PEM form") from None
    return context


def _connect_error(host: str, error: Exception) -> EgressError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            reason = getattr(cause, "verify_message", "") or "handshake failed"
            return EgressError(EgressReason.TLS, f"{host} does not prove who it is: {reason}")
        cause = cause.__cause__ or cause.__context__
    return EgressError(EgressReason.UNREACHABLE, f"{host} cannot be reached")
