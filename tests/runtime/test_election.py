"""At most one leads: whatever the candidates' clocks, pauses and races do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from fakes.cluster import FakeCluster
from fakes.virtualtime import virtual
from tailseal.cluster import kinds
from tailseal.cluster.errors import Forbidden, Transient
from tailseal.cluster.port import Cluster, Object, Ref
from tailseal.runtime.election import ElectionThread, Elector, Heartbeat, Timing

LEASE = Ref(kinds.LEASE, "system", "tailseal-operator")


def now() -> float:
    return asyncio.get_running_loop().time()


def candidate(cluster: Cluster, name: str, frozen: list[bool] | None = None) -> Elector:
    stuck = frozen if frozen is not None else [False]
    return Elector(cluster, LEASE, name, frozen=lambda: stuck[0], monotonic=now, now=now)


def holder(cluster: FakeCluster) -> str:
    return str(cluster.peek(kinds.LEASE, "system", "tailseal-operator").get("spec", {}).get("holderIdentity", ""))


@virtual
async def test_of_many_candidates_one_leads() -> None:
    cluster = FakeCluster()
    tasks = [asyncio.create_task(candidate(cluster, f"c{index}").acquire()) for index in range(5)]
    await asyncio.sleep(10)
    assert [task.done() for task in tasks].count(True) == 1
    for task in tasks:
        task.cancel()


@virtual
async def test_two_that_race_for_the_same_version_cannot_both_win() -> None:
    cluster = FakeCluster()
    first, second = candidate(cluster, "first"), candidate(cluster, "second")
    get, stale = cluster.get, None

    async def before_the_first_took_it(ref: Ref) -> Object | None:
        return stale

    await first._take()
    await first.release()
    stale = await get(LEASE)
    assert await first._attempt()
    cluster.get = before_the_first_took_it  # type: ignore[method-assign]
    assert not await second._attempt()
    assert holder(cluster) == "first"


@virtual
async def test_a_leader_that_renews_is_never_replaced() -> None:
    cluster = FakeCluster()
    first = candidate(cluster, "first")
    await first.acquire()
    held = asyncio.create_task(first.hold())
    waiting = asyncio.create_task(candidate(cluster, "second").acquire())
    await asyncio.sleep(3600)
    assert not held.done()
    assert not waiting.done()
    assert holder(cluster) == "first"
    held.cancel()
    waiting.cancel()


@virtual
async def test_a_dead_leader_is_replaced_after_its_lease() -> None:
    cluster = FakeCluster()
    await candidate(cluster, "first").acquire()
    waiting = asyncio.create_task(candidate(cluster, "second").acquire())
    await asyncio.sleep(14)
    assert not waiting.done()
    await asyncio.sleep(4)
    assert waiting.done()
    lease = cluster.peek(kinds.LEASE, "system", "tailseal-operator")
    assert lease["spec"]["leaseTransitions"] == 2


@virtual
async def test_a_leader_that_resumes_after_its_lease_finds_itself_replaced() -> None:
    cluster = FakeCluster()
    first = candidate(cluster, "first")
    await first.acquire()
    await asyncio.sleep(20)
    await candidate(cluster, "second").acquire()
    await asyncio.wait_for(first.hold(), 5)


@virtual
async def test_a_leader_cut_off_gives_up_before_its_lease_ends() -> None:
    cluster = FakeCluster()
    first = candidate(cluster, "first")
    await first.acquire()
    cluster.refuse = lambda verb, ref: Transient("no")
    started = now()
    await first.hold()
    assert now() - started < Timing().lease


@virtual
async def test_a_leader_that_is_refused_and_then_not_answered_gives_up_before_its_lease_ends() -> None:
    cluster = FakeCluster()
    first = candidate(cluster, "first")
    await first.acquire()
    started = now()

    async def get(_: Ref) -> Object | None:
        if now() - started < Timing().deadline - 0.5:
            raise Transient("no")
        await asyncio.sleep(60)
        return None

    cluster.get = get  # type: ignore[method-assign]
    await first.hold()
    assert now() - started < Timing().lease


@pytest.mark.parametrize("seconds", [4.0, 9.0, 20.0])
@virtual
async def test_who_is_told_late_that_the_lease_is_his_counts_from_when_he_asked(seconds: float) -> None:
    cluster = FakeCluster()
    first, apply = candidate(cluster, "first"), cluster.apply
    started = now()

    async def answered_late(obj: Object, *, manager: str) -> Object:
        made = await apply(obj, manager=manager)
        if "spec" in obj and now() - started < seconds:
            await asyncio.sleep(seconds)
        return made

    cluster.apply = answered_late  # type: ignore[method-assign]
    await first.acquire()
    leads = now()
    assert holder(cluster) == "first"
    lease = cluster.peek(kinds.LEASE, "system", "tailseal-operator")["spec"]
    renewed = datetime.fromisoformat(lease["renewTime"]).timestamp()
    assert leads - renewed <= Timing().deadline / 2
    cluster.refuse = lambda verb, ref: Transient("no")
    await first.hold()
    assert now() - renewed < Timing().lease


@virtual
async def test_a_stuck_leader_stops_renewing() -> None:
    cluster = FakeCluster()
    frozen = [False]
    first = candidate(cluster, "first", frozen)
    await first.acquire()
    held = asyncio.create_task(first.hold())
    await asyncio.sleep(60)
    assert not held.done()
    frozen[0] = True
    await asyncio.sleep(3)
    assert held.done()


@virtual
async def test_a_leader_that_leaves_is_replaced_at_once_and_only_its_own_lease_is_released() -> None:
    cluster = FakeCluster()
    first, second = candidate(cluster, "first"), candidate(cluster, "second")
    await first.acquire()
    await second.release()
    assert holder(cluster) == "first"
    await first.release()
    await asyncio.wait_for(second.acquire(), 1)


@virtual
async def test_missing_rights_are_not_waited_out() -> None:
    cluster = FakeCluster()
    cluster.refuse = lambda verb, ref: Forbidden("no leases for you")
    with pytest.raises(Forbidden):
        await candidate(cluster, "first").acquire()


def test_a_heartbeat_ages() -> None:
    time = [0.0]
    heartbeat = Heartbeat(lambda: time[0])
    time[0] = 31.0
    assert heartbeat.age == 31.0
    heartbeat.beat()
    assert heartbeat.age == 0.0


@asynccontextmanager
async def connected(cluster: FakeCluster) -> AsyncIterator[FakeCluster]:
    yield cluster


QUICK = Timing(lease=0.5, deadline=0.3, retry=0.02)


async def test_the_lead_is_kept_in_a_thread_and_released_at_the_end() -> None:
    cluster = FakeCluster()
    lost, patient = threading.Event(), Timing(lease=3600, deadline=3600, retry=0.02)
    thread = ElectionThread(
        lambda: connected(cluster), lambda found: Elector(found, LEASE, "one", timing=patient), lost.set
    )
    async with thread.leading():
        assert holder(cluster) == "one"
    assert holder(cluster) == ""
    assert not lost.is_set()


async def test_a_lost_lead_is_told_from_the_thread() -> None:
    cluster = FakeCluster()
    lost = threading.Event()
    thread = ElectionThread(
        lambda: connected(cluster), lambda found: Elector(found, LEASE, "one", timing=QUICK), lost.set
    )
    async with thread.leading():
        cluster.refuse = lambda verb, ref: Transient("no")
        assert await asyncio.to_thread(lost.wait, 60)


async def test_an_election_that_cannot_be_held_is_an_error() -> None:
    cluster = FakeCluster()
    cluster.refuse = lambda verb, ref: Forbidden("no leases for you")
    thread = ElectionThread(lambda: connected(cluster), lambda found: Elector(found, LEASE, "one"), lambda: None)
    with pytest.raises(Forbidden):
        async with thread.leading():
            pytest.fail("nobody leads")


async def test_a_thread_that_fails_before_it_leads_is_an_error_and_not_an_endless_wait() -> None:
    class Broken(Elector):
        async def acquire(self) -> None:
            raise KeyError("metadata")

    thread = ElectionThread(lambda: connected(FakeCluster()), lambda found: Broken(found, LEASE, "one"), lambda: None)
    with pytest.raises(KeyError):
        async with asyncio.timeout(60), thread.leading():
            pytest.fail("nobody leads")


async def test_a_thread_that_fails_while_it_leads_has_lost_the_lead() -> None:
    class Broken(Elector):
        async def hold(self) -> None:
            raise KeyError("metadata")

    lost = threading.Event()
    thread = ElectionThread(lambda: connected(FakeCluster()), lambda found: Broken(found, LEASE, "one"), lost.set)
    async with thread.leading():
        assert await asyncio.to_thread(lost.wait, 60)
