"""An operator that starts while the API server is away: it waits, alive, instead of ending again and again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from fakes.cluster import FakeCluster
from tailseal.cluster.errors import ClusterError, Forbidden, Transient
from tailseal.cluster.port import Kind
from tailseal.reconcile.context import OperatorSettings
from tailseal.runtime.settings import Settings
from tailseal.wiring import answered, run, unless
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
    waiting = asyncio.create_task(answered(cluster, settings, pause=0.01))
    said = {path: await _ask(port, path) for path in ("healthz", "readyz", "metrics")}
    assert {path: answer.status_code for path, answer in said.items()} == {
        "healthz": 200,
        "readyz": 503,
        "metrics": 200,
    }
    assert said["readyz"].text == "waiting for the API server: connection refused\n"
    assert not waiting.done()
    cluster.back.set()
    await asyncio.wait_for(waiting, 60)


async def test_it_says_why_it_waits_and_says_so_anew_when_that_changes() -> None:
    why = iter(["refused", "refused", "401 Unauthorized"])

    class Silent(FakeCluster):
        async def serves(self, kind: Kind) -> bool:
            for text in why:
                raise Transient(text)
            return True

    with capture_logs() as lines:
        await answered(Silent(), Settings(health_port=0), pause=0)
    assert [(line["event"], line.get("why")) for line in lines] == [
        ("waiting for the API server", "refused"),
        ("waiting for the API server", "401 Unauthorized"),
        ("the API server answers", None),
    ]


async def test_whatever_it_waits_for_is_given_up_when_it_is_told_to_end() -> None:
    stop, begun, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(unless(stop, work()))
    await asyncio.wait_for(begun.wait(), 60)
    stop.set()
    assert not await asyncio.wait_for(waiting, 60)
    assert ended.is_set()


async def test_what_fails_before_it_is_told_to_end_fails() -> None:
    async def work() -> None:
        raise Forbidden("no")

    with pytest.raises(Forbidden):
        await unless(asyncio.Event(), work())


@pytest.mark.parametrize("in_pod", [True, False])
async def test_in_a_pod_it_waits_and_at_a_terminal_it_ends_where_nobody_answers(
    tmp_path: Path, *, in_pod: bool
) -> None:
    nobody, port = free_ports(2)
    (tmp_path / "kubeconfig").write_text(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{nobody}"}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    stop, settings = asyncio.Event(), Settings(kubeconfig=str(tmp_path / "kubeconfig"), health_port=port, in_pod=in_pod)
    running = asyncio.create_task(run(settings, OperatorSettings(worker_image="tailseal:test"), stop=stop))
    if not in_pod:
        with pytest.raises(ClusterError):
            await asyncio.wait_for(running, 120)
        return
    assert (await _ask(port, "readyz")).status_code == 503
    stop.set()
    await asyncio.wait_for(running, 120)


async def _ask(port: int, path: str) -> httpx.Response:
    """As soon as it listens."""
    async with httpx.AsyncClient(trust_env=False) as http:
        for _ in range(600):
            try:
                return await http.get(f"http://127.0.0.1:{port}/{path}", timeout=30)
            except httpx.ConnectError:
                await asyncio.sleep(0.05)
    raise AssertionError("nobody listens")
