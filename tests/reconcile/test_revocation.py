"""Trust that is withdrawn is withdrawn, whatever else is broken at that moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fakes.cluster import Killed
from fakes.provider import (
    NS,
    conditions,
    files,
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
from tailseal.reconcile.bundle import attached_policies
from tailseal.reconcile.bundle.memory import Placement

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


def spoil(obj: Object) -> None:
    obj["data"].update({"ledger.json": "e30="})


def of_another_issuer(obj: Object) -> None:
    obj["data"].update({"issuer": "aHR0cHM6Ly9vdGhlci5leGFtcGxl"})


ISSUER_DAMAGE: dict[str, Change] = {
    "spoilt": spoil,
    "truncated": lambda secret: secret["data"].update({"ledger.json": secret["data"]["ledger.json"][:40]}),
    "without its ledger": lambda secret: secret["data"].pop("ledger.json"),
    "without its poll key": lambda secret: secret["data"].pop("poll.key"),
    "another issuer's": of_another_issuer,
    "not ours any more": lambda secret: secret["metadata"].update({"labels": {}}),
    "on its way out": hold,
}


TWO = provider(signingKeys=[{"name": "corp"}, {"name": "corp-rs"}])


@pytest.mark.parametrize("damage", ISSUER_DAMAGE)
async def test_a_key_of_an_issuer_whose_ledger_is(damage: str) -> None:
    """It leaves; no other takes its place, since nobody knows what verifiers hold; nothing else moves."""
    seen = world(signing_key(), signing_key("corp-rs", algorithm="RS256"), TWO)
    await seen.run_for(600)
    before = signing(seen)
    seen.cluster.user_edit(kinds.SECRET, NS, "corp-issuer", ISSUER_DAMAGE[damage])
    kid = revoke_signer(seen)
    for _ in range(5):
        await seen._pass()
    assert_revoked(seen, kid)
    after = signing(seen)
    assert after["active"] == {"RS256": before["active"]["RS256"]}
    assert after["defaultAlgorithm"] == "RS256"
    assert {key["kid"] for key in after["jwks"]["keys"]} == {key["kid"] for key in before["jwks"]["keys"]} - {kid}
    assert set(files(seen, "corp-signing")) == {"signing.json", "salt", *(key["file"] for key in after["held"])}
    assert "KeyRevoked" in seen.recorder.reasons()
    written = len(seen.cluster.writes)
    for _ in range(3):
        await seen._pass()
    assert len(seen.cluster.writes) == written


async def test_the_last_key_of_an_issuer_without_a_readable_ledger() -> None:
    seen = await running()
    seen.cluster.user_edit(kinds.SECRET, NS, "corp-issuer", spoil)
    revoke_signer(seen)
    await seen.converge()
    assert signing(seen)["active"] == {}
    assert signing(seen)["defaultAlgorithm"] == ""


async def test_a_ledger_restored_after_that_goes_on_with_what_is_revoked() -> None:
    seen = await running()
    backup = seen.cluster.peek(kinds.SECRET, NS, "corp-issuer")["data"]
    seen.cluster.user_edit(kinds.SECRET, NS, "corp-issuer", spoil)
    kid = revoke_signer(seen)
    await seen.converge()
    seen.cluster.user_edit(kinds.SECRET, NS, "corp-issuer", lambda obj: obj.update(data=dict(backup)))
    await seen.run_for(600)
    assert_revoked(seen, kid)
    assert signing(seen)["active"]
    assert conditions(seen)["Ready"] == ("True", "Ready")


@pytest.mark.parametrize("ledger", [True, False], ids=["ledger readable", "ledger unreadable"])
async def test_a_key_while_no_spec_of_the_provider_is_readable(ledger: bool) -> None:  # noqa: FBT001 - a case
    seen = await running()
    seen.cluster.user_delete(kinds.CONFIG_MAP, NS, "corp-accepted")
    seen.cluster.user_edit(kinds.IDENTITY_PROVIDER, NS, "corp", lambda obj: obj["spec"].update({"sts": "x"}))
    if not ledger:
        seen.cluster.user_edit(kinds.SECRET, NS, "corp-issuer", spoil)
    kid = revoke_signer(seen)
    await seen.converge()
    assert_revoked(seen, kid)


async def test_a_signing_key_cannot_revoke_what_another_one_has_even_then() -> None:
    seen = world(signing_key(), signing_key("corp-rs", algorithm="RS256"), TWO)
    await seen.run_for(600)
    seen.cluster.user_edit(kinds.SECRET, NS, "corp-issuer", spoil)
    theirs = signing(seen)["active"]["RS256"]
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["spec"].update({"revokedKeyIDs": [theirs]}))
    await seen.converge()
    assert signing(seen)["active"]["RS256"] == theirs


async def test_a_crash_while_a_key_is_withdrawn_is_made_good() -> None:
    for crashes in range(1, 20):
        seen = await running()
        seen.cluster.user_edit(kinds.SECRET, NS, "corp-issuer", spoil)
        await seen.converge()
        kid = revoke_signer(seen)
        seen.cluster.crash_after = crashes
        try:
            await seen.converge()
        except Killed:
            seen.restart()
            await seen.converge()
            assert_revoked(seen, kid)
            continue
        assert_revoked(seen, kid)
        assert crashes > 2
        return
    raise AssertionError("still writing")


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
    assert attached_policies.placement(seen.context, NS, "corp", placed) is Placement.ABSENT
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
