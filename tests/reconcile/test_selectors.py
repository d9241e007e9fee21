"""Bounds that select namespaces by labels: what a label admits goes with the label, in one write."""

from __future__ import annotations

import base64
import functools
import json
from typing import Any

import pytest

from fakes.provider import CONTROLLERS, NS, held_policies, message, policy, provider, signing_key
from fakes.world import World, crash_everywhere
from tailseal.cluster import kinds
from tailseal.cluster.port import Object
from tailseal.domain.bundle.model import Settings
from tailseal.domain.tenancy import selecting
from tailseal.reconcile import trustpolicy
from tailseal.reconcile.oauthclient import controller as oauthclient
from tailseal.workers.common.bundle.policies import PoliciesReader

RULE = {
    "name": "teams",
    "namespaces": {"from": "Selector", "selector": {"matchLabels": {"tailseal": "yes"}}},
    "issuers": ["*"],
    "keySources": ["Discovery"],
    "audiences": ["https://billing.corp.example"],
}
OWN = {**RULE, "name": "own", "namespaces": {"from": "Same"}}


def namespace(name: str, **labels: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def label(seen: World, name: str, **labels: str) -> None:
    seen.cluster.user_edit(kinds.NAMESPACE, "", name, lambda obj: obj["metadata"].update(labels=labels))


def world(*objects: Object, order: int | None = None, bounds: list[Any] | None = None) -> World:
    more = {"TrustPolicy": trustpolicy.reconcile, "OAuthClient": oauthclient.reconcile}
    made = World(CONTROLLERS | more, order=order)
    there = (namespace("team-a", tailseal="yes"), namespace("team-b", tailseal="no"), namespace(NS))
    policies = (policy(), policy("a", "team-a"), policy("b", "team-b"))
    for obj in (signing_key(), provider(bounds=bounds or [RULE, OWN]), *there, *policies, *objects):
        made.cluster.user_apply(obj)
    return made


async def settled(*objects: Object, **how: Any) -> World:  # noqa: ANN401
    seen = world(*objects, **how)
    await seen.converge()
    await seen.run_for(10)
    return seen


def settings(seen: World) -> Settings:
    data = seen.cluster.peek(kinds.CONFIG_MAP, NS, "corp-policies")["data"]
    return Settings.model_validate(json.loads(data["settings.json"]))


def accepted(seen: World, namespace: str, name: str) -> tuple[str, str]:
    conditions = seen.cluster.peek(kinds.TRUST_POLICY, namespace, name)["status"]["conditions"]
    return next((found["status"], found["reason"]) for found in conditions if found["type"] == "Accepted")


async def test_only_selected_namespaces_are_admitted_and_workers_get_names() -> None:
    seen = await settled()
    assert [bound.namespaces for bound in settings(seen).bounds] == [("team-a",), (NS,)]
    assert held_policies(seen) == [f"{NS}/deploy", "team-a/a"]
    assert accepted(seen, "team-b", "b") == ("False", "ExceedsBounds")
    assert await seen.idle_writes() == []


async def test_a_label_taken_off_narrows_with_the_first_write_of_the_bundle() -> None:
    seen = await settled()
    before = len(seen.cluster.writes)
    label(seen, "team-a")
    await seen.reconcile("Bundle", NS, "corp")
    first = seen.cluster.writes[before]
    assert (first.ref.name, first.changed) == ("corp-policies", True), "settings come before the shards"
    await seen.converge()
    assert settings(seen).bounds[0].namespaces == ()
    assert held_policies(seen) == [f"{NS}/deploy"]
    assert accepted(seen, "team-a", "a") == ("False", "ExceedsBounds")


async def test_the_settings_that_narrow_are_there_before_any_shard_changes() -> None:
    seen = await settled()
    label(seen, "team-a")
    before = {obj["metadata"]["name"]: obj for obj in seen.cluster.all(kinds.CONFIG_MAP, NS)}
    seen.cluster.crash_after = 1
    with pytest.raises(BaseException, match="after apply of configmaps identity/corp-policies"):
        await seen.reconcile("Bundle", NS, "corp")
    assert settings(seen).bounds[0].namespaces == ()
    after = {obj["metadata"]["name"]: obj for obj in seen.cluster.all(kinds.CONFIG_MAP, NS)}
    assert {name for name in after if after[name] != before[name]} == {"corp-policies"}


def volume(seen: World) -> dict[str, bytes]:
    """What a worker finds in the volume `policies`."""
    files: dict[str, bytes] = {}
    for obj in seen.cluster.all(kinds.CONFIG_MAP, NS):
        if obj["metadata"]["name"].startswith("corp-policies"):
            files |= {name: text.encode() for name, text in obj.get("data", {}).items()}
            files |= {name: base64.b64decode(text) for name, text in obj.get("binaryData", {}).items()}
    return files


async def test_a_worker_refuses_from_the_first_write_after_the_label_went_on() -> None:
    seen = await settled()
    reader = PoliciesReader()
    assert {policy.id for policy in reader.read(volume(seen), 0.0).policies} == {f"{NS}/deploy", "team-a/a"}
    label(seen, "team-a")
    seen.cluster.crash_after = 1
    with pytest.raises(BaseException, match="after apply"):
        await seen.reconcile("Bundle", NS, "corp")
    loaded = reader.read(volume(seen), 1.0)
    assert {policy.id for policy in loaded.policies} == {f"{NS}/deploy"}
    assert {problem.reason for problem in loaded.problems} == {"PolicyRefused"}
    seen.restart()
    await seen.converge()
    loaded = reader.read(volume(seen), 2.0)
    assert ({policy.id for policy in loaded.policies}, loaded.problems) == ({f"{NS}/deploy"}, ())


async def test_a_label_put_on_admits_what_waited_for_it() -> None:
    seen = await settled()
    label(seen, "team-b", tailseal="yes")
    await seen.converge()
    assert "team-b/b" in held_policies(seen)
    assert accepted(seen, "team-b", "b") == ("True", "Accepted")


async def test_a_namespace_that_went_is_no_longer_named() -> None:
    seen = await settled()
    seen.cluster.user_delete(kinds.NAMESPACE, "", "team-a")
    await seen.converge()
    assert settings(seen).bounds[0].namespaces == ()


async def test_a_label_that_nobody_selects_by_writes_nothing() -> None:
    seen = await settled()
    label(seen, "team-a", tailseal="yes", other="thing")
    assert await seen.idle_writes() == []


def narrowed(seen: World) -> None:
    assert held_policies(seen) == [f"{NS}/deploy", "team-b/b"]
    assert settings(seen).bounds[0].namespaces == ("team-b",)


def swap(seen: World) -> None:
    label(seen, "team-a")
    label(seen, "team-b", tailseal="yes")


async def test_killed_after_each_write_it_converges_all_the_same() -> None:
    assert await crash_everywhere(world, narrowed, swap) >= 3


async def test_any_order_leads_to_the_same() -> None:
    async def final(order: int) -> Any:  # noqa: ANN401
        seen = world(order=order)
        await seen.converge()
        swap(seen)
        await seen.converge()
        narrowed(seen)
        return settings(seen), held_policies(seen), accepted(seen, "team-a", "a"), accepted(seen, "team-b", "b")

    assert len({str(await final(order)) for order in range(5)}) == 1


async def test_who_may_not_read_namespaces_selects_none_and_says_how_to_put_it_right() -> None:
    seen = world()
    seen.context.objects.reads_namespaces = False  # type: ignore[attr-defined]
    await seen.converge()
    text = message(seen, "Accepted")
    assert text.startswith("spec.bounds[0].namespaces.from: this operator may not read namespaces")
    assert "Names" in text
    assert not seen.cluster.exists(kinds.CONFIG_MAP, NS, "corp-policies")


async def test_a_spec_that_held_selects_none_any_more_when_the_right_is_gone() -> None:
    seen = await settled()
    seen.context.objects.reads_namespaces = False  # type: ignore[attr-defined]
    await seen.converge()
    assert settings(seen).bounds[0].namespaces == (), "never all of them"
    assert held_policies(seen) == [f"{NS}/deploy"]


async def test_more_namespaces_than_there_is_room_for_are_not_admitted_and_the_provider_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(selecting, "MAX_SELECTED", len('"team-a",'))
    seen = await settled(namespace("team-z", tailseal="yes"))
    assert settings(seen).bounds[0].namespaces == ("team-a",)
    assert "1 more namespaces are selected than there is room for" in message(seen, "ResolvedRefs")


async def test_a_client_id_is_free_again_when_its_namespace_lost_the_label() -> None:
    rule = {**RULE, "redirectHosts": ["app.example"], "grantTypes": ["authorization_code", "refresh_token"]}
    rule["audiences"] = ["*"]

    def client(namespace: str) -> Object:
        reference = {"name": "corp", "namespace": NS}
        spec = {"identityProviderRef": reference, "clientID": "app", "redirectURIs": ["https://app.example/cb"]}
        metadata = {"name": "app", "namespace": namespace}
        return {"apiVersion": "tailseal.dev/v1alpha1", "kind": "OAuthClient", "metadata": metadata, "spec": spec}

    seen = await settled(client("team-a"), bounds=[rule, OWN])
    label(seen, "team-b", tailseal="yes")
    seen.cluster.user_apply(client("team-b"))
    await seen.converge()
    reasons = functools.partial(_reason, seen)
    assert (reasons("team-a"), reasons("team-b")) == ("Accepted", "ClientIDTaken")
    label(seen, "team-a")
    await seen.converge()
    assert (reasons("team-a"), reasons("team-b")) == ("ExceedsBounds", "Accepted")


def _reason(seen: World, namespace: str) -> str:
    conditions = seen.cluster.peek(kinds.OAUTH_CLIENT, namespace, "app")["status"]["conditions"]
    return next(str(found["reason"]) for found in conditions if found["type"] == "Accepted")
