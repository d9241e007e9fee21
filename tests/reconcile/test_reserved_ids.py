"""A client's chosen id is nobody's audience: policies that grant it wait, and come back when the client goes."""

from __future__ import annotations

from typing import Any

from fakes.provider import CONTROLLERS, NS, held_policies, policy, provider, signing_key
from fakes.world import World, crash_everywhere
from tailseal.cluster import kinds
from tailseal.cluster.port import Object
from tailseal.reconcile import trustpolicy
from tailseal.reconcile.oauthclient import controller as oauthclient

RULE = {
    "name": "all",
    "namespaces": {"from": "All"},
    "issuers": ["*"],
    "keySources": ["Discovery"],
    "audiences": ["*"],
    "redirectHosts": ["app.example"],
    "grantTypes": ["authorization_code", "refresh_token"],
}


def client(namespace: str = "team-a", client_id: str = "grafana", **spec: Any) -> Object:  # noqa: ANN401 - as YAML
    reference = {"name": "corp", "namespace": NS}
    members = {"identityProviderRef": reference, "clientID": client_id, "redirectURIs": ["https://app.example/cb"]}
    metadata = {"name": "app", "namespace": namespace}
    return {"apiVersion": "tailseal.dev/v1alpha1", "kind": "OAuthClient", "metadata": metadata, "spec": members | spec}


def granting(name: str, *audiences: str, namespace: str = "team-b") -> Object:
    made = policy(name, namespace)
    made["spec"]["grants"][0]["jwt"]["audiences"] = list(audiences)
    return made


def world(*objects: Object, order: int | None = None) -> World:
    more = {"TrustPolicy": trustpolicy.reconcile, "OAuthClient": oauthclient.reconcile}
    made = World(CONTROLLERS | more, order=order)
    policies = (granting("taker", "https://a.example", "grafana"), granting("other", "https://a.example"))
    for obj in (signing_key(), provider(bounds=[RULE]), *policies, *objects):
        made.cluster.user_apply(obj)
    return made


def accepted(seen: World, kind: Any, namespace: str, name: str) -> str:  # noqa: ANN401 - a Kind
    conditions = seen.cluster.peek(kind, namespace, name)["status"]["conditions"]
    return next(str(found["reason"]) for found in conditions if found["type"] == "Accepted")


def taken(seen: World) -> None:
    assert held_policies(seen) == ["team-b/other"]
    assert accepted(seen, kinds.TRUST_POLICY, "team-b", "taker") == "ReservedAudience"
    assert accepted(seen, kinds.OAUTH_CLIENT, "team-a", "app") == "Accepted"


async def test_a_policy_loses_the_audience_that_a_client_chose_and_gets_it_back_when_the_client_goes() -> None:
    seen = world()
    await seen.converge()
    assert held_policies(seen) == ["team-b/other", "team-b/taker"]
    seen.cluster.user_apply(client())
    await seen.converge()
    taken(seen)
    assert await seen.idle_writes() == []
    seen.cluster.user_delete(kinds.OAUTH_CLIENT, "team-a", "app")
    await seen.converge()
    assert held_policies(seen) == ["team-b/other", "team-b/taker"]
    assert accepted(seen, kinds.TRUST_POLICY, "team-b", "taker") == "Accepted"


async def test_whatever_comes_first_and_after_whatever_crash_it_is_the_client_that_has_its_id() -> None:
    for order in range(4):
        seen = world(client(), order=order)
        await seen.converge()
        taken(seen)
    assert await crash_everywhere(world, taken, lambda seen: seen.cluster.user_apply(client())) >= 2


async def test_after_a_restart_the_verdict_is_the_same_before_the_bundle_was_looked_at() -> None:
    seen = world(client())
    await seen.converge()
    seen.restart()
    await seen.reconcile("TrustPolicy", "team-b", "taker")
    taken(seen)


async def test_a_client_that_bounds_refuse_takes_nothing_from_anybody() -> None:
    seen = world(client(redirectURIs=["https://elsewhere.example/cb"]))
    await seen.converge()
    assert "team-b/taker" in held_policies(seen)


async def test_no_client_may_ask_for_tokens_for_another_one() -> None:
    seen = world(client(), client("team-c", "spy", audiences=["grafana"]))
    await seen.converge()
    assert accepted(seen, kinds.OAUTH_CLIENT, "team-c", "app") == "ReservedAudience"
