"""A small asynchronous client of the API server for development tools: plain paths, plain dicts, list and watch."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

Object = dict[str, Any]
OnChange = Callable[[str, Object], None]
"""Called with `ADDED`, `MODIFIED` or `DELETED` and the object."""

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
_PAUSE = 0.5


class ApiError(Exception):
    """The API server refused; `status` is the HTTP status, 0 if there was no answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """One connection pool to the API server that a kubeconfig's current context names.

    Args:
        kubeconfig: a file with certificate data or a token in it, as `ControlPlane` writes them.
    """

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        self._client = httpx.AsyncClient(
            base_url=cluster["server"],
            verify=_tls(cluster, user),
            headers=headers,
            timeout=10,
            trust_env=False,
            limits=httpx.Limits(max_connections=None),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def request(
        self, method: str, path: str, body: object = None, *, content_type: str = "application/json", **query: str
    ) -> Object:
        """One request; the JSON object it answers.

        Raises:
            ApiError: the server is out of reach or refused.
        """
        content = None if body is None else json.dumps(body)
        try:
            answer = await self._client.request(
                method, path, content=content, headers={"Content-Type": content_type}, params=query
            )
        except httpx.HTTPError as error:
            raise ApiError(0, f"{method} {path}: {type(error).__name__}") from error
        document: Object = answer.json() if answer.headers.get("content-type", "").endswith("json") else {}
        if answer.is_error:
            raise ApiError(answer.status_code, f"{method} {path}: {document.get('message', answer.status_code)}")
        return document

    async def follow(self, path: str, on_change: OnChange) -> None:
        """List and watch for ever, over every interruption; what went missing meanwhile is reported as `DELETED`."""
        known: dict[str, Object] = {}

        def changed(kind: str, obj: Object) -> None:
            if kind == "DELETED":
                known.pop(obj["metadata"]["uid"], None)
            else:
                known[obj["metadata"]["uid"]] = obj
            on_change(kind, obj)

        while True:
            with contextlib.suppress(ApiError, httpx.HTTPError, json.JSONDecodeError):
                version = await self._list(path, known, changed)
                async for kind, obj in self._watch(path, version):
                    changed(kind, obj)
            await asyncio.sleep(_PAUSE)

    async def _list(self, path: str, known: Mapping[str, Object], changed: OnChange) -> str:
        listed = await self.request("GET", path)
        present = {obj["metadata"]["uid"]: obj for obj in listed["items"]}
        for uid in set(known) - set(present):
            changed("DELETED", known[uid])
        for obj in present.values():
            changed("MODIFIED", obj)
        return str(listed["metadata"]["resourceVersion"])

    async def _watch(self, path: str, version: str) -> AsyncIterator[tuple[str, Object]]:
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "300"}
        async with self._client.stream("GET", path, params=query, timeout=httpx.Timeout(10, read=None)) as answer:
            if answer.is_error:
                return
            async for line in answer.aiter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event["type"], event["object"]


def _named(entries: list[Object], name: str) -> Object:
    return next(entry for entry in entries if entry["name"] == name)


def _tls(cluster: Object, user: Object) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=_decoded(cluster["certificate-authority-data"]).decode())
    if "client-certificate-data" in user:
        with tempfile.NamedTemporaryFile() as pem:  # the ssl module reads private keys from files only
            pem.write(_decoded(user["client-certificate-data"]) + _decoded(user["client-key-data"]))
            pem.flush()
            context.load_cert_chain(pem.name)
    return context


def _decoded(data: str) -> bytes:
    return base64.b64decode(data)
