"""The store: newer replaces older, the dead stay dead, every change is told once."""

from __future__ import annotations

from typing import Any

import pytest

from tailseal.cluster import kinds
from tailseal.cluster.port import Object, Ref
from tailseal.runtime.store import Store


def config_map(version: int, name: str = "one", namespace: str = "a", **metadata: Any) -> Object:  # noqa: ANN401
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "resourceVersion": str(version), **metadata},
    }


REF = Ref(kinds.CONFIG_MAP, "a", "one")


def make() -> tuple[Store, list[tuple[Any, Any]]]:
    told: list[tuple[Any, Any]] = []

    def changed(before: Object | None, after: Object | None) -> None:
        told.append(tuple(obj and int(obj["metadata"]["resourceVersion"]) for obj in (before, after)))  # type: ignore[arg-type]

    return Store(changed), told


def test_older_versions_never_replace_newer_ones_and_equal_ones_are_no_news() -> None:
    store, told = make()
    for version in (5, 5, 4, 9, 10):
        store.put(config_map(version))
    assert told == [(None, 5), (5, 9), (9, 10)]


def test_the_answer_to_a_write_made_before_a_deletion_does_not_bring_the_object_back() -> None:
    store, told = make()
    store.put(config_map(5))
    store.remove(REF, 8)
    store.put(config_map(7))
    assert store.get(REF) is None
    store.put(config_map(9))
    assert store.get(REF) is not None
    assert told == [(None, 5), (5, None), (None, 9)]


def test_the_news_of_an_older_deletion_does_not_remove_its_successor() -> None:
    store, told = make()
    store.put(config_map(9))
    store.remove(REF, 8)
    assert store.get(REF) is not None
    store.remove(Ref(kinds.CONFIG_MAP, "a", "never seen"), 8)
    assert told == [(None, 9)]


def test_objects_are_selected_by_namespace_and_labels_in_order() -> None:
    store, _ = make()
    for namespace, name, labels in (("b", "z", {}), ("a", "y", {"k": "v"}), ("a-b", "w", {}), ("a", "x", {"k": "v"})):
        store.put(config_map(1, name, namespace, labels=labels))
    store.put(config_map(1, "no-labels", "c"))

    def names(*args: Any) -> list[str]:  # noqa: ANN401
        return [obj["metadata"]["name"] for obj in store.select(kinds.CONFIG_MAP, *args)]

    assert names() == ["x", "y", "w", "z", "no-labels"]
    assert names("a") == ["x", "y"]
    assert names("", {"k": "v"}) == ["x", "y"]
    assert names("b", {"k": "v"}) == []
    store.remove(Ref(kinds.CONFIG_MAP, "a", "x"))
    assert names("a") == ["y"]


def test_a_store_that_changes_while_it_is_looked_through_does_not_fail() -> None:
    store, _ = make()
    for name in "abc":
        store.put(config_map(1, name))
    seen = []
    for obj in store.select(kinds.CONFIG_MAP):
        seen.append(obj["metadata"]["name"])
        store.remove(Ref(kinds.CONFIG_MAP, "a", "b"))
        store.put(config_map(2, "d"))
    assert seen == ["a", "c"]


def test_what_nobody_reads_is_not_kept() -> None:
    store, _ = make()
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "tailseal.dev/rotate": "x", "other": "y"}
    given = config_map(1, managedFields=[{}], annotations=annotations)
    store.put(given)
    kept = store.get(REF)
    assert kept is not None
    assert kept["metadata"]["annotations"] == {"tailseal.dev/rotate": "x"}
    assert "managedFields" not in kept["metadata"]
    assert "managedFields" in given["metadata"]


def test_equal_conditions_are_kept_once() -> None:
    store, _ = make()
    for name in ("one", "two"):
        conditions: list[Any] = [{"type": "Ready", "status": "True"}, {"type": "Odd", "nested": []}, "nonsense"]
        store.put(config_map(1, name) | {"status": {"conditions": conditions, "x": 1}})
    first, second = (obj["status"] for obj in store.select(kinds.CONFIG_MAP))
    assert first == second
    assert first["conditions"][0] is second["conditions"][0]
    assert first["conditions"][2] == "nonsense"


def a_namespace(version: int, name: str, created: str = "2026-01-01T00:00:00Z", **labels: str) -> Object:
    metadata = {"name": name, "resourceVersion": str(version), "creationTimestamp": created, "labels": labels}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata, "status": {"phase": "Active"}}


def test_namespaces_are_known_by_their_labels_eldest_first_and_by_nothing_else() -> None:
    store = Store(lambda _before, _after: None, reads_namespaces=True)
    store.put(a_namespace(1, "young", "2026-02-02T00:00:00Z", tier="a"))
    store.put(a_namespace(2, "old"))
    assert list((store.namespaces() or {}).items()) == [("old", {}), ("young", {"tier": "a"})]
    kept = store.get(Ref(kinds.NAMESPACE, "", "old"))
    assert kept is not None
    assert "status" not in kept


def test_the_labels_are_the_same_mapping_until_one_of_them_changes() -> None:
    store = Store(lambda _before, _after: None, reads_namespaces=True)
    assert store.namespaces() == {}
    store.put(a_namespace(1, "one"))
    first = store.namespaces()
    store.put(a_namespace(2, "one"))
    assert store.namespaces() is first
    store.put(a_namespace(3, "one", tier="a"))
    assert store.namespaces() == {"one": {"tier": "a"}}
    store.remove(Ref(kinds.NAMESPACE, "", "one"))
    assert store.namespaces() == {}


def test_where_namespaces_are_not_watched_nobody_takes_that_for_none() -> None:
    assert Store(lambda _before, _after: None).namespaces() is None


def a_secret(version: int, name: str = "s", size: int = 500_000, namespace: str = "team") -> Object:
    metadata = {"name": name, "namespace": namespace, "resourceVersion": str(version)}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"client_secret": "A" * size}}


def a_provider(version: int, namespace: str = "team") -> Object:
    metadata = {"name": "corp", "namespace": namespace, "resourceVersion": str(version)}
    return {"apiVersion": "tailseal.dev/v1alpha1", "kind": "IdentityProvider", "metadata": metadata, "spec": {}}


def content(store: Store, name: str = "s", namespace: str = "team") -> int:
    found = store.get(Ref(kinds.SECRET, namespace, name))
    assert found is not None
    return len(found["data"]["client_secret"])


def test_where_no_provider_is_large_secrets_are_known_by_their_names_only() -> None:
    store, told = make()
    store.put(a_secret(1))
    store.put(a_secret(2, "small", 1000))
    assert (content(store), content(store, "small")) == (0, 1000)
    assert told == [(None, 1), (None, 2)]
    config = config_map(3, name="large")
    store.put(config | {"data": {str(number): "x" * 1000 for number in range(1000)}})
    found = store.get(Ref(kinds.CONFIG_MAP, "a", "large"))
    assert found is not None
    assert len(found["data"]) == 64
    assert set(found["data"].values()) == {""}


def test_two_thousand_of_them_take_no_more_than_their_names() -> None:
    store, _ = make()
    for number in range(2000):
        store.put(a_secret(number + 1, f"s{number}"))
    kept = sum(content(store, f"s{number}") for number in range(2000))
    assert kept == 0


@pytest.mark.parametrize("first", ["provider", "secret"])
def test_where_a_provider_is_or_comes_to_be_they_are_kept_whole(first: str) -> None:
    asked: list[int] = []
    store = Store(lambda _before, _after: None, lacking=lambda: asked.append(1))
    if first == "provider":
        store.put(a_provider(1))
    store.put(a_secret(2))
    if first == "secret":
        assert content(store) == 0
        store.put(a_secret(2, "elsewhere", namespace="other"))
        store.put(a_provider(3))
        store.put(a_provider(4))
    assert asked == ([] if first == "provider" else [1]), "once, and only where something is lacking"
    store.put(a_secret(2))
    assert content(store) == 500_000
    store.put(a_secret(2, "elsewhere", namespace="other"))
    assert first == "provider" or content(store, "elsewhere", "other") == 0


def test_a_thin_secret_that_is_taken_in_whole_is_told_of_once() -> None:
    store, told = make()
    store.put(a_secret(5))
    store.put(a_secret(5))
    store.put(a_provider(6))
    store.put(a_secret(5))
    store.put(a_secret(5))
    assert told == [(None, 5), (None, 6), (5, 5)]
