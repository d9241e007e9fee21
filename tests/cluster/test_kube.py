"""The adapter against a real API server: what the port promises, and what the fake in memory imitates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest

from fakes.cluster import FakeCluster
from tailseal.cluster import kinds
from tailseal.cluster.errors import Conflict, Forbidden, Invalid, NotFound, Transient
from tailseal.cluster.kube import KubeCluster
from tailseal.cluster.port import Cluster, Kind, Object, Ref

pytestmark = pytest.mark.cluster


class ControlPlane(Protocol):
    kubeconfig: Path


@pytest.fixture
async def real(control_plane: ControlPlane) -> AsyncIterator[KubeCluster]:
    async with KubeCluster(kubeconfig=str(control_plane.kubeconfig)) as cluster:
        yield cluster


@pytest.fixture(params=["real", "fake"])
def cluster(request: pytest.FixtureRequest, real: KubeCluster) -> Cluster:
    """Every promise is checked on both: so the fake cannot drift from what it stands for."""
    return real if request.param == "real" else FakeCluster()


def config_map(namespace: str, name: str = "one", **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def deployment(namespace: str, env: list[Object]) -> Object:
    container = {"name": "c", "image": "i", "env": env, "ports": [{"containerPort": 80, "name": "http"}]}
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace, "labels": {"a": "1"}},
        "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template},
    }


def container_of(obj: Object) -> Object:
    found: Object = obj["spec"]["template"]["spec"]["containers"][0]
    return found


async def test_an_apply_of_the_same_changes_nothing(cluster: Cluster, namespace: str) -> None:
    first = await cluster.apply(config_map(namespace, x="1"), manager="m")
    again = await cluster.apply(config_map(namespace, x="1"), manager="m")
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert await cluster.get(Ref(kinds.CONFIG_MAP, namespace, "one")) is not None


async def test_a_missing_object_is_none(cluster: Cluster, namespace: str) -> None:
    assert await cluster.get(Ref(kinds.CONFIG_MAP, namespace, "none")) is None


async def test_what_is_no_longer_applied_goes_and_what_others_own_stays(cluster: Cluster, namespace: str) -> None:
    await cluster.apply(config_map(namespace, x="1", y="1", z="1"), manager="m")
    await cluster.apply(config_map(namespace, y="1"), manager="other")
    assert (await cluster.apply(config_map(namespace, x="2"), manager="m"))["data"] == {"x": "2", "y": "1"}
    assert (await cluster.apply(config_map(namespace, x="3"), manager="other"))["data"] == {"x": "3"}
    assert (await cluster.apply(config_map(namespace, z="1"), manager="m"))["data"] == {"x": "3", "z": "1"}


async def test_injected_list_items_survive_an_apply_and_fall_to_a_merge_patch(cluster: Cluster, namespace: str) -> None:
    ours = [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]
    await cluster.apply(deployment(namespace, ours), manager="m")
    await cluster.apply(deployment(namespace, [{"name": "EVIL", "value": "1"}]), manager="injector")
    after = await cluster.apply(deployment(namespace, ours[:1]), manager="m")
    assert {env["name"] for env in container_of(after)["env"]} == {"A", "EVIL"}
    patch = {"spec": {"template": {"spec": {"containers": [container_of(deployment(namespace, ours[:1]))]}}}}
    merged = await cluster.merge(Ref(kinds.DEPLOYMENT, namespace, "web"), patch)
    assert [env["name"] for env in container_of(merged)["env"]] == ["A"]
    assert merged["metadata"]["generation"] > after["metadata"]["generation"] - 1


@pytest.mark.parametrize("field", ["resourceVersion", "uid"])
async def test_what_was_planned_from_another_version_or_object_conflicts(
    cluster: Cluster, namespace: str, field: str
) -> None:
    present = await cluster.apply(config_map(namespace, x="1"), manager="m")
    planned = config_map(namespace, x="2")
    planned["metadata"][field] = present["metadata"][field]
    await cluster.apply(planned, manager="m")
    planned["metadata"][field] = "1"
    with pytest.raises(Conflict):
        await cluster.apply(planned, manager="m")
    with pytest.raises(Conflict):
        await cluster.merge(
            Ref(kinds.CONFIG_MAP, namespace, "one"), {"metadata": {"resourceVersion": "1"}, "data": {"x": "3"}}
        )
    with pytest.raises(Conflict):
        await cluster.delete(Ref(kinds.CONFIG_MAP, namespace, "one"), uid="another")


async def test_a_version_without_an_object_creates_it_unless_a_uid_is_named(cluster: Cluster, namespace: str) -> None:
    planned = config_map(namespace, x="1")
    planned["metadata"] |= {"resourceVersion": "5", "uid": "gone"}
    with pytest.raises(Conflict):
        await cluster.apply(planned, manager="m")
    del planned["metadata"]["uid"]
    await cluster.apply(planned, manager="m")


async def test_status_is_written_apart(cluster: Cluster, namespace: str) -> None:
    first = await cluster.apply(deployment(namespace, []), manager="m")
    condition = {"type": "Odd", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": None}
    del condition["lastTransitionTime"]
    status = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": namespace}}
    after = await cluster.apply_status(status | {"status": {"conditions": [condition]}}, manager="m")
    assert "Odd" in [found["type"] for found in after["status"]["conditions"]]
    assert after["metadata"]["generation"] == first["metadata"]["generation"]
    status["metadata"] = {"name": "none", "namespace": namespace}
    with pytest.raises(NotFound):
        await cluster.apply_status(status | {"status": {}}, manager="m")


async def test_a_merge_of_a_missing_object_is_not_found(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(NotFound):
        await cluster.merge(Ref(kinds.CONFIG_MAP, namespace, "none"), {"data": {"x": "1"}})
    with pytest.raises(NotFound):
        await cluster.annotate(Ref(kinds.POD, namespace, "none"), {"x": "1"})


async def test_annotations_are_set_beside_others(cluster: Cluster, namespace: str) -> None:
    await cluster.apply(config_map(namespace, x="1"), manager="m")
    ref = Ref(kinds.CONFIG_MAP, namespace, "one")
    await cluster.annotate(ref, {"a": "1"})
    await cluster.annotate(ref, {"b": "2"})
    found = await cluster.get(ref)
    assert found is not None
    assert found["metadata"]["annotations"] == {"a": "1", "b": "2"}


async def test_deleting_what_is_gone_is_fine(cluster: Cluster, namespace: str) -> None:
    await cluster.apply(config_map(namespace, x="1"), manager="m")
    for _ in range(2):
        await cluster.delete(Ref(kinds.CONFIG_MAP, namespace, "one"))
    assert await cluster.get(Ref(kinds.CONFIG_MAP, namespace, "one")) is None


async def test_objects_are_listed_over_all_pages(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailseal.cluster.kube.PAGE", 2)
    for index in range(5):
        obj = config_map(namespace, f"n{index}")
        obj["metadata"]["labels"] = {"parity": str(index % 2), "test": "pages"}
        await cluster.apply(obj, manager="m")
    found = [obj async for obj in cluster.list(kinds.CONFIG_MAP, namespace, label_selector="parity=0,test=pages")]
    assert [obj["metadata"]["name"] for obj in found] == ["n0", "n2", "n4"]
    assert {obj["kind"] for obj in found} == {"ConfigMap"}
    assert {obj["apiVersion"] for obj in found} == {"v1"}
    everywhere = [obj async for obj in cluster.list(kinds.CONFIG_MAP, label_selector="test=pages,parity")]
    assert len([obj for obj in everywhere if obj["metadata"]["namespace"] == namespace]) == 5


async def test_an_object_that_the_server_refuses_is_invalid_and_a_secret_is_never_quoted(
    real: KubeCluster, namespace: str
) -> None:
    metadata = {"name": "one", "namespace": namespace}
    secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"bad key": "c2VjcmV0"}}
    with pytest.raises(Invalid) as caught:
        await real.apply(secret, manager="m")
    assert "bad key" not in str(caught.value)
    with pytest.raises(Invalid, match="bad key"):
        await real.apply(config_map(namespace, **{"bad key": "x"}), manager="m")


async def test_a_dry_run_is_admitted_and_not_stored(control_plane: ControlPlane, namespace: str) -> None:
    async with KubeCluster(kubeconfig=str(control_plane.kubeconfig), dry_run=True) as cluster:
        await cluster.apply(config_map(namespace, x="1"), manager="m")
        assert await cluster.get(Ref(kinds.CONFIG_MAP, namespace, "one")) is None


async def test_an_event_is_posted(real: KubeCluster, namespace: str) -> None:
    event: Object = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "one.1", "namespace": namespace},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "type": "Normal",
        "reason": "Tested",
        "action": "Test",
        "note": "hello",
        "reportingController": "tailseal.dev/operator",
        "reportingInstance": "test",
        "regarding": {"apiVersion": "v1", "kind": "ConfigMap", "name": "one", "namespace": namespace},
    }
    await real.create_event(namespace, event)
    listed = [obj async for obj in real.list(Kind("events.k8s.io", "v1", "events", "Event"), namespace)]
    assert [obj["reason"] for obj in listed] == ["Tested"]


async def test_kinds_are_known_or_not(real: KubeCluster) -> None:
    assert await real.serves(kinds.DEPLOYMENT)
    assert await real.serves(kinds.POD)
    assert not await real.serves(Kind("nobody.example", "v1", "things", "Thing"))
    assert not await real.serves(Kind("apps", "v1", "things", "Thing"))


async def test_rights_are_asked_by_a_dry_run(real: KubeCluster, namespace: str) -> None:
    assert await real.may_patch(kinds.POD, namespace)


async def test_what_would_pass_is_asked_without_a_write(control_plane: ControlPlane, namespace: str) -> None:
    wrote: list[str] = []
    ref = Ref(kinds.CONFIG_MAP, namespace, "kube-root-ca.crt")
    patch = {"metadata": {"labels": {"asked": "only"}}}
    async with KubeCluster(kubeconfig=str(control_plane.kubeconfig), wrote=wrote.append) as cluster:
        while await cluster.get(ref) is None:  # noqa: ASYNC110 - a controller makes it
            await asyncio.sleep(0.1)
        assert await cluster.admits(ref, patch)
        assert not await cluster.admits(ref, {"metadata": {"labels": {"not a": "label"}}})
        assert "labels" not in (await cluster.get(ref) or {})["metadata"]
        with pytest.raises(NotFound):
            await cluster.admits(Ref(kinds.CONFIG_MAP, namespace, "none"), patch)
    assert wrote == []


async def test_a_pod_that_does_not_answer_is_an_error_to_try_again_after(real: KubeCluster, namespace: str) -> None:
    with pytest.raises((NotFound, Transient)):
        await real.pod_proxy(Ref(kinds.POD, namespace, "none"), 9090, "/-/status", b"?")


async def test_credentials_are_handed_to_the_event_source(real: KubeCluster, control_plane: ControlPlane) -> None:
    credentials = await real.credentials()
    assert credentials.server.startswith("https://127.0.0.1:")
    assert credentials.ca_path
    assert not credentials.insecure


async def test_a_server_out_of_reach_is_an_error_to_try_again_after(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(
        "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n"
        "users: [{name: u, user: {}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\n"
    )
    async with KubeCluster(kubeconfig=str(path)) as cluster:
        with pytest.raises(Transient):
            await cluster.get(Ref(kinds.CONFIG_MAP, "a", "one"))


async def test_missing_credentials_are_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(Forbidden, match="no credentials for a cluster"):
        await KubeCluster(kubeconfig=str(tmp_path / "none")).__aenter__()
