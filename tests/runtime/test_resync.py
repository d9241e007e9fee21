"""The feed: complete before anything is rendered, repaired after every re-list, honest about a dead watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fakes.cluster import FakeCluster
from fakes.virtualtime import virtual
from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError, Transient
from tailseal.cluster.port import Object, Ref
from tailseal.runtime.resync import Feed, Source
from tailseal.runtime.store import Store

LABELS = {"app.kubernetes.io/managed-by": "tailseal"}


def policy(name: str) -> Object:
    metadata = {"name": name, "namespace": "a"}
    return {"apiVersion": "tailseal.dev/v1alpha1", "kind": "TrustPolicy", "metadata": metadata, "spec": {"x": name}}


def secret(name: str, labels: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "a", "labels": labels}}


class Setting:
    """A cluster with three policies, its store and feed."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        for name in ("one", "two", "three"):
            self.cluster.user_apply(policy(name))
        self.told: list[str] = []
        self.missed: list[int] = []
        self.store = Store(self._changed)
        sources = [
            Source(kinds.TRUST_POLICY),
            Source(kinds.SECRET, labels=tuple(LABELS.items())),
            Source(kinds.SECRET, labels=(("tailseal.dev/allow", "true"),)),
        ]
        self.feed = Feed(
            self.cluster,
            self.store,
            sources,
            time=lambda: asyncio.get_running_loop().time(),
            missed=self.missed.append,
            jitter=lambda: 0.5,
        )

    def _changed(self, before: Object | None, after: Object | None) -> None:
        obj = after or before
        assert obj is not None
        self.told.append(("+" if before is None else "-" if after is None else "~") + obj["metadata"]["name"])

    def names(self) -> set[str]:
        return {obj["metadata"]["name"] for obj in self.store.select(kinds.TRUST_POLICY)}


@asynccontextmanager
async def running() -> AsyncIterator[Setting]:
    made = Setting()
    await made.feed.prime()
    made.told.clear()
    task = asyncio.create_task(made.feed.run())
    await asyncio.sleep(0)
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@virtual
async def test_priming_takes_in_everything_and_only_then_says_so() -> None:
    made = Setting()
    assert not made.store.primed
    await made.feed.prime()
    assert made.store.primed
    assert made.names() == {"one", "two", "three"}


@virtual
async def test_a_start_without_lists_fails() -> None:
    made = Setting()
    made.cluster.refuse = lambda verb, ref: Transient("no") if verb == "list" else None
    with pytest.raises(ClusterError):
        await made.feed.prime()
    assert not made.store.primed


@virtual
async def test_a_deletion_that_no_watch_told_of_is_found_after_a_re_list() -> None:
    async with running() as setting:
        setting.cluster.user_delete(kinds.TRUST_POLICY, "a", "two")
        for name in ("one", "three"):
            setting.feed.see(None, setting.cluster.peek(kinds.TRUST_POLICY, "a", name))
        await asyncio.sleep(4)
        assert setting.told == []
        await asyncio.sleep(2)
        assert setting.told == ["-two"]
        assert setting.missed == [1]


@virtual
async def test_a_long_re_list_is_not_waited_for_longer_than_half_a_minute() -> None:
    async with running() as setting:
        setting.cluster.user_delete(kinds.TRUST_POLICY, "a", "two")
        for _ in range(14):
            setting.feed.see(None, setting.cluster.peek(kinds.TRUST_POLICY, "a", "one"))
            await asyncio.sleep(2)
        assert setting.told == []
        for _ in range(3):
            setting.feed.see(None, setting.cluster.peek(kinds.TRUST_POLICY, "a", "one"))
            await asyncio.sleep(2)
        assert setting.told == ["-two"]


@virtual
async def test_without_any_news_everything_is_listed_every_ten_minutes() -> None:
    async with running() as setting:
        setting.cluster.user_delete(kinds.TRUST_POLICY, "a", "one")
        setting.cluster.user_apply(policy("four"))
        await asyncio.sleep(599)
        assert setting.told == []
        await asyncio.sleep(2)
        assert sorted(setting.told) == ["+four", "-one"]


@virtual
async def test_a_list_that_fails_is_repeated_until_it_succeeds() -> None:
    async with running() as setting:
        setting.cluster.user_delete(kinds.TRUST_POLICY, "a", "one")
        setting.cluster.refuse = lambda verb, ref: Transient("no") if verb == "list" else None
        setting.feed.relisted()
        await asyncio.sleep(60)
        assert setting.told == []
        setting.cluster.refuse = lambda verb, ref: None
        await asyncio.sleep(15)
        assert setting.told == ["-one"]


@virtual
async def test_an_object_that_appears_while_we_list_is_not_taken_for_gone() -> None:
    async with running() as setting:
        listing = setting.cluster.list

        async def slow(*args: object, **options: object) -> AsyncIterator[Object]:
            found = [obj async for obj in listing(*args, **options)]  # type: ignore[arg-type]
            setting.cluster.user_apply(policy("new"))
            setting.feed.see("ADDED", setting.cluster.peek(kinds.TRUST_POLICY, "a", "new"))
            for obj in found:
                yield obj

        setting.cluster.list = slow  # type: ignore[method-assign]
        await setting.feed.resync()
        assert "new" in setting.names()


@virtual
async def test_an_object_that_is_made_anew_while_we_list_is_not_taken_for_gone() -> None:
    async with running() as setting:
        listing = setting.cluster.list
        setting.cluster.user_delete(kinds.TRUST_POLICY, "a", "two")

        async def slow(*args: object, **options: object) -> AsyncIterator[Object]:
            found = [obj async for obj in listing(*args, **options)]  # type: ignore[arg-type]
            setting.cluster.user_apply(policy("two"))
            setting.feed.see("ADDED", setting.cluster.peek(kinds.TRUST_POLICY, "a", "two"))
            for obj in found:
                yield obj

        setting.cluster.list = slow  # type: ignore[method-assign]
        await setting.feed.resync()
        assert setting.names() == {"one", "two", "three"}
        assert setting.missed == []


@virtual
async def test_what_another_source_shows_is_not_taken_for_gone() -> None:
    async with running() as setting:
        setting.cluster.user_apply(secret("theirs", {"tailseal.dev/allow": "true"}))
        setting.cluster.user_apply(secret("ours", LABELS))
        for name in ("theirs", "ours"):
            setting.feed.see("ADDED", setting.cluster.peek(kinds.SECRET, "a", name))
        setting.cluster.user_delete(kinds.SECRET, "a", "ours")
        await setting.feed.resync()
        assert setting.store.get(Ref(kinds.SECRET, "a", "theirs")) is not None
        assert setting.store.get(Ref(kinds.SECRET, "a", "ours")) is None


@virtual
async def test_duplicate_and_reordered_events_do_no_harm() -> None:
    async with running() as setting:
        old = setting.cluster.peek(kinds.TRUST_POLICY, "a", "one")
        setting.cluster.user_apply(policy("one") | {"spec": {"x": "changed"}})
        new = setting.cluster.peek(kinds.TRUST_POLICY, "a", "one")
        for obj in (new, old, new):
            setting.feed.see("MODIFIED", obj)
        kept = setting.store.get(Ref(kinds.TRUST_POLICY, "a", "one"))
        assert kept is not None
        assert kept["spec"] == {"x": "changed"}
        assert setting.told == ["~one"]


@virtual
async def test_a_watch_that_stays_silent_about_what_lists_show_is_dead() -> None:
    async with running() as setting:
        setting.cluster.user_apply(policy("four"))
        await setting.feed.resync()
        assert setting.feed.dead() == ""
        await asyncio.sleep(61)
        assert "trustpolicies is silent" in setting.feed.dead()
        setting.feed.see("ADDED", setting.cluster.peek(kinds.TRUST_POLICY, "a", "four"))
        assert setting.feed.dead() == ""


@virtual
async def test_our_own_writes_are_no_sign_of_a_dead_watch() -> None:
    async with running() as setting:
        setting.store.put(await setting.cluster.apply(policy("four"), manager="m"))
        await setting.feed.resync()
        await asyncio.sleep(61)
        assert setting.feed.dead() == ""


@virtual
async def test_a_source_that_cannot_be_listed_any_more_is_dead() -> None:
    async with running() as setting:
        setting.cluster.refuse = lambda verb, ref: Transient("no") if verb == "list" else None
        await asyncio.sleep(1801)
        assert "last listed" in setting.feed.dead()


@virtual
async def test_a_watch_that_comes_back_late_and_has_nothing_left_to_show_loses_no_deletion() -> None:
    async with running() as setting:
        setting.feed.relisted()  # some other kind's watch
        await asyncio.sleep(6)
        for name in ("one", "two", "three"):
            setting.cluster.user_delete(kinds.TRUST_POLICY, "a", name)
        await asyncio.sleep(50)
        assert setting.names() == set()


@virtual
async def test_an_object_that_loses_one_of_the_labels_we_watch_by_is_not_forgotten() -> None:
    async with running() as setting:
        ref = Ref(kinds.SECRET, "a", "both")
        setting.cluster.user_apply(secret("both", {**LABELS, "tailseal.dev/allow": "true"}))
        before = setting.cluster.peek(kinds.SECRET, "a", "both")
        setting.feed.see("ADDED", before)
        setting.cluster.user_edit(kinds.SECRET, "a", "both", lambda obj: obj["metadata"].update(labels=LABELS))
        after = setting.cluster.peek(kinds.SECRET, "a", "both")
        # A watch by a label tells of its loss as of a deletion, of the former object at the new version.
        ended = before | {"metadata": before["metadata"] | {"resourceVersion": after["metadata"]["resourceVersion"]}}
        for events in ((("DELETED", ended), ("MODIFIED", after)), (("MODIFIED", after), ("DELETED", ended))):
            for change, obj in events:
                setting.feed.see(change, obj)
            await asyncio.sleep(10)
            assert setting.store.get(ref) is not None
        setting.cluster.user_delete(kinds.SECRET, "a", "both")
        await asyncio.sleep(60)
        assert setting.store.get(ref) is None


@virtual
async def test_a_watch_that_never_begins_is_dead() -> None:
    async with running() as setting:
        setting.feed.relisted()
        await asyncio.sleep(59)
        assert setting.feed.dead() == ""
        await asyncio.sleep(2)
        assert "the watch of trustpolicies never began" in setting.feed.dead()
        setting.feed.see(None, setting.cluster.peek(kinds.TRUST_POLICY, "a", "one"))
        assert setting.feed.dead() == ""


@virtual
async def test_a_watch_that_cannot_begin_for_an_outage_is_not_dead() -> None:
    async with running() as setting:
        setting.cluster.refuse = lambda verb, ref: Transient("no") if verb == "list" else None
        setting.feed.relisted()
        await asyncio.sleep(600)
        assert setting.feed.dead() == ""
