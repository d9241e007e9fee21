"""Events for people, posted in the background: repeated ones are dropped, an object's flood is cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from tailseal.cluster.errors import ClusterError
from tailseal.cluster.port import Cluster, Object

CONTROLLER = "tailseal.dev/operator"
_NOTE = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for which the same event is not repeated; events of one object in that time; queue length; memory."""

    window: float = 600.0
    burst: int = 25
    waiting: int = 1000
    remembered: int = 4096


class EventRecorder:
    """Implements `reconcile.context.Recorder`; `run` posts.

    Args:
        cluster: where to post.
        instance: who posts, e.g. the pod's name.
        now: Unix seconds.
        dropped: called for each event that was given up: too many, or refused by the API server.
    """

    def __init__(
        self,
        cluster: Cluster,
        instance: str,
        now: Callable[[], float],
        *,
        dropped: Callable[[], None] = lambda: None,
        limits: Limits | None = None,
    ) -> None:
        self._cluster = cluster
        self._instance = instance
        self._now = now
        self._dropped = dropped
        self._limits = limits or Limits()
        self._said: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._bursts: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._waiting: asyncio.Queue[Object] = asyncio.Queue(self._limits.waiting)
        self._count = 0

    async def event(self, obj: Object, *, warning: bool, reason: str, message: str) -> None:
        """See `Recorder.event`."""
        uid, now = str(obj["metadata"].get("uid", "")), self._now()
        if self._repeated((uid, str(warning), reason, message), now):
            return
        if self._flooding(uid, now):
            self._dropped()
            return
        try:
            self._waiting.put_nowait(self._make(obj, now, warning=warning, reason=reason, message=message))
        except asyncio.QueueFull:
            self._dropped()

    async def run(self) -> None:
        """Post what waits, until cancelled."""
        while True:
            event = await self._waiting.get()
            try:
                await self._cluster.create_event(event["metadata"]["namespace"], event)
            except ClusterError:
                self._dropped()

    async def flush(self, seconds: float) -> None:
        """Post what still waits, for at most that long: on the way out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._waiting.empty():
                    event = self._waiting.get_nowait()
                    with contextlib.suppress(ClusterError):
                        await self._cluster.create_event(event["metadata"]["namespace"], event)

    def _repeated(self, said: tuple[str, ...], now: float) -> bool:
        if now - self._said.get(said, float("-inf")) < self._limits.window:
            return True
        self._said[said] = now
        self._said.move_to_end(said)
        if len(self._said) > self._limits.remembered:
            self._said.popitem(last=False)
        return False

    def _flooding(self, uid: str, now: float) -> bool:
        since, count = self._bursts.get(uid, (now, 0))
        if now - since >= self._limits.window:
            since, count = now, 0
        self._bursts[uid] = since, count + 1
        self._bursts.move_to_end(uid)
        if len(self._bursts) > self._limits.remembered:
            self._bursts.popitem(last=False)
        return count >= self._limits.burst

    def _make(self, obj: Object, now: float, *, warning: bool, reason: str, message: str) -> Object:
        metadata = obj["metadata"]
        self._count += 1
        regarding = {"apiVersion": obj["apiVersion"], "kind": obj["kind"]}
        regarding |= {name: metadata[name] for name in ("namespace", "name", "uid") if name in metadata}
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{metadata['name'][:200]}.{int(now * 1e6):x}{self._count:x}",
                "namespace": metadata.get("namespace", "default"),
            },
            "eventTime": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": "Warning" if warning else "Normal",
            "reason": reason,
            "action": "Reconcile",
            "note": message if len(message) <= _NOTE else message[: _NOTE - 1] + "…",
            "regarding": regarding,
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance[:128],
        }
