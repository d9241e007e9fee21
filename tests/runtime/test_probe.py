"""The probe: who counts as a replica, what is believed of it, and how often it is asked."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from fakes.virtualtime import virtual
from tailseal.cluster.port import Object
from tailseal.domain import clocks, poll
from tailseal.runtime.probe import Probe, is_ready, was_ready
from tailseal.runtime.store import Store

KEY = b"k" * 32
START = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T00:05:00Z"


def ready(status: str, flipped: str = START) -> Object:
    return {"type": "Ready", "status": status, "lastTransitionTime": flipped}


def pod(uid: str = "u1", *conditions: Object, labels: bool = True, **more: Any) -> Object:  # noqa: ANN401
    metadata: dict[str, Any] = {"name": f"corp-sts-{uid}", "namespace": "id", "uid": uid, "resourceVersion": "1"}
    if labels:
        metadata["labels"] = {"tailseal.dev/identity-provider": "corp", "app.kubernetes.io/component": "sts"}
    metadata |= more.pop("metadata", {})
    status = {"podIP": "127.0.0.9", "startTime": START, "conditions": list(conditions)} | more
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status}


def poll_secret() -> Object:
    data = {"poll.key": base64.b64encode(KEY).decode()}
    metadata = {"name": "corp-issuer", "namespace": "id", "resourceVersion": "1"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}


class Worker:
    """Answers as a worker does; what it has loaded can be changed."""

    def __init__(self) -> None:
        self.digests = {"signing": "s1", "policies": "p1"}
        self.key = KEY
        self.node: dict[str, str] = {}
        self.uid = "u1"
        self.asked: list[float] = []
        self.wanted: list[dict[str, str]] = []
        self.silent = False
        self.mangle: Callable[[bytes], bytes] = lambda body: body

    async def ask(self, obj: Object, body: bytes) -> bytes:
        self.asked.append(now())
        if self.silent:
            raise OSError("no route")
        question = poll.open_question(body, KEY, now=now())
        self.wanted.append(dict(question.wanted))
        keys: Any = (("k1",), ("k1",), {"ES256": "k1"})
        answer = poll.Answer(question.nonce, self.uid, now(), self.digests, *keys, node=self.node)
        return self.mangle(poll.seal_answer(answer, self.key))


def now() -> float:
    return asyncio.get_running_loop().time()


class Setting:
    def __init__(self) -> None:
        self.store = Store(lambda before, after: None)
        self.store.put(poll_secret())
        self.worker = Worker()
        self.news: list[tuple[float, str, str]] = []
        self.outcomes: list[str] = []
        self.probe = Probe(
            self.store,
            self.worker.ask,
            lambda namespace, provider: self.news.append((now(), namespace, provider)),
            now=now,
            observe=self.outcomes.append,
            jitter=lambda: 0.5,
        )

    def replica(self) -> Any:  # noqa: ANN401 - Replica, for brevity of asserts
        (found,) = self.probe.of("id", "corp")
        return found


@asynccontextmanager
async def probing(*conditions: Object) -> AsyncIterator[Setting]:
    made = Setting()
    made.probe.changed(None, pod("u1", *(conditions or (ready("True"),))))
    try:
        yield made
    finally:
        await made.probe.close()


@virtual
async def test_a_replica_reports_what_it_serves() -> None:
    async with probing() as setting:
        setting.probe.want("id", "corp", {"signing": "s1", "policies": "p1"})
        await asyncio.sleep(1)
        replica = setting.replica()
        assert replica.report.digests == {"signing": "s1", "policies": "p1"}
        assert replica.report.served == {"k1"}
        assert (replica.component, replica.ever_ready, replica.ready, replica.terminating) == ("sts", True, True, False)
        assert setting.worker.wanted[-1] == {"signing": "s1", "policies": "p1"}
        assert [said[1:] for said in setting.news] == [("id", "corp")]


@virtual
async def test_nobody_is_asked_before_it_is_known_what_is_wanted_or_without_a_key() -> None:
    async with probing() as setting:
        await asyncio.sleep(10)
        assert setting.worker.asked == []
        setting.probe.want("id", "other", {})
        await asyncio.sleep(10)
        assert setting.worker.asked == []


@virtual
async def test_replicas_as_wanted_are_asked_every_few_seconds_and_laggards_many_times_a_second() -> None:
    async with probing() as setting:
        setting.probe.want("id", "corp", {"signing": "s1"})
        await asyncio.sleep(31)
        assert 9 <= len(setting.worker.asked) <= 12
        setting.worker.asked.clear()
        setting.probe.want("id", "corp", {"signing": "s2"})
        await asyncio.sleep(2)
        assert 18 <= len(setting.worker.asked) <= 22
        await asyncio.sleep(8)
        setting.worker.asked.clear()
        await asyncio.sleep(10)
        assert 38 <= len(setting.worker.asked) <= 42
        setting.news.clear()
        setting.worker.digests = {"signing": "s2"}
        await asyncio.sleep(0.3)
        assert len(setting.news) == 1
        setting.worker.asked.clear()
        await asyncio.sleep(30)
        assert len(setting.worker.asked) <= 12


@virtual
async def test_the_same_report_is_no_news_but_its_time_is_kept() -> None:
    async with probing() as setting:
        setting.probe.want("id", "corp", {"signing": "s1"})
        await asyncio.sleep(1)
        first = setting.replica().report
        setting.news.clear()
        await asyncio.sleep(20)
        assert setting.news == []
        assert setting.replica().report.heard_at > first.heard_at + 10


@virtual
async def test_what_becomes_of_its_node_in_the_tailnet_is_news() -> None:
    async with probing() as setting:
        setting.probe.want("id", "corp", {"signing": "s1"})
        await asyncio.sleep(1)
        setting.news.clear()
        setting.worker.node = {"state": "Running", "name": "idp.tail.example"}
        await asyncio.sleep(10)
        assert len(setting.news) == 1
        assert setting.replica().report.node == setting.worker.node


@virtual
async def test_silence_is_news_after_half_a_minute_once_and_so_is_the_next_answer() -> None:
    async with probing() as setting:
        setting.probe.want("id", "corp", {"signing": "s1"})
        await asyncio.sleep(5)
        setting.news.clear()
        setting.worker.silent = True
        await asyncio.sleep(25)
        assert setting.news == []
        await asyncio.sleep(60)
        assert len(setting.news) == 1
        assert setting.replica().report is not None
        setting.worker.silent = False
        await asyncio.sleep(10)
        assert len(setting.news) == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda worker: setattr(worker, "key", b"x" * 32),
        lambda worker: setattr(worker, "uid", "another pod"),
        lambda worker: setattr(worker, "mangle", lambda body: b"<html>"),
        lambda worker: setattr(worker, "mangle", lambda body: b"x" * 300_000),
    ],
    ids=["another key", "another pod", "no envelope", "too large"],
)
def test_an_answer_that_is_not_the_pods_own_is_not_believed(spoil: Callable[[Worker], None]) -> None:
    @virtual
    async def run() -> None:
        async with probing() as setting:
            spoil(setting.worker)
            setting.probe.want("id", "corp", {"signing": "s1"})
            await asyncio.sleep(5)
            assert setting.replica().report is None
            assert set(setting.outcomes) == {"refused"}

    run()


@virtual
async def test_an_old_answer_played_again_is_not_believed() -> None:
    async with probing() as setting:
        kept: list[bytes] = []
        setting.worker.mangle = lambda body: kept.append(body) or body
        setting.probe.want("id", "corp", {"signing": "s1"})
        await asyncio.sleep(1)
        before = setting.replica().report
        setting.worker.mangle = lambda body: kept[0]
        await asyncio.sleep(20)
        assert setting.replica().report == before
        assert "refused" in setting.outcomes


@virtual
async def test_a_replica_that_counts_or_counts_no_more_is_news_whenever_it_said_what_it_serves() -> None:
    """Policies and clients wait for just that, and look again at news alone."""
    async with probing(ready("False")) as setting:
        setting.probe.want("id", "corp", {"signing": "s1", "policies": "p1"})
        await asyncio.sleep(6)
        before = len(setting.news)
        up = pod("u1", ready("True", LATER))
        setting.probe.changed(pod("u1", ready("False")), up)
        assert setting.replica().ever_ready
        assert len(setting.news) == before + 1
        setting.probe.changed(up, pod("u1", ready("False", LATER)))
        setting.probe.changed(pod("u1", ready("False", LATER)), up)
        assert len(setting.news) == before + 1
        setting.probe.changed(up, None)
        assert len(setting.news) == before + 2


@virtual
async def test_a_pod_that_was_ever_ready_counts_until_it_is_gone() -> None:
    async with probing() as setting:
        down = pod("u1", ready("False", LATER), metadata={"deletionTimestamp": LATER})
        setting.probe.changed(pod("u1", ready("True")), down)
        replica = setting.replica()
        assert (replica.ever_ready, replica.ready, replica.terminating) == (True, False, True)
        setting.probe.changed(down, None)
        assert setting.probe.of("id", "corp") == []


@virtual
async def test_a_pod_that_never_was_ready_is_known_but_has_proven_nothing() -> None:
    async with probing(ready("False")) as setting:
        assert not setting.replica().ever_ready
        setting.probe.changed(pod("u1", ready("False")), pod("u1", ready("True")))
        setting.probe.changed(pod("u1", ready("True")), pod("u1", ready("False", LATER)))
        assert setting.replica().ever_ready


@virtual
async def test_a_failed_pod_and_its_namesake_successor_are_told_apart() -> None:
    async with probing() as setting:
        before = pod("u1", ready("True"))
        setting.probe.changed(before, pod("u2", ready("False")))
        assert setting.replica().uid == "u2"
        setting.probe.changed(pod("u2", ready("False")), pod("u2", ready("False"), phase="Failed"))
        assert setting.probe.of("id", "corp") == []


@virtual
async def test_a_pod_that_somebody_took_our_label_from_counts_until_it_is_gone_and_no_longer() -> None:
    async with probing() as setting:
        bare = pod("u1", ready("True"), labels=False)
        setting.probe.changed(pod("u1", ready("True")), bare)
        assert setting.replica().ever_ready
        setting.probe.changed(bare, None)
        assert setting.probe.of("id", "corp") == []


@virtual
async def test_pods_of_nobody_are_ignored_and_pods_without_an_address_wait() -> None:
    async with probing() as setting:
        setting.probe.changed(None, pod("u3", labels=False))
        setting.probe.changed(None, pod("u4", podIP=""))
        setting.probe.want("id", "corp", {"signing": "s1"})
        await asyncio.sleep(1)
        assert {replica.uid for replica in setting.probe.of("id", "corp")} == {"u1", "u4"}
        setting.worker.asked.clear()
        setting.probe.changed(pod("u1", ready("True")), None)
        await asyncio.sleep(20)
        assert setting.worker.asked == []


@pytest.mark.parametrize(
    ("conditions", "is_now", "ever"),
    [
        ((), False, False),
        ((ready("True"),), True, True),
        ((ready("False"),), False, False),
        ((ready("False", "2026-01-01T00:00:02Z"),), False, False),
        ((ready("False", LATER),), False, True),
        (({"type": "Ready", "status": "False"},), False, False),
    ],
)
def test_one_look_tells_who_is_and_who_was_ready(conditions: tuple[Object, ...], *, is_now: bool, ever: bool) -> None:
    obj = pod("u1", *conditions)
    assert (is_ready(obj), was_ready(obj)) == (is_now, ever)


@virtual
async def test_a_replica_whose_clock_is_far_off_is_silent_but_its_clock_is_known() -> None:
    async with probing() as setting:
        setting.probe.want("id", "corp", {"signing": "s1", "policies": "p1"})
        await asyncio.sleep(4)
        before, told = setting.replica().report, len(setting.news)
        mute = poll.Answer("", "u1", 0.0, {}, (), (), {}, (poll.CLOCK_SKEW,))

        async def skewed(_: Object, body: bytes) -> bytes:
            nonce = poll.open_question(body, KEY, now=now()).nonce
            return poll.seal_answer(replace(mute, nonce=nonce, clock=now() + 400), KEY)

        setting.probe._ask = skewed
        await asyncio.sleep(40)
        after = setting.replica().report
        assert (after.held, after.digests, after.heard_at) == (before.held, before.digests, before.heard_at)
        assert clocks.coarse(clocks.offset(after)) == 300
        assert len(setting.news) == told + 2, "its clock, then its silence"
        assert setting.outcomes[-1] == "refused"
