"""Replicas with a Deployment each change one after the other where they serve, and at once where they do not."""

from __future__ import annotations

from fakes.numbered import POSTGRES, SERVE, on_a_tailnet
from fakes.owned import mirrored
from fakes.provider import NS, pod, provider, rolled_out
from fakes.world import World
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.port import Object
from tailseal.reconcile.context import OperatorSettings
from tailseal.reconcile.repairs import IN_VAIN


async def both_serve() -> World:
    """Two replicas on PostgreSQL, at rest."""
    seen = on_a_tailnet(storage=POSTGRES, idp={"replicas": 2})
    await seen.converge()
    for number in range(2):
        rolled_out(seen, number)
    await seen.run_for(30)
    return seen


async def test_replicas_that_serve_change_one_after_the_other() -> None:
    seen = await both_serve()
    seen.cluster.user_apply(_relabelled("once"))
    await seen.run_for(30)
    assert _labels(seen) == ["once", None], "the second waits while the first is down"
    rolled_out(seen, 0, available=0)
    await seen.run_for(30)
    assert _labels(seen) == ["once", None], "and while its successor is not ready"
    seen.cluster.user_apply(_relabelled("twice"))
    await seen.run_for(30)
    assert _labels(seen) == ["twice", None], "one that is down may be repaired at any time"
    rolled_out(seen, 0)
    await seen.run_for(30)
    assert _labels(seen) == ["twice", "twice"]
    rolled_out(seen, 1)
    seen.cluster.user_apply(provider(tailnet=SERVE, storage=POSTGRES, idp={"replicas": 2}))
    await seen.run_for(30)
    assert _labels(seen) == [None, "twice"], "what goes rolls a pod as what comes does"
    rolled_out(seen, 0)
    await seen.run_for(30)
    assert _labels(seen) == [None, None]


async def test_what_nodes_may_use_changes_one_after_the_other() -> None:
    seen = await both_serve()
    ours, said = _used(seen)[0], {"limits": {"cpu": "1", "memory": "1Gi"}}
    seen.cluster.user_apply(provider(tailnet=SERVE | {"resources": said}, storage=POSTGRES, idp={"replicas": 2}))
    await seen.run_for(30)
    assert _used(seen) == [said, ours], "the second waits while the first is down"
    rolled_out(seen, 0)
    await seen.run_for(30)
    assert _used(seen) == [said, said]


def _used(seen: World) -> list[Object]:
    return [pod(seen, number)["initContainers"][0]["resources"] for number in range(2)]


async def test_what_a_former_release_made_of_replicas_is_applied_one_after_the_other_without_a_rollout() -> None:
    seen = on_a_tailnet(storage=POSTGRES, idp={"replicas": 2})
    await seen.converge()
    for number in range(2):
        rolled_out(seen, number)
        seen.cluster.user_edit(
            kinds.DEPLOYMENT, NS, f"corp-idp-{number}", lambda obj: obj["metadata"].pop("annotations")
        )
    before = [obj["metadata"]["generation"] for obj in seen.cluster.all(kinds.DEPLOYMENT, NS)]
    seen.restart()
    await seen.run_for(60)
    found = seen.cluster.all(kinds.DEPLOYMENT, NS)
    assert all(meta.APPLIED_ANNOTATION in obj["metadata"]["annotations"] for obj in found)
    assert [obj["metadata"]["generation"] for obj in found] == before


async def test_what_others_change_is_repaired_at_once_whoever_is_down() -> None:
    seen = await both_serve()
    rolled_out(seen, 0, available=0)

    def swap(obj: Object) -> None:
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = "evil:1"

    ours = pod(seen, 1)["containers"][0]["image"]
    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-idp-1", swap)
    rolled_out(seen, 1)
    await seen.run_for(60)
    assert pod(seen, 1)["containers"][0]["image"] == ours


async def test_what_the_installation_no_longer_allows_is_taken_out_one_after_the_other() -> None:
    seen = on_a_tailnet(storage=POSTGRES, idp={"replicas": 2})
    seen._settings = OperatorSettings(sidecars=(("mesh", "m"),))
    seen.restart()
    await seen.converge()
    for number in range(2):
        seen.cluster.user_edit(kinds.DEPLOYMENT, NS, f"corp-idp-{number}", _with_a_mesh)
        rolled_out(seen, number)
    await seen.run_for(30)
    assert _containers(seen) == [["idp", "mesh"], ["idp", "mesh"]]
    seen._settings = OperatorSettings()
    seen.restart()
    await seen.run_for(30)
    assert _containers(seen) == [["idp"], ["idp", "mesh"]], "the second waits while the first is down"
    rolled_out(seen, 0)
    await seen.run_for(30)
    assert _containers(seen) == [["idp"], ["idp"]]


def _with_a_mesh(obj: Object) -> None:
    obj["spec"]["template"]["spec"]["containers"].append({"name": "mesh", "image": "m"})


def _containers(seen: World) -> list[list[str]]:
    return [[each["name"] for each in pod(seen, number)["containers"]] for number in range(2)]


async def behind_a_mirror() -> World:
    """Two replicas of which an admission policy makes something else for as long as anybody can tell."""
    seen = on_a_tailnet(storage=POSTGRES, idp={"replicas": 2})
    seen.cluster.mutate = mirrored
    await seen.converge()
    for _ in range(3):
        for number in range(2):
            rolled_out(seen, number)
        await seen.run_for(IN_VAIN)
    return seen


async def test_what_an_admission_policy_changes_gets_a_new_spec_one_after_the_other() -> None:
    seen = await behind_a_mirror()
    seen.cluster.user_apply(_relabelled("once"))
    await seen.run_for(IN_VAIN * 3)
    assert _labels(seen) == ["once", None], "the second waits while the first is down"
    rolled_out(seen, 0)
    await seen.run_for(IN_VAIN * 3)
    assert _labels(seen) == ["once", "once"], "and not for what is written in vain"
    rolled_out(seen, 1)
    await seen.run_for(IN_VAIN * 3)
    assert all(image.startswith("mirror.example/") for image in _images(seen))


async def test_what_an_admission_policy_changes_no_more_is_put_right_one_after_the_other() -> None:
    seen = await behind_a_mirror()
    seen.cluster.mutate = lambda _obj: None
    await seen.run_for(IN_VAIN * 3)
    assert [image.startswith("mirror.example/") for image in _images(seen)] == [False, True]
    rolled_out(seen, 0)
    await seen.run_for(IN_VAIN * 3)
    assert [image.startswith("mirror.example/") for image in _images(seen)] == [False, False]


async def test_replicas_that_do_not_serve_wait_for_nobody() -> None:
    seen = on_a_tailnet(storage=POSTGRES, idp={"replicas": 2})
    await seen.converge()
    for number in range(2):
        rolled_out(seen, number, available=0)
    seen.cluster.user_apply(_relabelled("once"))
    await seen.run_for(30)
    assert _labels(seen) == ["once", "once"]


async def test_all_replicas_are_scaled_to_nothing_at_once() -> None:
    seen = on_a_tailnet(storage=POSTGRES, idp={"replicas": 2})
    await seen.converge()
    for number in range(2):
        rolled_out(seen, number)
    seen.cluster.user_apply(provider(tailnet=SERVE, storage=POSTGRES, idp={"replicas": 0}))
    await seen.run_for(30)
    found = [obj for obj in seen.cluster.all(kinds.DEPLOYMENT, NS) if meta.ORDINAL_LABEL in obj["metadata"]["labels"]]
    assert {obj["spec"]["replicas"] for obj in found} <= {0}


def _relabelled(value: str) -> Object:
    return provider(tailnet=SERVE, storage=POSTGRES, idp={"replicas": 2}, workload={"labels": {"rolled": value}})


def _labels(seen: World) -> list[str | None]:
    found = [seen.cluster.peek(kinds.DEPLOYMENT, NS, f"corp-idp-{number}") for number in range(2)]
    return [obj["spec"]["template"]["metadata"]["labels"].get("rolled") for obj in found]


def _images(seen: World) -> list[str]:
    return [pod(seen, number)["containers"][0]["image"] for number in range(2)]
