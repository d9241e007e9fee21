"""What every worker pod really serves: known pods by watch, their state by an authenticated poll.

A pod counts as a replica from the moment it was first seen Ready until it is gone: the poll only says what it does.
Replicas that report what is wanted are asked every few seconds; those that lag are asked many times a second.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError
from tailseal.cluster.port import Object, Ref
from tailseal.domain import clocks, poll
from tailseal.domain.evidence import Replica, Report
from tailseal.runtime.store import Store

_IN_FLIGHT = 32

Ask = Callable[[Object, bytes], Awaitable[bytes]]
"""Sends a question to a pod and returns its answer; raises OSError, TimeoutError or ClusterError where none comes."""

News = Callable[[str, str], None]
"""Called with namespace and provider when a replica reports something new, falls silent or is heard again."""

Provider = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Cadence:
    """Seconds between questions to a replica, and until silence is news.

    `slow` is for replicas that are as wanted; for others it starts with `fast`, is `steady` after `fast_for`, and
    `slow` again for those that have been silent for `silent`.
    """

    slow: float = 3.0
    fast: float = 0.1
    fast_for: float = 5.0
    steady: float = 0.25
    silent: float = 30.0


@dataclass(slots=True)
class _Pod:
    """A worker pod, what it last said, and the task that keeps asking it."""

    obj: Object
    ever_ready: bool
    report: Report | None = None
    heard: float = 0.0
    silent: bool = False
    nudge: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def provider(self) -> Provider:
        metadata = self.obj["metadata"]
        return metadata["namespace"], metadata["labels"][meta.PROVIDER_LABEL]

    def replica(self) -> Replica:
        metadata = self.obj["metadata"]
        return Replica(
            uid=metadata["uid"],
            name=metadata["name"],
            component=metadata["labels"].get(meta.COMPONENT_LABEL, ""),
            ever_ready=self.ever_ready,
            ready=is_ready(self.obj),
            terminating="deletionTimestamp" in metadata,
            report=self.report,
            labels=metadata["labels"],
        )


class Probe:
    """Implements `reconcile.context.Replicas`.

    Args:
        store: where a provider's poll key is looked up.
        ask: how a pod is reached.
        news: told of what changes.
        now: Unix seconds, for what is asked and reported.
        observe: called with the outcome of each question: `ok`, `unreachable` or `refused`.
        jitter: numbers in [0, 1).
    """

    def __init__(
        self,
        store: Store,
        ask: Ask,
        news: News,
        *,
        now: Callable[[], float],
        observe: Callable[[str], None] = lambda _outcome: None,
        cadence: Cadence | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._ask = ask
        self._news = news
        self._now = now
        self._observe = observe
        self._cadence = cadence or Cadence()
        self._jitter = jitter
        self._slots = asyncio.Semaphore(_IN_FLIGHT)
        self._pods: dict[str, _Pod] = {}
        self._wanted: dict[Provider, dict[str, str]] = {}
        self._wanted_at: dict[Provider, float] = {}

    def of(self, namespace: str, provider: str) -> Sequence[Replica]:
        """See `Replicas.of`."""
        return [pod.replica() for pod in self._pods.values() if pod.provider == (namespace, provider)]

    def want(self, namespace: str, provider: str, digests: Mapping[str, str]) -> None:
        """See `Replicas.want`."""
        key = namespace, provider
        if self._wanted.get(key) == dict(digests):
            return
        self._wanted[key] = dict(digests)
        self._wanted_at[key] = self._now()
        for pod in self._pods.values():
            if pod.provider == key:
                pod.nudge.set()

    def changed(self, before: Object | None, after: Object | None) -> None:
        """Take in a change of a Pod that the store has seen; pods that no provider owns are none of ours.

        One that loses its label may go on signing: it counts until it is gone.
        """
        gone = after is None or after.get("status", {}).get("phase") in ("Succeeded", "Failed")
        if before is not None and (gone or (after or before)["metadata"]["uid"] != before["metadata"]["uid"]):
            former = self._drop(before["metadata"]["uid"])
            if former is not None and former.ever_ready:
                self._news(*former.provider)
        if after is not None and not gone and meta.PROVIDER_LABEL in after["metadata"].get("labels", {}):
            self._keep(after)

    async def close(self) -> None:
        """Stop asking."""
        tasks = [pod.task for pod in self._pods.values() if pod.task is not None]
        for uid in list(self._pods):
            self._drop(uid)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _keep(self, obj: Object) -> None:
        uid = obj["metadata"]["uid"]
        pod = self._pods.get(uid)
        if pod is None:
            pod = self._pods[uid] = _Pod(obj, ever_ready=was_ready(obj), heard=self._now())
        pod.obj = obj
        if not pod.ever_ready and is_ready(obj):
            pod.ever_ready = True
            self._news(*pod.provider)  # from now on it counts, and it may have said long ago what it serves
        if pod.task is None and obj.get("status", {}).get("podIP"):
            pod.task = asyncio.get_running_loop().create_task(self._follow(pod))

    def _drop(self, uid: str) -> _Pod | None:
        pod = self._pods.pop(uid, None)
        if pod is not None and pod.task is not None:
            pod.task.cancel()
        return pod

    async def _follow(self, pod: _Pod) -> None:
        while True:
            pod.nudge.clear()
            async with self._slots:
                await self._question(pod)
            try:
                async with asyncio.timeout(self._pause(pod)):
                    await pod.nudge.wait()
            except TimeoutError:
                continue

    def _pause(self, pod: _Pod) -> float:
        cadence, wanted = self._cadence, self._wanted.get(pod.provider)
        if wanted is None or self._as_wanted(pod, wanted) or self._now() - pod.heard > cadence.silent:
            return cadence.slow * (0.7 + 0.6 * self._jitter())
        waited = self._now() - max(self._wanted_at[pod.provider], pod.heard if pod.report is None else 0.0)
        return cadence.fast if waited < cadence.fast_for else cadence.steady

    @staticmethod
    def _as_wanted(pod: _Pod, wanted: Mapping[str, str]) -> bool:
        return pod.report is not None and wanted.items() <= dict(pod.report.digests).items()

    async def _question(self, pod: _Pod) -> None:
        """Ask once. Nobody is asked before it is known what is wanted, or without a key to ask with."""
        wanted, key = self._wanted.get(pod.provider), self._key(pod.provider)
        if wanted is None or key is None:
            return
        question = poll.Question(secrets.token_urlsafe(16), self._now(), wanted)
        try:
            body = await self._ask(pod.obj, poll.seal_question(question, key))
            answer = poll.open_answer(body, key, nonce=question.nonce, pod_uid=pod.obj["metadata"]["uid"])
        except (OSError, ClusterError):
            self._silent(pod, "unreachable")
        except poll.PollError:
            self._silent(pod, "refused")
        else:
            report = answer.report(sent_at=question.time, heard_at=self._now())
            if answer.mute:
                self._mute(pod, report)
            else:
                self._heard(pod, report)

    def _heard(self, pod: _Pod, report: Report) -> None:
        self._observe("ok")
        former, pod.report, pod.heard = pod.report, report, report.heard_at
        if pod.silent or former is None or _said(former) != _said(report):
            pod.silent = False
            self._news(*pod.provider)

    def _mute(self, pod: _Pod, report: Report) -> None:
        """A replica that tells only its clock: what it said last still stands, as old as it is."""
        former = pod.report
        pod.report = report
        if former is not None:
            off = clocks.offset(report)
            pod.report = replace(former, clock=(former.heard_at if off > 0 else former.sent_at) + off)
        if former is None or _said(former) != _said(pod.report):
            self._news(*pod.provider)
        self._silent(pod, "refused")

    def _silent(self, pod: _Pod, outcome: str) -> None:
        self._observe(outcome)
        if not pod.silent and self._now() - pod.heard > self._cadence.silent:
            pod.silent = True
            self._news(*pod.provider)

    def _key(self, provider: Provider) -> bytes | None:
        namespace, name = provider
        secret = self._store.get(Ref(kinds.SECRET, namespace, meta.issuer_secret(name)))
        try:
            return base64.b64decode((secret or {}).get("data", {})[poll.KEY_FILE], validate=True) or None
        except (KeyError, TypeError, binascii.Error):
            return None


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the pod's Ready condition is True."""
    return _condition(pod).get("status") == "True"


def was_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the pod is or ever was Ready, as far as one look can tell; in doubt it was.

    A condition that is False keeps the instant of its last flip: one clearly later than the pod's start was a fall.
    """
    condition, started = _condition(pod), pod.get("status", {}).get("startTime")
    if condition.get("status") == "True":
        return True
    flipped = condition.get("lastTransitionTime")
    if not flipped or not started:
        return False
    return (_instant(flipped) - _instant(started)) > 2.0  # noqa: PLR2004 - both have whole seconds


def _condition(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    conditions = pod.get("status", {}).get("conditions") or ()
    return next((condition for condition in conditions if condition.get("type") == "Ready"), {})


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _said(report: Report) -> tuple[Any, ...]:
    """A report without its times, but with how far its clock is off."""
    off = clocks.coarse(clocks.offset(report))
    keys = (report.served, report.held, dict(report.signing))
    return dict(report.digests), *keys, report.problems, dict(report.node), report.reads, off
