"""Trust that is withdrawn is withdrawn, whatever else is broken at that moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fakes.provider import (
    NS,
    conditions,
    held_policies,
    policy,
    provider,
    signing,
    signing_key,
    standard,
    world,
)
from fakes.world import World
from tailseal.cluster import kinds
from tailseal.cluster.errors import Forbidden
from tailseal.cluster.port import Object
from tailseal.domain.bundle import build
from tailseal.reconcile import attached
from tailseal.reconcile.attached import Placement

Change = Callable[[Object], None]


async def running() -> World:
    seen = standard()
    await seen.run_for(600)
    return seen


def revoke_signer(seen: World) -> str:
    """Its id goes into the SigningKey's list."""
    kid: str = signing(seen)["active"]["ES256"]
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["spec"].update({"revokedKeyIDs": [kid]}))
    return kid


def assert_revoked(seen: World, kid: str) -> None:
    written = signing(seen)
    assert kid not in [key["kid"] for key in written["jwks"]["keys"]]
    assert kid not in [key["kid"] for key in written["held"]]
    assert kid not in written["active"].values()


def hold(obj: Object) -> None:
    """As after a deletion that somebody's finalizer keeps from ending."""
    obj["metadata"] |= {"deletionTimestamp": "2027-01-01T00:00:00Z", "finalizers": ["example.com/hold"]}


def alienate(obj: Object) -> None:
    obj["metadata"] |= {"labels": {}, "ownerReferences": []}


def forbid(seen: World, name: str) -> None:
    seen.cluster.refuse = lambda verb, ref: (
        Forbidden("configmaps: no") if verb in ("apply", "merge") and ref.name == name else None
    )


def name_in(shard: int, after: str = "") -> str:
    """A policy name of that shard, in alphabetical order after another."""
    return next(
        name for number in range(10_000) if build.shard_of(NS, name := f"p{number:05d}") == shard and name > after
    )


DAMAGE: dict[str, Change] = {
    "unreadable": lambda secret: secret["data"].update({"ledger.json": "e30="}),
    "not ours any more": lambda secret: secret["metadata"].update({"labels": {}}),
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_key_whose_own_ledger_is(damage: str) -> None:
    seen = await running()
    seen.cluster.user_edit(kinds.SECRET, NS, "corp-signingkey", DAMAGE[damage])
    kid = revoke_signer(seen)
    await seen.converge()
    assert_revoked(seen, kid)


async def test_a_key_whose_own_ledger_is_lost() -> None:
    seen = await running()
    seen.cluster.user_delete(kinds.SECRET, NS, "corp-signingkey")
    kid = revoke_signer(seen)
    await seen.reconcile("IdentityProvider", NS, "corp")
    assert_revoked(seen, kid)


async def test_a_key_whose_signing_key_and_provider_are_held_by_somebodys_finalizer() -> None:
    seen = await running()
    for kind in (kinds.SIGNING_KEY, kinds.IDENTITY_PROVIDER):
        seen.cluster.user_edit(kind, NS, "corp", hold)
    kid = revoke_signer(seen)
    await seen.converge()
    assert_revoked(seen, kid)


async def test_a_policy_whose_provider_is_held_by_somebodys_finalizer() -> None:
    seen = await running()
    seen.cluster.user_edit(kinds.IDENTITY_PROVIDER, NS, "corp", hold)
    seen.cluster.user_delete(kinds.TRUST_POLICY, NS, "deploy")
    await seen.converge()
    assert held_policies(seen) == []


@pytest.mark.parametrize("name", ["corp-accepted", "corp-credentials"])
async def test_a_key_while_an_object_of_the_provider_will_not_go(name: str) -> None:
    seen = await running()
    kind = kinds.CONFIG_MAP if name == "corp-accepted" else kinds.SECRET
    seen.cluster.user_edit(kind, NS, name, hold)
    kid = revoke_signer(seen)
    for _ in range(5):
        await seen._pass()
    assert_revoked(seen, kid)


STUCK: dict[str, Callable[[World, str], None]] = {
    "is being deleted": lambda seen, name: seen.cluster.user_edit(kinds.CONFIG_MAP, NS, name, hold),
    "is somebody else's": lambda seen, name: seen.cluster.user_edit(kinds.CONFIG_MAP, NS, name, alienate),
    "may not be written": forbid,
}


@pytest.mark.parametrize("why", STUCK)
@pytest.mark.parametrize("stuck", [3, 60], ids=["before the other", "after the other"])
async def test_a_policy_while_another_shard(why: str, stuck: int) -> None:
    """Also what was to leave the stuck shard grants no more."""
    removed, narrowed = name_in(30), name_in(stuck)
    seen = world(signing_key(), provider(), policy(removed), policy(narrowed))
    await seen.run_for(600)
    STUCK[why](seen, f"corp-policies-{stuck:02d}")
    seen.cluster.user_delete(kinds.TRUST_POLICY, NS, removed)
    seen.cluster.user_apply(policy(narrowed, subject="repo:b"))
    for _ in range(5):
        await seen._pass()
    assert held_policies(seen) == []


async def test_a_stuck_shard_that_would_only_gain_goes_on_as_it_is_and_new_policies_of_others_arrive() -> None:
    kept, more, other = name_in(7), name_in(7, after=name_in(7)), name_in(9)
    seen = world(signing_key(), provider(), policy(kept))
    await seen.run_for(600)
    forbid(seen, "corp-policies-07")
    seen.cluster.user_apply(policy(more))
    seen.cluster.user_apply(policy(other))
    for _ in range(5):
        await seen._pass()
    assert held_policies(seen) == sorted([f"{NS}/{kept}", f"{NS}/{other}"])
    assert conditions(seen)["Programmed"] == ("False", "Forbidden")
    placed = seen.cluster.peek(kinds.TRUST_POLICY, NS, more)
    assert attached.placement(seen.context, NS, "corp", placed) is Placement.ABSENT
    seen.cluster.refuse = lambda _verb, _ref: None
    await seen.run_for(120)
    assert held_policies(seen) == sorted([f"{NS}/{kept}", f"{NS}/{more}", f"{NS}/{other}"])
    assert conditions(seen)["Ready"] == ("True", "Ready")


@pytest.mark.parametrize("manifest", ['{"settings": "x", "shards": {"xx": "y"}}', "[]", "{"])
async def test_a_policy_after_somebody_spoilt_the_manifest(manifest: str) -> None:
    seen = await running()
    seen.cluster.user_delete(kinds.TRUST_POLICY, NS, "deploy")
    seen.cluster.user_edit(
        kinds.CONFIG_MAP, NS, "corp-policies", lambda obj: obj["data"].update({"manifest.json": manifest})
    )
    await seen.converge()
    assert held_policies(seen) == []


async def test_a_policy_while_no_spec_of_the_provider_can_be_read() -> None:
    """As after an update of the operator that understands neither the present nor the last accepted one."""
    kept, removed, narrowed = "kept", "removed", "narrowed"
    seen = world(signing_key(), provider(), *(policy(name) for name in (kept, removed, narrowed)))
    await seen.run_for(600)
    seen.cluster.user_edit(kinds.CONFIG_MAP, NS, "corp-accepted", lambda obj: obj["data"].update({"spec.json": "{"}))
    seen.cluster.user_edit(kinds.IDENTITY_PROVIDER, NS, "corp", lambda obj: obj["spec"].update({"issuer": "no URL"}))
    await seen.converge()
    assert held_policies(seen) == sorted(f"{NS}/{name}" for name in (kept, removed, narrowed))
    seen.cluster.user_delete(kinds.TRUST_POLICY, NS, removed)
    seen.cluster.user_apply(policy(narrowed, subject="repo:b"))
    seen.cluster.user_apply(policy("new"))
    await seen.converge()
    assert held_policies(seen) == [f"{NS}/{kept}"]
    assert await seen.idle_writes() == []
