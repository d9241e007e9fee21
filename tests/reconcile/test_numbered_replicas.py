"""Identity providers whose replicas have a file or a node of their own: one Deployment each, and what each keeps."""

from __future__ import annotations

from fakes.numbered import KEY, POSTGRES, SERVE, environment, on_a_tailnet
from fakes.provider import NS, conditions, message, pod, policy, provider, signing_key, world
from fakes.world import World, crash_everywhere, fail_everywhere, in_any_order
from tailseal.api import meta
from tailseal.cluster import kinds


def deployments(seen: World) -> list[str]:
    return sorted(obj["metadata"]["name"] for obj in seen.cluster.all(kinds.DEPLOYMENT, NS))


def assert_there(seen: World) -> None:
    assert deployments(seen) == ["corp-idp-0", "corp-sts"]
    assert conditions(seen)["Ready"] == ("True", "Ready")
    assert seen.cluster.exists(kinds.PERSISTENT_VOLUME_CLAIM, NS, "corp-idp-0-state")
    assert seen.cluster.exists(kinds.PERSISTENT_VOLUME_CLAIM, NS, "corp-idp-0-tailnet")
    assert seen.cluster.exists(kinds.CONFIG_MAP, NS, "corp-serve")
    assert seen.cluster.exists(kinds.SECRET, NS, "corp-tailnet")


async def test_it_becomes_ready_and_then_rests() -> None:
    seen = on_a_tailnet()
    await seen.converge()
    assert_there(seen)
    assert await seen.idle_writes() == []


async def test_it_converges_in_any_order() -> None:
    await in_any_order(on_a_tailnet, assert_there, orders=5)


def joins(seen: World) -> None:
    seen.cluster.user_apply(provider(tailnet=SERVE, storage={"type": "SQLite", "sqlite": {"volume": {"size": "1Gi"}}}))


def off_the_tailnet() -> World:
    return world(KEY, signing_key(), provider(), policy())


async def test_killed_after_any_write_of_joining_it_converges() -> None:
    assert await crash_everywhere(off_the_tailnet, assert_there, joins) > 5


async def test_refused_at_any_write_of_joining_it_converges() -> None:
    assert await fail_everywhere(off_the_tailnet, assert_there, joins) > 5


async def test_leaving_the_tailnet_leaves_nothing_but_what_is_kept() -> None:
    seen = on_a_tailnet()
    await seen.converge()
    seen.cluster.user_apply(provider())
    await seen.run_for(30)
    assert deployments(seen) == ["corp-idp", "corp-sts"]
    assert not seen.cluster.exists(kinds.SECRET, NS, "corp-tailnet")
    assert not seen.cluster.exists(kinds.CONFIG_MAP, NS, "corp-serve")
    assert seen.cluster.exists(kinds.PERSISTENT_VOLUME_CLAIM, NS, "corp-idp-0-tailnet")


async def test_what_is_kept_outlives_the_provider() -> None:
    seen = on_a_tailnet()
    await seen.converge()
    for name in ("corp-idp-0-state", "corp-idp-0-tailnet"):
        claim = seen.cluster.peek(kinds.PERSISTENT_VOLUME_CLAIM, NS, name)
        assert "ownerReferences" not in claim["metadata"]


async def test_each_replica_on_postgres_is_a_node_of_its_own() -> None:
    seen = on_a_tailnet(storage=POSTGRES, idp={"replicas": 3})
    await seen.converge()
    assert deployments(seen) == ["corp-idp-0", "corp-idp-1", "corp-idp-2", "corp-sts"]
    names = {number: environment(pod(seen, number)["initContainers"][0])["TS_HOSTNAME"] for number in range(3)}
    assert names == {0: "corp", 1: "corp-1", 2: "corp-2"}
    assert not seen.cluster.exists(kinds.PERSISTENT_VOLUME_CLAIM, NS, "corp-idp-0-state")
    assert seen.cluster.exists(kinds.PERSISTENT_VOLUME_CLAIM, NS, "corp-idp-2-tailnet")
    assert seen.cluster.exists(kinds.POD_DISRUPTION_BUDGET, NS, "corp-idp")
    seen.cluster.user_apply(provider(tailnet=SERVE, storage=POSTGRES, idp={"replicas": 1}))
    await seen.run_for(30)
    assert deployments(seen) == ["corp-idp-0", "corp-sts"]
    assert not seen.cluster.exists(kinds.POD_DISRUPTION_BUDGET, NS, "corp-idp")


async def test_a_number_that_nobody_gave_is_one_node() -> None:
    seen = on_a_tailnet(idp={})
    await seen.converge()
    assert deployments(seen) == ["corp-idp-0", "corp-sts"]


async def test_no_two_pods_ever_share_a_file_or_a_node() -> None:
    seen = on_a_tailnet()
    await seen.converge()
    spec = seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-idp-0")["spec"]
    assert (spec["strategy"], spec["replicas"]) == ({"type": "Recreate"}, 1)


async def test_numbered_replicas_can_be_told_apart_and_are_found_by_their_service() -> None:
    seen = on_a_tailnet(storage=POSTGRES, idp={"replicas": 2})
    await seen.converge()
    for number in range(2):
        labels = seen.cluster.peek(kinds.DEPLOYMENT, NS, f"corp-idp-{number}")["spec"]["template"]["metadata"]["labels"]
        selector = seen.cluster.peek(kinds.SERVICE, NS, "corp-idp")["spec"]["selector"]
        assert labels[meta.ORDINAL_LABEL] == str(number)
        assert selector.items() <= labels.items()


async def test_what_somebodys_finalizer_holds_is_said_and_keeps_nobody_from_learning_the_rest() -> None:
    seen = on_a_tailnet()
    await seen.converge()
    claim = (kinds.PERSISTENT_VOLUME_CLAIM, NS, "corp-idp-0-state")
    seen.cluster.user_edit(*claim, lambda obj: obj["metadata"].update(finalizers=["kubernetes.io/pvc-protection"]))
    seen.cluster.user_delete(*claim)
    seen.cluster.user_edit(kinds.IDENTITY_PROVIDER, NS, "corp", lambda obj: obj["spec"].update(idp={"replicas": 2}))
    for _ in range(6):
        await seen._pass()
    assert conditions(seen)["Accepted"][0] == "False", "one file is one replica's"
    assert conditions(seen)["Programmed"] == ("False", "BeingDeleted")
    assert "PersistentVolumeClaim corp-idp-0-state is being deleted" in message(seen, "Programmed")
    assert "Stalled" not in conditions(seen) or conditions(seen)["Stalled"][1] != "BeingDeleted"
    before = len(seen.cluster.writes)
    await seen._pass()
    assert len(seen.cluster.writes) == before
    seen.cluster.user_edit(*claim, lambda obj: obj["metadata"].pop("finalizers"))
    seen.cluster.user_delete(*claim)
    seen.cluster.user_edit(kinds.IDENTITY_PROVIDER, NS, "corp", lambda obj: obj["spec"].update(idp={"replicas": 1}))
    await seen.run_for(60)
    assert_there(seen)
