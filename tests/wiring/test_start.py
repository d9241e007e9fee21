"""An operator that starts while the API server is away: it waits, alive, instead of ending again and again."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from fakes.cluster import FakeCluster
from tailseal.cluster.errors import ClusterError, Forbidden, Transient
from tailseal.cluster.port import Kind
from tailseal.runtime.settings import Settings
from tailseal.wiring import answered
from tailseal_dev.ports import free_ports


class Away(FakeCluster):
    """An API server that does not answer until `back` is set, and then with `then`."""

    def __init__(self, then: ClusterError | None = None) -> None:
        super().__init__()
        self.back, self._then = asyncio.Event(), then

    async def serves(self, kind: Kind) -> bool:
        """As an API server that is away, and then there."""
        if not self.back.is_set():
            raise Transient("connection refused")
        if self._then:
            raise self._then
        return True


@pytest.mark.parametrize("then", [None, Forbidden("no")], ids=["it knows us", "it refuses us, which is said later"])
async def test_it_waits_for_the_api_server_alive_and_not_ready(then: ClusterError | None) -> None:
    (port,) = free_ports(1)
    cluster, settings = Away(then), Settings(health_port=port)
    waiting = asyncio.create_task(answered(cluster, settings, asyncio.Event(), pause=0.01))
    said = {path: (await _ask(port, path)).status_code for path in ("healthz", "readyz", "metrics")}
    assert said == {"healthz": 200, "readyz": 503, "metrics": 200}
    assert not waiting.done()
    cluster.back.set()
    await asyncio.wait_for(waiting, 60)


async def test_it_ends_when_it_is_told_to_while_it_waits() -> None:
    stop, settings = asyncio.Event(), Settings(health_port=free_ports(1)[0])
    waiting = asyncio.create_task(answered(Away(), settings, stop, pause=3600))
    await _ask(settings.health_port, "healthz")
    stop.set()
    await asyncio.wait_for(waiting, 60)


async def _ask(port: int, path: str) -> httpx.Response:
    """As soon as it listens."""
    async with httpx.AsyncClient(trust_env=False) as http:
        for _ in range(600):
            try:
                return await http.get(f"http://127.0.0.1:{port}/{path}", timeout=30)
            except httpx.ConnectError:
                await asyncio.sleep(0.05)
    raise AssertionError("nobody listens")
