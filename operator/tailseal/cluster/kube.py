"""The one real adapter of the cluster port: `kubernetes.aio` as transport for plain dicts, no models, no caches."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import orjson
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import incluster_config

from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError, Conflict, Forbidden, Gone, Invalid, NotFound, Transient
from tailseal.cluster.port import Kind, Object, Ref
from tailseal.cluster.undeclared import declared

PAGE = 500
LARGE_PAGE = 25
"""Of kinds whose objects can have a megabyte each."""
TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
LIST_TIMEOUT = aiohttp.ClientTimeout(total=60, connect=10)
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
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


class KubeCluster:
    """Implements `tailseal.cluster.port.Cluster` on a real API server. An async context manager, bound to its loop.

    Args:
        kubeconfig: path of a kubeconfig; empty means in-cluster credentials if there are some, else the default file.
        context: context of the kubeconfig; empty means its current one.
        dry_run: let the server check and admit every write, but store none.
        wrote: called with the HTTP method of every request that could write.
        server: URL of one instance of the API server, instead of the kubeconfig's.
    """

    def __init__(
        self,
        *,
        kubeconfig: str = "",
        context: str = "",
        dry_run: bool = False,
        wrote: Callable[[str], None] = lambda _method: None,
        server: str = "",
    ) -> None:
        self._server = server
        self._kubeconfig = kubeconfig
        self._context = context
        self._dry_run = {"dryRun": "All"} if dry_run else {}
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

    async def credentials(self) -> Credentials:
        """Fresh credentials for another client: exec plugins and token files are asked anew.

        Raises:
            Forbidden: there are none, or they cannot be read.
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

    async def get(self, ref: Ref) -> Object | None:
        """See `Cluster.get`."""
        try:
            return await self._object("GET", ref)
        except NotFound:
            return None

    async def list(self, kind: Kind, namespace: str = "", *, label_selector: str = "") -> AsyncIterator[Object]:
        """See `Cluster.list`; every page has `PAGE` objects at most, all pages show the same instant.

        Raises:
            Gone: the list took longer than the server keeps its instant; what was yielded so far is not complete.
        """
        query = {"limit": str(LARGE_PAGE if kind in (kinds.SECRET, kinds.CONFIG_MAP) else PAGE)}
        if label_selector:
            query["labelSelector"] = label_selector
        while True:
            page = orjson.loads(await self._request("GET", _path(kind, namespace), query=query, timeout=LIST_TIMEOUT))
            for item in page.get("items") or ():
                yield {"apiVersion": kind.api_version, "kind": kind.kind} | item
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return

    async def apply(self, obj: Object, *, manager: str) -> Object:
        """See `Cluster.apply`."""
        return await self._apply(obj, manager, "")

    async def apply_status(self, obj: Object, *, manager: str) -> Object:
        """See `Cluster.apply_status`; what older CRDs do not declare is left out."""
        while True:
            try:
                return await self._apply(obj, manager, "/status")
            except (Transient, Invalid) as error:
                known = declared(obj, str(error))
                if known == obj:
                    raise
                obj = known

    async def delete(self, ref: Ref, *, uid: str = "") -> None:
        """See `Cluster.delete`; dependents are collected in the background."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            await self._object("DELETE", ref, body=options, query=self._dry_run)
        except NotFound:
            return

    async def annotate(self, ref: Ref, annotations: Mapping[str, str]) -> None:
        """See `Cluster.annotate`."""
        await self.merge(ref, {"metadata": {"annotations": dict(annotations)}})

    async def merge(self, ref: Ref, patch: Mapping[str, Any]) -> Object:
        """See `Cluster.merge`."""
        return await self._object("PATCH", ref, body=dict(patch), query=self._dry_run, content_type=_MERGE)

    async def admits(self, ref: Ref, patch: Mapping[str, Any]) -> bool:
        """See `Cluster.admits`."""
        try:
            await self._object("PATCH", ref, body=dict(patch), query={"dryRun": "All"}, content_type=_MERGE)
        except (Forbidden, Invalid):
            return False
        return True

    async def create_event(self, namespace: str, event: Object) -> None:
        """See `Cluster.create_event`."""
        path = f"/apis/events.k8s.io/v1/namespaces/{quote(namespace)}/events"
        await self._request("POST", path, body=event, query=self._dry_run)

    async def pod_proxy(self, pod: Ref, port: int, path: str, body: bytes) -> bytes:
        """See `Cluster.pod_proxy`.

        Raises:
            Transient: the pod does not answer, or with more than 256 KiB.
        """
        address = f"{_path(pod.kind, pod.namespace)}/{quote(pod.name)}:{port}/proxy{path}"
        return await self._request("POST", address, body=body, content_type="application/octet-stream")

    async def serves(self, kind: Kind) -> bool:
        """See `Cluster.serves`."""
        root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        try:
            known = orjson.loads(await self._request("GET", root))
        except NotFound:
            return False
        return any(resource["name"] == kind.plural for resource in known["resources"])

    async def may_list(self, kind: Kind) -> bool:
        """Whether RBAC lets us list the kind everywhere, asked by listing one."""
        try:
            await self._request("GET", _path(kind, ""), query={"limit": "1"})
        except Forbidden:
            return False
        return True

    async def may_patch(self, kind: Kind, namespace: str) -> bool:
        """Whether RBAC lets us patch objects of the kind there, asked by a dry run on one that does not exist."""
        ref = Ref(kind, namespace, "tailseal-probe")
        try:
            await self._object("PATCH", ref, body={}, query={"dryRun": "All"}, content_type=_MERGE)
        except NotFound:
            return True
        except Forbidden:
            return False
        return True

    async def document(self, path: str) -> Mapping[str, Any]:
        """What the API server itself has at a path, such as its description of a group of kinds."""
        found: Mapping[str, Any] = orjson.loads(await self._request("GET", path))
        return found

    async def whoami(self) -> Mapping[str, Any]:
        """See `Cluster.whoami`; it stores nothing."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await self._request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review)
        info: Mapping[str, Any] = orjson.loads(answer)["status"]["userInfo"]
        return info

    async def metrics(self) -> str:
        """The API server's own metrics, in Prometheus' text format.

        Raises:
            Forbidden: we may not read them.
        """
        return (await self._request("GET", "/metrics")).decode(errors="replace")

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

    async def _apply(self, obj: Object, manager: str, subresource: str) -> Object:
        ref = kinds.ref(obj)
        query = {"fieldManager": manager, "force": "true"} | self._dry_run
        try:
            return await self._object("PATCH", ref, subresource, body=obj, query=query, content_type=_APPLY)
        except Invalid as error:
            # The server calls it invalid, not a conflict, where the uid is another object's by now, or nobody's.
            uid = obj["metadata"].get("uid")
            if uid and ((await self.get(ref)) or {"metadata": {}})["metadata"].get("uid") != uid:
                raise Conflict(str(error)) from None
            raise

    async def _object(
        self,
        method: str,
        ref: Ref,
        subresource: str = "",
        *,
        body: Object | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        path = f"{_path(ref.kind, ref.namespace)}/{quote(ref.name)}{subresource}"
        answer = await self._request(method, path, body=body, query=query, content_type=content_type)
        result: Object = orjson.loads(answer)
        return result

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: Object | bytes | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        timeout: aiohttp.ClientTimeout = TIMEOUT,  # noqa: ASYNC109 - the transport's own, with a connect part
    ) -> bytes:
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
            raise Forbidden(f"no credentials for a cluster: {error}") from error
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


def _path(kind: Kind, namespace: str) -> str:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    return f"{root}/namespaces/{quote(namespace)}/{kind.plural}" if namespace else f"{root}/{kind.plural}"


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
