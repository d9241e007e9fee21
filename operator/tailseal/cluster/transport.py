"""How requests reach the API server: `kubernetes.aio` has the credentials and sends; refusals become errors of ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import orjson
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import incluster_config

from tailseal.cluster.errors import ClusterError, Conflict, Forbidden, Gone, Invalid, NoCredentials, NotFound, Transient
from tailseal.cluster.port import Object

TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
_MAX_PROXIED = 262_144
_ERRORS: dict[int, type[ClusterError]] = {
    400: Invalid,
    401: Transient,
    403: Forbidden,
    404: NotFound,
    405: Invalid,
    409: Conflict,
    410: Gone,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: Transient,
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to reach the API server, for the event source, which has a client of its own. Never to be logged."""

    server: str
    ca_path: str | None
    token: str | None
    certificate_path: str | None
    private_key_path: str | None
    insecure: bool
    proxy: str | None


class Transport:
    """Requests to one API server, with the credentials of a kubeconfig or of a pod. An async context manager.

    Args:
        kubeconfig: path of a kubeconfig; empty means in-cluster credentials if there are some, else the default file.
        context: context of the kubeconfig; empty means its current one.
        wrote: called with the HTTP method of every request that could write.
        server: URL of one instance of the API server, instead of the kubeconfig's.
    """

    def __init__(self, kubeconfig: str, context: str, wrote: Callable[[str], None], server: str) -> None:
        self._server = server
        self._kubeconfig = kubeconfig
        self._context = context
        self._wrote = wrote
        self._client: ApiClient | None = None

    async def __aenter__(self) -> Self:
        self._client = ApiClient(await self._load())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()  # type: ignore[no-untyped-call]
            self._client = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Object | bytes | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        timeout: aiohttp.ClientTimeout = TIMEOUT,  # noqa: ASYNC109 - the transport's own, with a connect part
    ) -> bytes:
        """The answer of the API server, read whole.

        Args:
            method: of HTTP.
            path: from the server's root.
            body: JSON, or bytes to be handed on as they are, whose answer may have 256 KiB at most.
            query: parameters.
            content_type: of the body.
            timeout: for all of it.

        Raises:
            ClusterError: which one says what became of it.
        """
        client = self._client
        if client is None:
            raise Transient("not connected to the API server")
        if method != "GET" and "dryRun" not in (query or {}):
            self._wrote(method)
        try:
            serialized = await client.param_serialize(
                method,
                path,
                query_params=dict(query or {}),
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = (await client.call_api(*serialized, _request_timeout=timeout)).response
            async with response:
                content = await _read(response, _MAX_PROXIED if isinstance(body, bytes) else 0)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Transient(f"{method} {path}: {type(error).__name__}") from error
        if response.status == 401:  # noqa: PLR2004 - HTTP's own number
            await self._reconnect()
        if not 200 <= response.status < 300:  # noqa: PLR2004
            raise _error(response, content, f"{method} {path}", quoting="/secrets" not in path)
        return content

    async def credentials(self) -> Credentials:
        """Fresh credentials for another client: exec plugins and token files are asked anew.

        Raises:
            NoCredentials: there are none, or they cannot be read.
        """
        configuration = await self._load()
        key = await configuration.get_api_key_with_prefix("BearerToken")
        return Credentials(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            token=key.partition(" ")[2].strip() if key else None,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            insecure=not configuration.verify_ssl,
            proxy=configuration.proxy,
        )

    async def status_of(self, token: str) -> int:
        """The HTTP status with which the API server answers a request that carries this bearer token and nothing else.

        Raises:
            Transient: it does not answer.
        """
        configuration = await self._load()
        configuration.cert_file = configuration.key_file = configuration.refresh_api_key_hook = None
        configuration.api_key = {"BearerToken": f"Bearer {token}"}
        client = ApiClient(configuration)
        try:
            serialized = await client.param_serialize("GET", "/version", auth_settings=["BearerToken"])
            response = (await client.call_api(*serialized, _request_timeout=TIMEOUT)).response
            async with response:
                return int(response.status)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Transient(f"GET /version: {type(error).__name__}") from error
        finally:
            await client.close()  # type: ignore[no-untyped-call]

    async def _load(self) -> Configuration:
        configuration = Configuration(retries=0, trace_configs=[_leading_nowhere()])
        try:
            if not (self._kubeconfig or self._context) and _in_cluster():
                incluster_config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            else:
                await kube_config.load_kube_config(  # type: ignore[no-untyped-call]
                    self._kubeconfig or None, self._context or None, configuration, persist_config=False
                )
        except (kube_config.ConfigException, OSError) as error:
            raise NoCredentials(f"no credentials for a cluster: {error}") from error
        if self._server:
            configuration.host = self._server
        return configuration

    async def _reconnect(self) -> None:
        """Ask for credentials anew after they were refused: the next request uses them."""
        former, self._client = self._client, ApiClient(await self._load())
        if former is not None:
            await former.close()  # type: ignore[no-untyped-call]


class _Redirected(aiohttp.ClientError): ...


def _leading_nowhere() -> aiohttp.TraceConfig:
    """Ends a request that is redirected: a pod behind the API server's proxy could send it anywhere, by our rights."""
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse_redirect)
    return trace


async def _refuse_redirect(
    _session: aiohttp.ClientSession, _context: object, met: aiohttp.TraceRequestRedirectParams
) -> None:
    met.response.close()
    raise _Redirected


def _in_cluster() -> bool:
    token = Path(incluster_config.SERVICE_TOKEN_FILENAME)
    return bool(os.environ.get(incluster_config.SERVICE_HOST_ENV_NAME)) and token.is_file()


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    if not limit:
        return await response.read()
    content = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        content += chunk
        if len(content) > limit:
            raise Transient(f"the answer is larger than {limit} bytes")
    return bytes(content)


def _error(response: aiohttp.ClientResponse, content: bytes, request: str, *, quoting: bool) -> ClusterError:
    """The error of an answer; a Secret's is not quoted, as the server's text may repeat its values."""
    kind = _ERRORS.get(response.status, Transient if response.status >= 500 else Invalid)  # noqa: PLR2004
    try:
        status = orjson.loads(content)
        reason, message = str(status.get("reason", "")), str(status.get("message", ""))
    except (orjson.JSONDecodeError, AttributeError):
        reason, message = "", ""
    said = f": {message[:500]}" if quoting and message else ""
    wait = response.headers.get("Retry-After", "")
    text = f"{request}: {response.status} {reason}{said}"
    return kind(text, retry_after=float(wait) if wait.isdigit() else None)
