"""The part of an API server that the operator talks to, for thousands of objects at once: pages, watches, applies.

One manager, one writer: an apply replaces what was applied before. What a real server would refuse is not refused here;
the operator's correctness is tested against a real one.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tailseal.cluster import kinds
from tailseal.cluster.port import Kind

Object = dict[str, Any]
Address = tuple[str, str, str]
"""Plural, namespace, name."""

# Kopf waits for the last two before it watches anything.
_KINDS = (
    *kinds.CUSTOM,
    *kinds.OWNED,
    kinds.POD,
    Kind("", "v1", "namespaces", "Namespace"),
    Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"),
)
_METHODS = ["GET", "PATCH", "POST", "DELETE"]


@dataclass(frozen=True, slots=True)
class Write:
    """A request that wrote something."""

    method: str
    plural: str
    name: str
    status: bool
    at: float


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a path is about; an empty name means the collection, an empty plural the API group itself."""

    plural: str = ""
    namespace: str = ""
    name: str = ""
    status: bool = False


class ApiServer:
    """Serves on loopback while inside; a context manager.

    Attributes:
        writes: every request that wrote something, in order.
        listed_at: when the first collection was asked for (monotonic seconds).
    """

    def __init__(self, objects: Iterable[Object]) -> None:
        self.writes: list[Write] = []
        self.listed_at = 0.0
        self._version = 1
        self._objects: dict[Address, Object] = {}
        self._watches: list[tuple[str, str, asyncio.Queue[bytes]]] = []
        for obj in objects:
            self._keep(obj)
        routes = [Route("/{path:path}", self._answer, methods=_METHODS)]
        config = uvicorn.Config(Starlette(routes=routes), host="127.0.0.1", port=0, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def find(self, plural: str, namespace: str, name: str) -> Object:
        """An object as it is now."""
        return self._objects[plural, namespace, name]

    def change(self, plural: str, obj: Object) -> None:
        """Let a user write an object."""
        self._loop.call_soon_threadsafe(self._put, plural, obj)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._server.serve())

    def _keep(self, obj: Object) -> None:
        self._version += 1
        metadata = obj["metadata"]
        metadata["resourceVersion"] = str(self._version)
        self._objects[plural_of(obj), metadata["namespace"], metadata["name"]] = obj

    def _put(self, plural: str, obj: Object) -> None:
        change = (
            "MODIFIED" if (plural, obj["metadata"]["namespace"], obj["metadata"]["name"]) in self._objects else "ADDED"
        )
        self._keep(obj)
        self._tell(plural, change, obj)

    def _tell(self, plural: str, change: str, obj: Object) -> None:
        event = json.dumps({"type": change, "object": obj}).encode() + b"\n"
        for watched, selector, queue in self._watches:
            if watched == plural and _selected(obj, selector):
                queue.put_nowait(event)

    async def _answer(self, request: Request) -> Response:
        path = request.path_params["path"].strip("/")
        asked = _asked(path)
        if not asked.plural:
            return JSONResponse(_discovery(path))
        match request.method:
            case "GET":
                return self._show(asked, request)
            case "PATCH" if "dryRun" in request.query_params:  # the operator asks whether its fences stand
                known = (asked.plural, asked.namespace, asked.name) in self._objects
                return JSONResponse({"reason": "Forbidden"}, status_code=403) if known else _missing()
            case "PATCH":
                return await self._apply(asked, request)
            case "DELETE":
                return self._delete(asked)
            case _:
                return JSONResponse({}, status_code=201)

    def _show(self, asked: _Asked, request: Request) -> Response:
        if asked.name:
            found = self._objects.get((asked.plural, asked.namespace, asked.name))
            return _missing() if found is None else JSONResponse(found)
        if "watch" in request.query_params:
            return StreamingResponse(self._watch(asked.plural, request.query_params.get("labelSelector", "")))
        return self._page(asked, request)

    def _page(self, asked: _Asked, request: Request) -> Response:
        self.listed_at = self.listed_at or time.monotonic()
        selector, start = request.query_params.get("labelSelector", ""), int(request.query_params.get("continue", "0"))
        size = int(request.query_params.get("limit", "500"))
        found = [
            obj
            for (plural, namespace, _), obj in self._objects.items()
            if plural == asked.plural and asked.namespace in ("", namespace) and _selected(obj, selector)
        ]
        more = str(start + size) if start + size < len(found) else ""
        metadata = {"resourceVersion": str(self._version), "continue": more}
        return JSONResponse({"kind": "List", "metadata": metadata, "items": found[start : start + size]})

    async def _watch(self, plural: str, selector: str) -> AsyncIterator[bytes]:
        watch = plural, selector, asyncio.Queue[bytes]()
        self._watches.append(watch)
        try:
            while True:
                yield await watch[2].get()
        finally:
            self._watches.remove(watch)

    async def _apply(self, asked: _Asked, request: Request) -> Response:
        address = asked.plural, asked.namespace, asked.name
        former = self._objects.get(address)
        merges = request.headers["content-type"].startswith("application/merge-patch")
        if former is None and (merges or asked.status):
            return _missing()
        wanted = await request.json()
        after = _applied(former, wanted, status=asked.status)
        if former is not None and _same(former, after):
            return JSONResponse(former)
        self.writes.append(Write("PATCH", asked.plural, asked.name, asked.status, time.monotonic()))
        self._put(asked.plural, after)
        return JSONResponse(after)

    def _delete(self, asked: _Asked) -> Response:
        gone = self._objects.pop((asked.plural, asked.namespace, asked.name), None)
        if gone is None:
            return _missing()
        self._version += 1
        gone["metadata"]["resourceVersion"] = str(self._version)
        self.writes.append(Write("DELETE", asked.plural, asked.name, status=False, at=time.monotonic()))
        self._tell(asked.plural, "DELETED", gone)
        return JSONResponse({"kind": "Status", "status": "Success"})


def plural_of(obj: Object) -> str:
    """The resource of an object, as a path names it."""
    kind: str = obj["kind"].lower()
    return f"{kind[:-1]}ies" if kind.endswith("y") and not kind.endswith("key") else f"{kind}s"


def _discovery(path: str) -> Object:
    """What there is: `api`, `apis`, or one group and version of them."""
    if path == "api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "apis":
        versions = {
            kind.group: {"groupVersion": kind.api_version, "version": kind.version} for kind in _KINDS if kind.group
        }
        groups = [{"name": name, "versions": [found], "preferredVersion": found} for name, found in versions.items()]
        return {"kind": "APIGroupList", "groups": groups}
    resources = [
        {
            "name": kind.plural,
            "singularName": kind.kind.lower(),
            "kind": kind.kind,
            "namespaced": kind.kind not in ("Namespace", "CustomResourceDefinition"),
            "verbs": ["create", "delete", "get", "list", "patch", "watch"],
        }
        for kind in _KINDS
        if kind.api_version == path.partition("/")[2]
    ]
    return {"kind": "APIResourceList", "resources": resources}


def _asked(path: str) -> _Asked:
    parts = path.split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":  # noqa: PLR2004 - a namespace's own resources
        namespace, rest = rest[1], rest[2:]
    if not rest:
        return _Asked()
    return _Asked(rest[0], namespace, rest[1] if len(rest) > 1 else "", status=rest[2:] == ["status"])


def _selected(obj: Object, selector: str) -> bool:
    labels = obj["metadata"].get("labels", {})
    return all(
        labels.get(name) == value
        for name, _, value in (term.partition("=") for term in filter(None, selector.split(",")))
    )


def _applied(former: Object | None, wanted: Object, *, status: bool) -> Object:
    if former is not None and status:
        return former | {"metadata": dict(former["metadata"]), "status": wanted["status"]}
    kept = former["metadata"] if former else {"creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1}
    metadata = wanted["metadata"] | {name: kept[name] for name in ("creationTimestamp", "generation")}
    metadata["uid"] = kept.get("uid") or f"uid-{wanted['kind']}-{metadata['name']}"
    return {**wanted, "metadata": metadata} | ({"status": former["status"]} if former and "status" in former else {})


def _same(former: Object, after: Object) -> bool:
    def bare(obj: Object) -> Object:
        return obj | {"metadata": {name: value for name, value in obj["metadata"].items() if name != "resourceVersion"}}

    return bare(former) == bare(after)


def _missing() -> Response:
    return JSONResponse({"kind": "Status", "reason": "NotFound", "code": 404}, status_code=404)
