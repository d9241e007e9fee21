"""Fences: a missing one is said, a standing one costs nothing, and the question itself changes nothing."""

from __future__ import annotations

import pytest

from fakes.provider import NS, conditions, provider, signing_key, world
from fakes.world import World
from tailseal.cluster import kinds
from tailseal.cluster.errors import Transient
from tailseal.cluster.port import Kind
from tailseal.reconcile.identityprovider import fences


async def settled() -> World:
    seen = world(signing_key(), provider())
    await seen.converge()
    return seen


async def test_where_the_fences_stand_nothing_is_said() -> None:
    seen = await settled()
    assert {ref.kind for ref, _ in seen.cluster.asked} == {kinds.DEPLOYMENT, kinds.CONFIG_MAP}, "there is no pod yet"
    assert "Fenced" not in conditions(seen)


@pytest.mark.parametrize("kind", [kinds.DEPLOYMENT, kinds.CONFIG_MAP], ids=lambda kind: kind.plural)
async def test_a_missing_fence_is_named_and_does_not_make_it_unready(kind: Kind) -> None:
    seen = world(signing_key(), provider())
    seen.cluster.unfenced = {kind}
    await seen.converge()
    assert conditions(seen)["Fenced"] == ("False", "NotFenced")
    assert conditions(seen)["Ready"] == ("True", "Ready")
    (text,) = [
        entry["message"]
        for entry in seen.cluster.peek(kinds.IDENTITY_PROVIDER, NS, "corp")["status"]["conditions"]
        if entry["type"] == "Fenced"
    ]
    assert f"may do to {kind.plural} here" in text


async def test_where_nodes_have_rights_their_roles_are_asked_about_too() -> None:
    tailnet = {"mode": "Direct", "port": 8443, "auth": {"authKeySecretRef": {"name": "join"}}}
    seen = world(signing_key(), provider(tailnet=tailnet))
    seen.cluster.unfenced = {kinds.ROLE}
    await seen.converge()
    assert conditions(seen)["Fenced"] == ("False", "NotFenced")


async def test_pods_are_asked_about_once_there_are_some() -> None:
    seen = await settled()
    seen.cluster.unfenced = {kinds.POD}
    labels = {"app.kubernetes.io/managed-by": "tailseal", "tailseal.dev/identity-provider": "corp"}
    seen.cluster.user_apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "corp-sts-x", "namespace": NS, "labels": labels}}
    )
    await seen.converge()
    assert conditions(seen)["Fenced"] == ("False", "NotFenced")


async def test_an_answer_holds_for_ten_minutes_and_is_then_asked_for_anew() -> None:
    seen = await settled()
    asked = len(seen.cluster.asked)
    await seen.converge()
    assert len(seen.cluster.asked) == asked
    seen.cluster.unfenced = {kinds.CONFIG_MAP}
    await seen.run_for(fences.EVERY + 1)
    assert conditions(seen)["Fenced"] == ("False", "NotFenced")


async def test_without_an_answer_nothing_is_claimed() -> None:
    seen = world(signing_key(), provider())
    seen.cluster.refuse = lambda verb, _ref: Transient("no answer") if verb == "admits" else None
    await seen.converge()
    assert "Fenced" not in conditions(seen)
    assert conditions(seen)["Ready"] == ("True", "Ready")
