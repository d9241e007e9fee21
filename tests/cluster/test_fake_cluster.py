"""The fake API server behaves as the real one where reconcilers rely on it."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.cluster import FakeCluster, Killed
from tailseal.cluster import kinds
from tailseal.cluster.errors import Conflict, Invalid, NotFound
from tailseal.cluster.port import Object, Ref


def config_map(name: str = "one", **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "a"}, "data": data}


def deployment(*containers: dict[str, Any], **spec: object) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "a"},
        "spec": {**spec, "template": {"spec": {"containers": list(containers)}}},
    }


def policy(**spec: object) -> Object:
    return {
        "apiVersion": "tailseal.dev/v1alpha1",
        "kind": "TrustPolicy",
        "metadata": {"name": "p", "namespace": "a"},
        "spec": spec,
    }


CONFIG_MAP = Ref(kinds.CONFIG_MAP, "a", "one")
POLICY = Ref(kinds.TRUST_POLICY, "a", "p")


async def test_an_apply_of_the_same_changes_nothing() -> None:
    cluster = FakeCluster()
    first = await cluster.apply(config_map(x="1"), manager="m")
    assert await cluster.apply(config_map(x="1"), manager="m") == first
    assert [write.changed for write in cluster.writes] == [True, False]


async def test_what_a_manager_stops_applying_is_removed_unless_somebody_else_owns_it() -> None:
    cluster = FakeCluster()
    await cluster.apply(config_map(x="1", y="1", z="1"), manager="m")
    await cluster.apply(config_map(y="1"), manager="other")
    after = await cluster.apply(config_map(x="1"), manager="m")
    assert after["data"] == {"x": "1", "y": "1"}


async def test_force_takes_a_field_over() -> None:
    cluster = FakeCluster()
    await cluster.apply(config_map(x="1"), manager="user")
    await cluster.apply(config_map(x="2"), manager="m")
    after = await cluster.apply(config_map(), manager="user")
    assert after["data"] == {"x": "2"}


async def test_what_others_added_survives_an_apply_and_falls_to_a_merge_patch() -> None:
    cluster = FakeCluster()
    wanted = deployment({"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}]})
    await cluster.apply(wanted, manager="m")
    cluster.user_edit(kinds.DEPLOYMENT, "a", "web", inject)
    after = await cluster.apply(wanted, manager="m")
    assert [env["name"] for env in after["spec"]["template"]["spec"]["containers"][0]["env"]] == ["A", "EVIL"]
    patch = {"spec": wanted["spec"]} | {"metadata": {"resourceVersion": after["metadata"]["resourceVersion"]}}
    merged = await cluster.merge(Ref(kinds.DEPLOYMENT, "a", "web"), patch)
    assert [env["name"] for env in merged["spec"]["template"]["spec"]["containers"][0]["env"]] == ["A"]


def inject(obj: Object) -> None:
    obj["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "EVIL", "value": "1"})


async def test_list_items_are_merged_by_their_key_and_leave_with_it() -> None:
    cluster = FakeCluster()
    await cluster.apply(deployment({"name": "c", "image": "i"}, {"name": "d", "image": "i"}), manager="m")
    await cluster.apply(deployment({"name": "d", "env": [{"name": "X", "value": "1"}]}), manager="other")
    after = await cluster.apply(deployment({"name": "c", "image": "j"}), manager="m")
    assert after["spec"]["template"]["spec"]["containers"] == [
        {"name": "c", "image": "j"},
        {"name": "d", "env": [{"name": "X", "value": "1"}]},
    ]


async def test_a_scaler_keeps_the_replicas_that_we_do_not_name() -> None:
    cluster = FakeCluster()
    await cluster.apply(deployment({"name": "c"}), manager="m")
    await cluster.apply(deployment(replicas=7), manager="scaler")
    after = await cluster.apply(deployment({"name": "c"}), manager="m")
    assert after["spec"]["replicas"] == 7


async def test_status_is_apart_and_does_not_count_as_a_generation() -> None:
    cluster = FakeCluster()
    await cluster.apply(policy(a=1) | {"status": {"x": 1}}, manager="m")
    ready = {"type": "Ready", "status": "True"}
    after = await cluster.apply_status(policy() | {"status": {"conditions": [ready]}}, manager="m")
    assert after["spec"] == {"a": 1}
    assert after["status"] == {"conditions": [ready]}
    assert after["metadata"]["generation"] == 1
    after = await cluster.apply(policy(a=2), manager="m")
    assert after["metadata"]["generation"] == 2
    assert after["status"] == {"conditions": [ready]}


async def test_conditions_of_two_managers_live_side_by_side() -> None:
    cluster = FakeCluster()
    await cluster.apply(policy(a=1), manager="m")
    for manager, name in (("m", "Accepted"), ("other", "Programmed"), ("m", "Ready")):
        status = {"conditions": [{"type": name, "status": "True"}]}
        after = await cluster.apply_status(policy() | {"status": status}, manager=manager)
    assert [condition["type"] for condition in after["status"]["conditions"]] == ["Programmed", "Ready"]


async def test_a_status_of_a_missing_object_is_not_found() -> None:
    with pytest.raises(NotFound):
        await FakeCluster().apply_status(policy(), manager="m")


@pytest.mark.parametrize("field", ["resourceVersion", "uid"])
async def test_an_apply_planned_from_another_version_or_object_conflicts(field: str) -> None:
    cluster = FakeCluster()
    present = await cluster.apply(config_map(x="1"), manager="m")
    planned = config_map(x="2")
    planned["metadata"][field] = present["metadata"][field]
    await cluster.apply(planned, manager="m")
    planned["metadata"][field] = "77"
    with pytest.raises(Conflict):
        await cluster.apply(planned, manager="m")
    assert cluster.peek(kinds.CONFIG_MAP, "a", "one")["data"] == {"x": "2"}


async def test_an_apply_to_a_version_of_a_missing_object_creates_it_unless_a_uid_is_named() -> None:
    cluster = FakeCluster()
    planned = config_map(x="1")
    planned["metadata"] |= {"resourceVersion": "5", "uid": "gone"}
    with pytest.raises(Conflict):
        await cluster.apply(planned, manager="m")
    del planned["metadata"]["uid"]
    await cluster.apply(planned, manager="m")
    assert cluster.exists(kinds.CONFIG_MAP, "a", "one")


async def test_a_delete_of_another_uid_conflicts_and_of_a_missing_object_is_fine() -> None:
    cluster = FakeCluster()
    await cluster.apply(config_map(x="1"), manager="m")
    with pytest.raises(Conflict):
        await cluster.delete(CONFIG_MAP, uid="another")
    await cluster.delete(CONFIG_MAP)
    await cluster.delete(CONFIG_MAP)
    assert not cluster.exists(kinds.CONFIG_MAP, "a", "one")


async def test_what_an_object_owns_goes_with_it() -> None:
    cluster = FakeCluster()
    owner = await cluster.apply(policy(a=1), manager="m")
    child = config_map(x="1")
    child["metadata"]["ownerReferences"] = [{"uid": owner["metadata"]["uid"], "name": "p"}]
    await cluster.apply(child, manager="m")
    cluster.user_delete(kinds.TRUST_POLICY, "a", "p")
    assert await cluster.get(CONFIG_MAP) is None


async def test_a_finalizer_delays_the_end() -> None:
    cluster = FakeCluster()
    obj = policy(a=1)
    obj["metadata"]["finalizers"] = ["x"]
    await cluster.apply(obj, manager="m")
    await cluster.delete(POLICY)
    assert "deletionTimestamp" in cluster.peek(kinds.TRUST_POLICY, "a", "p")["metadata"]


@pytest.mark.parametrize("data", [{"k": "x" * 1_048_577}, {"k": 1}])
async def test_data_that_the_server_would_refuse_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        await FakeCluster().apply(config_map() | {"data": data}, manager="m")


async def test_the_operator_is_killed_after_the_write_was_done() -> None:
    cluster = FakeCluster(crash_after=1)
    with pytest.raises(Killed):
        await cluster.apply(config_map(x="1"), manager="m")
    assert cluster.exists(kinds.CONFIG_MAP, "a", "one")


@pytest.mark.parametrize(
    ("selector", "found"), [("k=v", 1), ("k", 1), ("k=w", 0), ("k!=v", 0), ("k=v,l", 0), ("", 1), ("k!=w", 1)]
)
async def test_objects_are_selected_by_label(selector: str, found: int) -> None:
    cluster = FakeCluster()
    obj = config_map(x="1")
    obj["metadata"]["labels"] = {"k": "v"}
    await cluster.apply(obj, manager="m")
    assert len([1 async for _ in cluster.list(kinds.CONFIG_MAP, "a", label_selector=selector)]) == found
