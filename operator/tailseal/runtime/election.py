"""At most one operator acts: a Lease, taken and renewed by compare-and-swap on its resourceVersion.

Renewal lives in a thread with an event loop and a client of its own, because the main loop may stand still for
seconds while thousands of objects come in. It stops renewing when the main loop has shown no heartbeat for too long:
an operator that is stuck must not keep others from acting. Whoever loses the Lease leaves the process at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime

from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError, Conflict, Transient
from tailseal.cluster.hangup import hang_up
from tailseal.cluster.port import Cluster, Object, Ref

MANAGER = "tailseal-election"


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: after which a silent holder's Lease may be taken; in which ours must be renewed; between tries."""

    lease: float = 15.0
    deadline: float = 10.0
    retry: float = 2.0


class Heartbeat:
    """Shows another thread that an event loop still turns."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._at = monotonic()

    @property
    def age(self) -> float:
        """Seconds since the last beat."""
        return self._monotonic() - self._at

    def beat(self) -> None:
        """The loop turned."""
        self._at = self._monotonic()

    async def run(self, interval: float = 1.0) -> None:
        """Beat until cancelled."""
        while True:
            self.beat()
            await asyncio.sleep(interval)


class Elector:
    """One candidate.

    Args:
        cluster: where the Lease is.
        lease: its address.
        identity: unlike any other candidate's.
        frozen: whether the process is stuck and must not renew.
        monotonic: seconds that no clock change moves.
        now: Unix seconds, for people who read the Lease.
    """

    def __init__(
        self,
        cluster: Cluster,
        lease: Ref,
        identity: str,
        *,
        frozen: Callable[[], bool] = lambda: False,
        timing: Timing | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._ref = lease
        self._identity = identity
        self._frozen = frozen
        self._timing = timing or Timing()
        self._monotonic = monotonic
        self._now = now
        self._seen: tuple[str, float] = ("", monotonic())
        self._renewed = monotonic()

    async def acquire(self) -> None:
        """Wait until the Lease is ours, and for a while yet."""
        while not await self._attempt():  # noqa: ASYNC110 - the event is in the cluster
            await asyncio.sleep(self._timing.retry)

    async def hold(self) -> None:
        """Renew the Lease; return when it is lost, or can no longer be trusted to be ours."""
        while self._monotonic() - self._renewed < self._timing.deadline:
            await asyncio.sleep(self._timing.retry)
            if self._frozen():
                return
            try:
                # What is left, and no more: an answer waited for in full would come when others lead.
                async with asyncio.timeout(self._renewed + self._timing.deadline - self._monotonic()):
                    if not await self._take():
                        return
            except (ClusterError, TimeoutError):
                continue

    async def release(self) -> None:
        """Let the next candidate have it without waiting, if it is still ours; errors do not matter any more."""
        with contextlib.suppress(ClusterError):
            lease = await self._cluster.get(self._ref)
            if lease is not None and lease.get("spec", {}).get("holderIdentity") == self._identity:
                await self._cluster.apply(self._wanted(lease, holder=""), manager=MANAGER)

    async def _attempt(self) -> bool:
        try:
            # With the other half we are still to renew it: an answer that comes later says what was.
            async with asyncio.timeout(self._timing.deadline / 2):
                return await self._take()
        except (Conflict, Transient, TimeoutError):
            return False

    async def _take(self) -> bool:
        """Take or renew the Lease unless somebody else holds it; a lost race is a Conflict."""
        asked = self._monotonic()
        lease = await self._cluster.get(self._ref)
        if lease is None:
            # Created empty, so that two candidates cannot both believe to have created it with their name.
            lease = await self._cluster.apply(self._shell(), manager=MANAGER)
        if self._held_by_another(lease):
            return False
        await self._cluster.apply(self._wanted(lease, holder=self._identity), manager=MANAGER)
        self._renewed = asked
        return True

    def _held_by_another(self, lease: Object) -> bool:
        """Whether a living other holds it: time is counted from when we saw its last sign, by our own clock."""
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = version, self._monotonic()
        holder = lease.get("spec", {}).get("holderIdentity", "")
        return holder not in ("", self._identity) and self._monotonic() - self._seen[1] < self._timing.lease

    def _shell(self) -> Object:
        metadata = {"name": self._ref.name, "namespace": self._ref.namespace}
        return {"apiVersion": kinds.LEASE.api_version, "kind": kinds.LEASE.kind, "metadata": metadata}

    def _wanted(self, lease: Object, *, holder: str) -> Object:
        shell, spec = self._shell(), lease.get("spec", {})
        shell["metadata"] |= {name: lease["metadata"][name] for name in ("uid", "resourceVersion")}
        instant = datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        changed = spec.get("holderIdentity", "") != holder
        shell["spec"] = {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(self._timing.lease)),
            "acquireTime": instant if changed else spec.get("acquireTime", instant),
            "renewTime": instant,
            "leaseTransitions": spec.get("leaseTransitions", 0) + (1 if changed and holder else 0),
        }
        return shell


class ElectionThread:
    """Runs an elector beside the main loop.

    Args:
        connect: opens a client in the thread's own loop.
        elect: makes the elector on it.
        lost: called from the thread when the Lease is lost; it must end the process.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[Cluster]],
        elect: Callable[[Cluster], Elector],
        lost: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._elect = elect
        self._lost = lost
        self._stop = threading.Event()

    @contextlib.asynccontextmanager
    async def leading(self) -> AsyncIterator[None]:
        """Wait for the lead, keep it while inside, release it on the way out."""
        loop = asyncio.get_running_loop()
        elected: asyncio.Future[None] = loop.create_future()
        thread = threading.Thread(target=asyncio.run, args=(self._main(loop, elected),), name="election", daemon=True)
        thread.start()
        try:
            await elected
            yield
        finally:
            self._stop.set()
            await asyncio.to_thread(thread.join, 5.0)

    async def _main(self, loop: asyncio.AbstractEventLoop, elected: asyncio.Future[None]) -> None:
        leads = False
        try:
            async with self._connect() as cluster:
                elector = self._elect(cluster)
                if await self._unless_stopped(elector.acquire()):
                    leads = True
                    loop.call_soon_threadsafe(_settle, elected, None)
                    if await self._unless_stopped(elector.hold()):
                        self._lost()
                    await elector.release()
        except Exception as error:  # noqa: BLE001 - whatever it is: nobody renews the Lease any more
            if leads and not self._stop.is_set():
                self._lost()
            loop.call_soon_threadsafe(_settle, elected, error)
        finally:
            await hang_up()

    async def _unless_stopped(self, work: Coroutine[None, None, None]) -> bool:
        """Do the work, or give it up when told to stop; whether it was done."""
        task, stopped = asyncio.create_task(work), asyncio.create_task(self._stopped())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        done = task.done()
        for pending in (task, stopped):
            pending.cancel()
        if done:
            await task
        return done

    async def _stopped(self) -> None:
        while not self._stop.is_set():  # noqa: ASYNC110 - set from another thread
            await asyncio.sleep(0.1)


def _settle(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(None)
