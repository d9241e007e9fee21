"""The one real adapter of the cluster port: plain dicts to and from the API server, no models, no caches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import orjson

from tailseal.cluster import kinds
from tailseal.cluster.errors import Conflict, Forbidden, Invalid, NotFound, Transient
from tailseal.cluster.port import Kind, Object, Ref
from tailseal.cluster.transport import Credentials, Transport
from tailseal.cluster.undeclared import declared

PAGE = 500
LARGE_PAGE = 25
"""Of kinds whose objects can have a megabyte each."""
LIST_TIMEOUT = aiohttp.ClientTimeout(total=60, connect=10)
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


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
        self._dry_run = {"dryRun": "All"} if dry_run else {}
        self._api = Transport(kubeconfig, context, wrote, server)

    async def __aenter__(self) -> Self:
        await self._api.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._api.__aexit__(kind, error, trace)

    async def credentials(self) -> Credentials:
        """Fresh credentials for another client: exec plugins and token files are asked anew.

        Raises:
            Forbidden: there are none, or they cannot be read.
        """
        return await self._api.credentials()

    async def status_of(self, token: str) -> int:
        """The HTTP status with which the API server answers a request that carries this bearer token and nothing else.

        Raises:
            Transient: it does not answer.
        """
        return await self._api.status_of(token)

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
            page = orjson.loads(
                await self._api.request("GET", _path(kind, namespace), query=query, timeout=LIST_TIMEOUT)
            )
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
        await self._api.request("POST", path, body=event, query=self._dry_run)

    async def pod_proxy(self, pod: Ref, port: int, path: str, body: bytes) -> bytes:
        """See `Cluster.pod_proxy`.

        Raises:
            Transient: the pod does not answer, or with more than 256 KiB.
        """
        address = f"{_path(pod.kind, pod.namespace)}/{quote(pod.name)}:{port}/proxy{path}"
        return await self._api.request("POST", address, body=body, content_type="application/octet-stream")

    async def serves(self, kind: Kind) -> bool:
        """See `Cluster.serves`."""
        root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        try:
            known = orjson.loads(await self._api.request("GET", root))
        except NotFound:
            return False
        return any(resource["name"] == kind.plural for resource in known["resources"])

    async def may_list(self, kind: Kind) -> bool:
        """Whether RBAC lets us list the kind everywhere, asked by listing one."""
        try:
            await self._api.request("GET", _path(kind, ""), query={"limit": "1"})
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
        found: Mapping[str, Any] = orjson.loads(await self._api.request("GET", path))
        return found

    async def whoami(self) -> Mapping[str, Any]:
        """See `Cluster.whoami`; it stores nothing."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await self._api.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review)
        info: Mapping[str, Any] = orjson.loads(answer)["status"]["userInfo"]
        return info

    async def metrics(self) -> str:
        """The API server's own metrics, in Prometheus' text format.

        Raises:
            Forbidden: we may not read them.
        """
        return (await self._api.request("GET", "/metrics")).decode(errors="replace")

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
        answer = await self._api.request(method, path, body=body, query=query, content_type=content_type)
        result: Object = orjson.loads(answer)
        return result


def _path(kind: Kind, namespace: str) -> str:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    return f"{root}/namespaces/{quote(namespace)}/{kind.plural}" if namespace else f"{root}/{kind.plural}"
