"""The world in which reconcilers are tested finds rest, fights, crashes and lost orders."""

from __future__ import annotations

import pytest

from fakes.cluster import ref_of
from fakes.world import World, crash_everywhere, fail_everywhere, in_any_order
from tailseal.cluster import kinds
from tailseal.cluster.port import Object, Ref
from tailseal.reconcile.context import Context, Done

MANAGED = {"app.kubernetes.io/managed-by": "tailseal"}


def key(name: str) -> Object:
    metadata = {"name": name, "namespace": "a"}
    return {"apiVersion": "tailseal.dev/v1alpha1", "kind": "SigningKey", "metadata": metadata, "spec": {"n": 1}}


async def two_children(ctx: Context, namespace: str, name: str) -> Done:
    """A well-behaved reconciler: looks before it writes."""
    if ctx.objects.get(Ref(kinds.SIGNING_KEY, namespace, name)) is None:
        return Done()
    for child in ("x", "y"):
        wanted: Object = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{name}-{child}", "namespace": namespace, "labels": MANAGED},
        }
        if ctx.objects.get(ref_of(wanted)) is None:
            ctx.objects.put(await ctx.cluster.apply(wanted, manager="m"))
    return Done(after=60)


async def restless(ctx: Context, namespace: str, name: str) -> Done:
    text = str(len(ctx.cluster.writes))  # type: ignore[attr-defined]
    metadata = {"name": "x", "namespace": namespace}
    await ctx.cluster.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"x": text}}, manager="m"
    )
    return Done()


def build(order: int | None = None) -> World:
    world = World({"SigningKey": two_children}, order=order)
    for name in ("one", "two"):
        world.cluster.user_apply(key(name))
    return world


def complete(world: World) -> None:
    assert len(world.cluster.all(kinds.CONFIG_MAP)) == 4


async def test_a_world_at_rest_writes_nothing() -> None:
    world = build()
    await world.converge()
    complete(world)
    assert await world.idle_writes() == []


async def test_a_controller_that_never_rests_is_named() -> None:
    world = World({"SigningKey": restless})
    world.cluster.user_apply(key("one"))
    with pytest.raises(AssertionError, match="apply ConfigMap/x"):
        await world.converge(5)


async def test_the_operator_is_killed_after_every_write() -> None:
    def fresh() -> World:
        return World({"SigningKey": two_children})

    def act(world: World) -> None:
        for name in ("one", "two"):
            world.cluster.user_apply(key(name))

    assert await crash_everywhere(fresh, complete, act) == 4
    assert await fail_everywhere(fresh, complete, act) == 4


async def test_orders_do_not_matter() -> None:
    snapshots = await in_any_order(build, complete, orders=3)
    assert [set(snapshot) for snapshot in snapshots] == [set(snapshots[0])] * 3


async def test_time_stops_wherever_a_controller_asked_to_be_woken() -> None:
    world = build()
    await world.run_for(90)
    assert world.clock.now() == 1_800_000_090.0
    assert world._wakes[0][0] == 1_800_000_120.0
