"""Events for people: once each, bounded, and never a reconciler's business."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fakes.cluster import FakeCluster
from fakes.virtualtime import virtual
from tailseal.cluster.errors import Transient
from tailseal.cluster.port import Object
from tailseal.runtime.recorder import EventRecorder, Limits


class Setting:
    def __init__(self, limits: Limits | None = None) -> None:
        self.cluster = FakeCluster()
        self.dropped = 0
        loop = asyncio.get_running_loop()
        self.recorder = EventRecorder(
            self.cluster, "pod-1", lambda: 1_800_000_000.0 + loop.time(), dropped=self._drop, limits=limits
        )

    def _drop(self) -> None:
        self.dropped += 1

    def notes(self) -> list[str]:
        return [event["note"] for _, event in self.cluster.events]

    async def say(self, message: str, obj: Object | None = None) -> None:
        await self.recorder.event(obj or key("one"), warning=True, reason="Tested", message=message)


def key(name: str) -> Object:
    metadata = {"name": name, "namespace": "a", "uid": f"uid-{name}"}
    return {"apiVersion": "tailseal.dev/v1alpha1", "kind": "SigningKey", "metadata": metadata}


@asynccontextmanager
async def recording(limits: Limits | None = None) -> AsyncIterator[Setting]:
    made = Setting(limits)
    task = asyncio.create_task(made.recorder.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@virtual
async def test_an_event_says_who_about_whom_when_and_what() -> None:
    async with recording() as setting:
        await setting.say("hello")
        await asyncio.sleep(1)
    ((namespace, event),) = setting.cluster.events
    assert namespace == "a"
    assert event["regarding"] == {
        "apiVersion": "tailseal.dev/v1alpha1",
        "kind": "SigningKey",
        "namespace": "a",
        "name": "one",
        "uid": "uid-one",
    }
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "Tested", "hello")
    assert event["eventTime"] == "2027-01-15T08:00:00.000000Z"
    assert event["reportingInstance"] == "pod-1"


@virtual
async def test_the_same_event_is_told_once_in_ten_minutes() -> None:
    async with recording() as setting:
        for _ in range(5):
            await setting.say("hello")
        await asyncio.sleep(601)
        await setting.say("hello")
        await asyncio.sleep(1)
    assert setting.notes() == ["hello", "hello"]
    names = {event["metadata"]["name"] for _, event in setting.cluster.events}
    assert len(names) == 2


@virtual
async def test_a_flood_about_one_object_is_cut_and_others_are_still_heard() -> None:
    async with recording() as setting:
        for index in range(40):
            await setting.say(f"n{index}")
        await setting.say("other", key("two"))
        await asyncio.sleep(1)
    assert len(setting.notes()) == 26
    assert setting.dropped == 15
    assert "other" in setting.notes()


@virtual
async def test_what_cannot_be_posted_is_dropped_and_counted_and_nobody_waits() -> None:
    async with recording() as setting:
        setting.cluster.refuse = lambda verb, ref: Transient("no")
        await setting.say("lost")
        await asyncio.sleep(1)
        setting.cluster.refuse = lambda verb, ref: None
        await setting.say("heard")
        await asyncio.sleep(1)
    assert setting.notes() == ["heard"]
    assert setting.dropped == 1


@virtual
async def test_a_full_queue_drops_instead_of_growing() -> None:
    setting = Setting(Limits(waiting=2))
    for index in range(5):
        await setting.say(f"n{index}", key(f"k{index}"))
    assert setting.dropped == 3
    await setting.recorder.flush(1.0)
    assert setting.notes() == ["n0", "n1"]


@virtual
async def test_memory_is_bounded_and_a_long_note_is_cut() -> None:
    async with recording(Limits(remembered=3)) as setting:
        for index in range(10):
            await setting.say("x" * 2000 + str(index), key(f"k{index}"))
        await asyncio.sleep(1)
    assert len(setting.recorder._said) <= 3
    assert len(setting.recorder._bursts) <= 3
    assert {len(note) for note in setting.notes()} == {1024}
