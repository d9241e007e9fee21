"""The keyed queue: many events, one run; never the same key twice at once; failures back off."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from fakes.virtualtime import virtual
from tailseal.runtime.queue import Backoff, Queue

Work = Callable[[str], Awaitable[float | None]]


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def running(work: Work, *, workers: int = 2, deadline: float = 60.0) -> AsyncIterator[Queue[str]]:
    def failed(key: str, error: Exception) -> Backoff:
        return Backoff(1.0, 30.0)

    queue: Queue[str] = Queue(work, failed, deadline=deadline, jitter=lambda: 0.0)
    task = asyncio.create_task(queue.run(workers))
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@virtual
async def test_many_events_of_a_queued_key_are_one_run() -> None:
    runs: list[str] = []

    async def work(key: str) -> None:
        runs.append(key)

    async with running(work) as queue:
        for _ in range(5):
            queue.add("a")
        queue.add("b")
        await asyncio.sleep(1)
    assert sorted(runs) == ["a", "b"]


@virtual
async def test_a_key_that_changes_while_it_runs_runs_once_more_and_never_twice_at_once() -> None:
    at_once, most, runs = 0, 0, 0

    async def work(key: str) -> None:
        nonlocal at_once, most, runs
        at_once += 1
        most = max(most, at_once)
        runs += 1
        await asyncio.sleep(1)
        at_once -= 1

    async with running(work, workers=4) as queue:
        queue.add("a")
        await asyncio.sleep(0.5)
        for _ in range(3):
            queue.add("a")
        await asyncio.sleep(10)
    assert (most, runs) == (1, 2)


@virtual
async def test_different_keys_run_side_by_side() -> None:
    async def work(key: str) -> None:
        await asyncio.sleep(1)

    async with running(work, workers=2) as queue:
        queue.add("a")
        queue.add("b")
        await asyncio.sleep(1.5)
        assert queue.idle
        assert queue.depth == 0


@virtual
async def test_an_urgent_key_overtakes_all_that_wait() -> None:
    runs: list[str] = []

    async def work(key: str) -> None:
        runs.append(key)
        await asyncio.sleep(1)

    def failed(key: str, error: Exception) -> Backoff:
        return Backoff(1.0, 30.0)

    queue: Queue[str] = Queue(work, failed, urgency=lambda key: 0 if key == "urgent" else 1)
    for index in range(100):
        queue.add(f"k{index}")
    task = asyncio.create_task(queue.run(1))
    await asyncio.sleep(2.5)
    queue.add("urgent")
    await asyncio.sleep(2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert runs[:4] == ["k0", "k1", "k2", "urgent"]


@virtual
async def test_failures_back_off_twice_as_long_each_time_and_start_anew_after_a_success() -> None:
    runs: list[float] = []

    async def work(key: str) -> None:
        runs.append(now())
        if len(runs) not in (5, 6):
            raise ValueError

    async with running(work) as queue:
        queue.add("a")
        await asyncio.sleep(20)
        queue.add("a")
        queue.add("a", after=1)
        await asyncio.sleep(4)
    gaps = [round(after - before, 3) for before, after in itertools.pairwise(runs)]
    assert gaps == [1, 2, 4, 8, 5, 1, 1, 2][: len(gaps)]
    assert len(gaps) >= 7


@virtual
async def test_a_reconcile_that_hangs_is_given_up_and_tried_again() -> None:
    runs: list[float] = []

    async def work(key: str) -> None:
        runs.append(now())
        await asyncio.sleep(3600)

    async with running(work, deadline=60) as queue:
        queue.add("a")
        await asyncio.sleep(100)
    assert runs == [0, 61]


@virtual
async def test_a_run_may_ask_to_be_repeated() -> None:
    runs: list[float] = []

    async def work(key: str) -> float | None:
        runs.append(now())
        return 10.0 if len(runs) < 3 else None

    async with running(work) as queue:
        queue.add("a")
        await asyncio.sleep(100)
    assert runs == [0, 10, 20]


@virtual
async def test_the_earliest_of_several_later_instants_counts() -> None:
    runs: list[float] = []

    async def work(key: str) -> None:
        runs.append(now())

    async with running(work) as queue:
        for after in (50, 10, 30):
            queue.add("a", after=after)
        await asyncio.sleep(100)
    assert runs == [10]


@pytest.mark.parametrize(
    ("backoff", "failures", "jitter", "delay"),
    [
        (Backoff(1, 30), 1, 0.0, 1),
        (Backoff(1, 30), 4, 0.0, 8),
        (Backoff(1, 30), 60, 0.0, 30),
        (Backoff(1, 30), 10_000, 0.5, 22.5),
        (Backoff(1, 30, least=20), 1, 0.0, 20),
    ],
)
def test_back_off_grows_to_its_cap_with_jitter_and_heeds_the_server(
    backoff: Backoff, failures: int, jitter: float, delay: float
) -> None:
    assert backoff.delay(failures, jitter) == delay
