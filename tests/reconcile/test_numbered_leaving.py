"""Replicas with a Deployment each that are to go: those that serve do so until the ones that stay can."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.numbered import POSTGRES, SERVE, on_a_tailnet
from fakes.owned import mirrored
from fakes.provider import NS, conditions, pod, provider, rolled_out
from fakes.world import World, crash_everywhere, fail_everywhere
from tailseal.cluster import kinds
from tailseal.cluster.port import Object
from tailseal.reconcile.repairs import IN_VAIN

RELABELLED = {"workload": {"labels": {"rolled": "once"}}}
OF_A_NODE = (kinds.SERVICE_ACCOUNT, kinds.ROLE, kinds.ROLE_BINDING)
IN_SECRETS = {"mode": "Serve", "auth": {"authKeySecretRef": {"name": "ts"}}}


def spec(replicas: int, tailnet: dict[str, Any] = IN_SECRETS, **more: Any) -> Object:  # noqa: ANN401
    return provider(tailnet=tailnet, storage=POSTGRES, idp={"replicas": replicas}, **more)


def of(replicas: int, order: int | None = None) -> World:
    return on_a_tailnet(order, tailnet=IN_SECRETS, storage=POSTGRES, idp={"replicas": replicas})


async def serving(replicas: int, order: int | None = None) -> World:
    """All are up and at rest."""
    seen = of(replicas, order)
    await seen.converge()
    for number in range(replicas):
        rolled_out(seen, number)
    await seen.run_for(6)
    return seen


def there(seen: World, replicas: int = 2) -> list[int]:
    """Numbers of the replicas that have a Deployment; who their nodes are is there for as long."""
    found = [number for number in range(replicas) if seen.cluster.exists(kinds.DEPLOYMENT, NS, f"corp-idp-{number}")]
    for kind in OF_A_NODE:
        assert [n for n in range(replicas) if seen.cluster.exists(kind, NS, f"corp-idp-{n}")] == found
    return found


def label(seen: World, number: int) -> str | None:
    labels = seen.cluster.peek(kinds.DEPLOYMENT, NS, f"corp-idp-{number}")["spec"]["template"]["metadata"]["labels"]
    found: str | None = labels.get("rolled")
    return found


async def test_a_replica_serves_until_the_one_that_stays_has_changed() -> None:
    seen = await serving(2)
    seen.cluster.user_apply(spec(1, **RELABELLED))
    await seen.run_for(6)
    assert (there(seen), label(seen, 0), label(seen, 1)) == ([0, 1], "once", None)
    assert await seen.idle_writes() == []
    rolled_out(seen, 0, available=0)
    await seen.run_for(6)
    assert there(seen) == [0, 1], "nor before its successor is ready"
    rolled_out(seen, 0)
    await seen.run_for(6)
    assert there(seen) == [0]
    assert await seen.idle_writes() == []


async def test_it_serves_until_all_have_changed_that_stay() -> None:
    seen = await serving(3)
    seen.cluster.user_apply(spec(2, **RELABELLED))
    for number in range(2):
        await seen.run_for(6)
        assert there(seen, 3) == [0, 1, 2]
        rolled_out(seen, number)
    await seen.run_for(6)
    assert (there(seen, 3), label(seen, 0), label(seen, 1)) == ([0, 1], "once", "once")


async def test_it_serves_while_the_one_that_stays_is_down_for_another_reason() -> None:
    seen = await serving(2)
    rolled_out(seen, 0, available=0)
    seen.cluster.user_apply(spec(1))
    await seen.run_for(6)
    assert there(seen) == [0, 1]
    rolled_out(seen, 0)
    await seen.run_for(6)
    assert there(seen) == [0]


async def test_its_node_is_not_said_to_be_left_before_it_goes() -> None:
    for tailnet in (IN_SECRETS, SERVE):
        seen = await serving(2)
        data = {"device_id": "Nw=="}
        seen.cluster.user_edit(kinds.SECRET, NS, "corp-idp-1-tailnet", lambda obj, data=data: obj.update(data=data))
        seen.cluster.user_apply(spec(1, tailnet, **RELABELLED))
        await seen.run_for(6)
        assert "NodesLeft" not in conditions(seen)
        rolled_out(seen, 0)
        await seen.run_for(6)
        assert not seen.cluster.exists(kinds.DEPLOYMENT, NS, "corp-idp-1")
        assert conditions(seen)["NodesLeft"] == ("True", "NodesKept")


@pytest.mark.parametrize(
    ("after", "down"),
    [
        (spec(1), ()),
        (spec(1, **RELABELLED), (1,)),
        (provider(tailnet=IN_SECRETS, storage=POSTGRES, idp={"enabled": False}), ()),
        (provider(storage=POSTGRES), ()),
    ],
    ids=["nobody changes", "it does not serve", "nobody stays", "those who come are no nodes"],
)
async def test_it_goes_at_once_where_nobody_is_kept_waiting(after: Object, down: tuple[int, ...]) -> None:
    seen = await serving(2)
    for number in down:
        rolled_out(seen, number, available=0)
    seen.cluster.user_apply(after)
    await seen.run_for(6)
    assert 1 not in there(seen)


async def test_what_no_write_changes_is_waited_for_no_longer() -> None:
    seen = of(2)
    seen.cluster.mutate = mirrored
    await seen.converge()
    for _ in range(3):
        for number in range(2):
            rolled_out(seen, number)
        await seen.run_for(IN_VAIN)
    assert pod(seen)["containers"][0]["image"].startswith("mirror.example/")
    seen.cluster.user_apply(spec(1))
    await seen.run_for(6)
    assert there(seen) == [0]


def fewer(seen: World) -> None:
    for number in range(2):
        rolled_out(seen, number)
    seen.cluster.user_apply(spec(1, **RELABELLED))


def assert_one_waits(seen: World) -> None:
    assert (there(seen), label(seen, 0), label(seen, 1)) == ([0, 1], "once", None)


def assert_one_is_left(seen: World) -> None:
    assert (there(seen), label(seen, 0)) == ([0], "once")
    assert conditions(seen)["Ready"] == ("True", "Ready")


def rolls_by_itself(seen: World) -> None:
    """Whatever is written of a Deployment is up in the same moment."""

    def up(obj: Object) -> None:
        if obj["kind"] == "Deployment":
            counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), 1)
            obj["status"] = {"observedGeneration": 10**6, **counts}

    seen.cluster.mutate = up
    fewer(seen)


async def test_in_any_order_one_goes_when_the_other_is_ready() -> None:
    for order in range(3):
        seen = await serving(2, order)
        fewer(seen)
        await seen.run_for(6)
        assert_one_waits(seen)
        rolled_out(seen, 0)
        await seen.run_for(6)
        assert_one_is_left(seen)


async def test_killed_after_any_write_it_converges() -> None:
    assert await crash_everywhere(lambda: of(2), assert_one_waits, fewer) > 0
    assert await crash_everywhere(lambda: of(2), assert_one_is_left, rolls_by_itself) > len(OF_A_NODE)


async def test_refused_at_any_write_it_converges() -> None:
    assert await fail_everywhere(lambda: of(2), assert_one_is_left, rolls_by_itself) > len(OF_A_NODE)
