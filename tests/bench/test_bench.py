"""The benchmark itself: gates decide, tables stay readable, and a failed exchange is never measured."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailseal_dev.bench import __main__ as bench
from tailseal_dev.bench import clock, load, report, whois
from tailseal_dev.bench.core import Core
from tailseal_dev.bench.policies import decision
from tailseal_dev.bench.report import Row
from tailseal_dev.bench.workload import Workload
from tailseal_dev.cache import BuildError
from tailseal_dev.tailnet import TailnetError, why_not


@pytest.mark.parametrize(
    ("ratio", "gate", "aim", "verdict"),
    [
        (0.2, ">= 0.12", ">= 0.165", "aim"),
        (0.13, ">= 0.12", ">= 0.165", "ok"),
        (0.11, ">= 0.12", ">= 0.165", "FAILED"),
        (9.0, "<= 8", "<= 5", "FAILED"),
        (0.5, "", "", ""),
        (None, "", "", ""),
    ],
)
def test_a_gate_decides_and_an_aim_is_only_said(ratio: float | None, gate: str, aim: str, verdict: str) -> None:
    row = Row("x", "1 µs", ratio, gate, aim)
    assert row.cells()[-1] == verdict
    assert row.passed is (verdict != "FAILED")


def test_what_breaks_off_fails_the_run_and_costs_no_other_rows() -> None:
    def rows() -> Iterator[Row]:
        yield Row("first", "1 µs")
        raise TimeoutError("no rest\nat all")

    kept, told = bench.whole(rows())
    assert kept.passed
    assert told.cells()[:2] == ("broke off: what follows 'first'", "TimeoutError: no rest")
    assert told.cells()[-1] == "FAILED"


def test_the_table_is_markdown_with_straight_columns() -> None:
    lines = report.table([Row("a", "1 µs", 0.5, ">= 0.1"), Row("longer", "")]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert set(lines[1]) == {"|", "-", " "}


def test_the_core_grants_every_request_of_the_workload() -> None:
    Core(Workload(20)).run(40)


def test_a_run_with_a_refusal_counts_for_nothing() -> None:
    core = Core(Workload(5))
    core._bodies = iter([b"grant_type=x"])
    with pytest.raises(RuntimeError, match="not granted"):
        core.run(1)


def test_a_decision_is_measured_on_grants_only() -> None:
    assert decision(500, 1) > 0


def test_the_bundle_has_everything_that_a_worker_mounts(tmp_path: Path) -> None:
    directory = Workload(1).write(tmp_path / "bundle")
    assert sorted(path.name for path in directory.iterdir()) == ["credentials", "policies", "signing"]
    assert (directory / "policies" / "manifest.json").exists()


class _Answering(asyncio.Protocol):
    """Answers whatever comes in two pieces, with one status."""

    def __init__(self, status: str, seen: list[bytes]) -> None:
        self._status, self._seen = status, seen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen.append(data)
        self._transport.write(f"HTTP/1.1 {self._status}\r\nContent-Le".encode())  # type: ignore[attr-defined]
        asyncio.get_running_loop().call_soon(self._transport.write, b"ngth: 2\r\n\r\n{}")  # type: ignore[attr-defined]


async def test_the_client_fails_on_any_other_status() -> None:
    seen: list[bytes] = []
    loop = asyncio.get_running_loop()
    good = await loop.create_server(lambda: _Answering("200 OK", seen), "127.0.0.1", 0)
    bad = await loop.create_server(lambda: _Answering("400 Bad Request", []), "127.0.0.1", 0)
    requests = [load.get("/x", accept="a")] * 100
    await load.send(good.sockets[0].getsockname()[1], iter(requests))
    assert len(seen) == 100
    assert b"accept: a\r\n" in seen[0]
    with pytest.raises(load.LoadError, match="400"):
        await load.send(bad.sockets[0].getsockname()[1], iter(requests))
    for server in (good, bad):
        server.close()
        await server.wait_closed()


def test_cpu_of_a_process_only_grows() -> None:
    """Of one whose threads stay: those that end take their seconds along."""
    busy = [sys.executable, "-c", "input(); print(sum(range(200_000)), flush=True); input()"]
    with subprocess.Popen(busy, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        before = clock.of_process(process.pid)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        assert clock.of_process(process.pid) > before
        assert clock.resident(process.pid) > 1_000_000
        process.communicate(b"\n")


def test_a_page_is_rewritten_between_its_markers_only(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n", encoding="utf-8")
    bench._write(page, "new\n")
    assert page.read_text(encoding="utf-8") == "before\n<!-- bench:begin -->\nnew\n<!-- bench:end -->\nafter\n"


def test_where_no_tailnet_can_be_made_this_is_said_and_one_that_does_not_do_as_it_should_fails_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(error: Exception) -> list[Row]:
        def tailnet(*_: object) -> None:
            raise error

        monkeypatch.setattr(whois, "why_not", lambda: None)
        monkeypatch.setattr(whois, "Tailnet", tailnet)
        return list(bench.whole(whois.rows(1, Path())))

    assert [row.passed for row in broken(BuildError("no Go"))] == [True]
    assert [row.passed for row in broken(TailnetError("new callers are not given tokens"))] == [False]


@pytest.mark.tailnet
def test_who_is_calling_is_measured_on_a_real_tailnet() -> None:
    if reason := why_not():
        pytest.skip(reason)
    found = list(whois.rows(1, Path(), lookups=32, callers=10))
    assert len(found) == 9, [row.measured for row in found]
    assert [row.ratio is None for row in found] == [True, False, False, False, True, False, True, False, False]
    assert found[5].passed, "what is remembered goes by numbers of questions, not by time"
