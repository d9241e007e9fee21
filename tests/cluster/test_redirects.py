"""An answer of the API server, or of a pod behind it, leads nowhere: neither our rights nor a token go there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from tailseal.cluster import kinds
from tailseal.cluster.errors import Transient
from tailseal.cluster.kube import KubeCluster
from tailseal.cluster.port import Ref

POD = Ref(kinds.POD, "identity", "corp-sts-x")
ASKED: dict[str, Callable[[KubeCluster], Awaitable[Any]]] = {
    "a pod by its proxy": lambda cluster: cluster.pod_proxy(POD, 9090, "/-/status", b"question"),
    "an object": lambda cluster: cluster.get(POD),
    "a write": lambda cluster: cluster.merge(POD, {"metadata": {}}),
    "a token to be shown": lambda cluster: cluster.status_of("nobody.signed.this"),
}


@contextlib.asynccontextmanager
async def _leading(status: int, elsewhere: bool) -> AsyncIterator[tuple[str, list[str]]]:  # noqa: FBT001 - a case
    """A server whose every answer leads to another path, or to another server; what was asked at either."""
    seen: list[str] = []

    async def met(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.json_response({})

    async with TestServer(_app(met)) as other:

        async def lead(request: web.Request) -> web.Response:
            if request.path == "/stolen":
                return await met(request)
            where = f"{other.make_url('/stolen')}" if elsewhere else "/stolen"
            return web.Response(status=status, headers={"Location": where})

        async with TestServer(_app(lead)) as server:
            yield str(server.make_url("/")).rstrip("/"), seen


def _app(handler: Callable[[web.Request], Awaitable[web.Response]]) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    return app


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("elsewhere", [True, False])
@pytest.mark.parametrize("status", [302, 303, 307, 308])
async def test_no_redirect_is_followed(tmp_path: Path, asked: str, elsewhere: bool, status: int) -> None:  # noqa: FBT001
    async with _leading(status, elsewhere) as (url, seen):
        config = {
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"token": "our-own"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (tmp_path / "config").write_text(yaml.safe_dump(config))
        async with KubeCluster(kubeconfig=str(tmp_path / "config")) as cluster:
            with pytest.raises(Transient):
                await ASKED[asked](cluster)
    assert seen == []
