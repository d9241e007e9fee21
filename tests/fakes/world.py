"""A cluster, an operator and time: runs reconcilers till nothing moves, in any order, through crashes and restarts."""

from __future__ import annotations

import heapq
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from fakes.cluster import FakeCluster, Killed, Write
from fakes.context import FakeClock, FakeEntropy, FakeObjects, FakeQueue, FakeRecorder, FakeReplicas, make_context
from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError, Conflict, Transient
from tailseal.domain.publishing.store import Nowhere, Outside
from tailseal.reconcile.context import Context, Done, Key, OperatorSettings

Reconcile = Callable[[Context, str, str], Awaitable[Done]]

_PRIMARY = {
    "SigningKey": kinds.SIGNING_KEY,
    "IdentityProvider": kinds.IDENTITY_PROVIDER,
    "Bundle": kinds.IDENTITY_PROVIDER,
    "Propagation": kinds.IDENTITY_PROVIDER,
    "Publish": kinds.IDENTITY_PROVIDER,
    "TrustPolicy": kinds.TRUST_POLICY,
    "OAuthClient": kinds.OAUTH_CLIENT,
}


class World:
    """One cluster and the operator's controllers on it.

    Args:
        controllers: `reconcile` by controller name (`SigningKey`, `IdentityProvider`, `Bundle`, `TrustPolicy`, …).
        order: seed by which keys are shuffled before each pass; None keeps them sorted.
    """

    def __init__(
        self,
        controllers: Mapping[str, Reconcile],
        *,
        order: int | None = None,
        settings: OperatorSettings | None = None,
        now: float = 1_800_000_000.0,
    ) -> None:
        self.controllers = dict(controllers)
        self.cluster = FakeCluster()
        self.clock = FakeClock(now)
        self.replicas = FakeReplicas(self.cluster, self.clock)
        self.recorder = FakeRecorder()
        self._settings = settings or OperatorSettings()
        self.outside: Outside = Nowhere()
        self._shuffle = random.Random(order) if order is not None else None
        self._keys: set[Key] = set()
        self._lives = 0
        self._wakes: list[tuple[float, Key]] = []
        self.restart()

    def restart(self) -> None:
        """The operator process ends and another starts: everything it kept in memory is lost."""
        self._lives += 1
        self._wakes = []
        self.queue = FakeQueue([])
        self.context = make_context(
            self.cluster,
            self.clock,
            self._settings,
            objects=FakeObjects(self.cluster),
            replicas=self.replicas,
            entropy=FakeEntropy(str(self._lives)),
            recorder=self.recorder,
            enqueue=self.queue,
            outside=self.outside,
        )

    async def reconcile(self, controller: str, namespace: str, name: str) -> Done:
        """One run of one controller; its errors come through."""
        self.cluster.now = self.clock.now()
        done = await self.controllers[controller](self.context, namespace, name)
        key = Key(controller, namespace, name)
        if done.after is not None:
            heapq.heappush(self._wakes, (self.clock.now() + done.after, key))
        return done

    async def converge(self, max_steps: int = 50) -> None:
        """Pass over all keys until a pass writes nothing.

        Raises:
            AssertionError: after `max_steps` passes it still writes: the controllers fight.
        """
        for _ in range(max_steps):
            before = len(self.cluster.writes)
            if not await self._pass() and len(self.cluster.writes) == before:
                return
        recent = [f"{write.verb} {write.ref.kind.kind}/{write.ref.name}" for write in self.cluster.writes[-10:]]
        raise AssertionError(f"no rest after {max_steps} passes; last writes: {recent}")

    async def idle_writes(self) -> list[Write]:
        """What one more pass over everything writes: nothing, if the world is at rest."""
        before = len(self.cluster.writes)
        await self._pass()
        return list(self.cluster.writes[before:])

    async def run_until(self, instant: float) -> None:
        """Let time pass up to the instant, stopping and converging wherever a controller asked to be woken."""
        await self.converge()
        await self._pass_time(instant)

    async def run_for(self, seconds: float) -> None:
        """As `run_until`, relative to now."""
        await self.run_until(self.clock.now() + seconds)

    async def steps(self, seconds: float, step: float) -> AsyncIterator[None]:
        """As `run_for`, with a stop after each step at which nothing may be changed: nothing is run anew after it."""
        await self.converge()
        for _ in range(int(seconds // step)):
            await self._pass_time(self.clock.now() + step)
            yield

    async def _pass_time(self, instant: float, *, max_wakes: int = 10_000) -> None:
        for _ in range(max_wakes):
            self._wakes = [wake for wake in self._wakes if wake[0] > self.clock.now()]
            heapq.heapify(self._wakes)
            due = self._wakes[0][0] if self._wakes else instant
            if due >= instant:
                self.clock.value = instant
                await self.converge()
                return
            self.clock.value = due
            await self.converge()
        raise AssertionError(f"woken more than {max_wakes} times before the instant")

    def keys(self) -> list[Key]:
        """Every key that any object ever gave rise to: deletion must be seen, too."""
        for controller in self.controllers:
            for obj in self.cluster.all(_PRIMARY[controller]):
                self._keys.add(Key(controller, obj["metadata"]["namespace"], obj["metadata"]["name"]))
        found = sorted(self._keys)
        if self._shuffle:
            self._shuffle.shuffle(found)
        return found

    async def _pass(self) -> bool:
        """Run every key once; whether any has to be tried again."""
        again = False
        for key in self.keys():
            try:
                await self.reconcile(key.controller, key.namespace, key.name)
            except (Conflict, Transient):
                again = True
        return again


async def crash_everywhere(
    build: Callable[[], World],
    check: Callable[[World], Any],
    act: Callable[[World], Any] = lambda _world: None,
    *,
    limit: int = 500,
) -> int:
    """Kill the operator after each single write of what `act` causes, restart it, converge, check; how often.

    Args:
        build: makes the world before the change; called anew for each crash, it is converged before `act`.
        act: changes the world (as a user would).
        check: asserts on the converged world.
    """
    for crashes in range(1, limit):
        world = build()
        await world.converge()
        act(world)
        world.cluster.crash_after = crashes
        try:
            await world.converge()
        except Killed:
            world.restart()
            await world.converge()
            check(world)
            continue
        check(world)
        return crashes - 1
    raise AssertionError(f"still writing after {limit} crashes")


async def fail_everywhere(
    build: Callable[[], World],
    check: Callable[[World], Any],
    act: Callable[[World], Any] = lambda _world: None,
    *,
    error: ClusterError | None = None,
    limit: int = 500,
) -> int:
    """As `crash_everywhere`, but the request is refused with an error (and not done) and the operator lives on."""
    for refused in range(1, limit):
        world = build()
        await world.converge()
        act(world)
        countdown = [refused]

        def refuse(verb: str, _ref: object, countdown: list[int] = countdown) -> ClusterError | None:
            if verb in ("get", "list", "create_event"):
                return None
            countdown[0] -= 1
            return (error or Transient("the connection was lost")) if countdown[0] == 0 else None

        world.cluster.refuse = refuse
        await world.converge()
        check(world)
        if countdown[0] > 0:
            return refused - 1
    raise AssertionError(f"still writing after {limit} refusals")


async def in_any_order(
    build: Callable[[int], World], check: Callable[[World], Any], *, orders: int = 10
) -> list[dict[Any, Any]]:
    """Converge worlds that differ only in the order in which keys are run, and check each."""
    snapshots = []
    for order in range(orders):
        world = build(order)
        await world.converge()
        check(world)
        snapshots.append(world.cluster.snapshot())
    return snapshots
