"""The volume `policies`: one changed policy is one shard and one manifest, and removals come first."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import pytest

from fakes.cluster import Killed, Write
from fakes.provider import (
    NS,
    conditions,
    held_policies,
    manifest,
    policy,
    provider,
    signing,
    signing_key,
    standard,
    status,
    world,
)
from fakes.world import World, crash_everywhere
from tailseal.cluster import kinds
from tailseal.cluster.errors import Conflict, Forbidden
from tailseal.cluster.port import Object
from tailseal.domain import canonical
from tailseal.domain.bundle import build
from tailseal.reconcile.bundle import attached_policies
from tailseal.reconcile.bundle.memory import Placement
from tailseal.reconcile.context import Key

BOUND = {
    "name": "team-a",
    "namespaces": {"from": "Names", "names": ["team-a"]},
    "issuers": ["*"],
    "keySources": ["Discovery"],
    "audiences": ["https://billing.corp.example"],
}


def name_in(shard: int, after: str = "") -> str:
    """A policy name of that shard, in alphabetical order after another."""
    return next(
        name for number in range(10_000) if build.shard_of(NS, name := f"p{number:05d}") == shard and name > after
    )


def written(seen: World, before: int) -> list[str]:
    """What the Bundle controller wrote since, in order: `verb name`."""
    mine: Sequence[Write] = seen.cluster.writes[before:]
    return [
        f"{write.verb} {write.ref.name}"
        for write in mine
        if write.ref.kind == kinds.CONFIG_MAP and write.ref.name.startswith("corp-policies")
    ]


async def settled(*objects: Object) -> World:
    seen = world(signing_key(), provider(), *objects)
    await seen.converge()
    await seen.run_for(10)
    return seen


def intact(seen: World) -> None:
    """Every shard that the manifest names is there with that digest, and no other is there."""
    named = manifest(seen).get("shards", {})
    there = {}
    for obj in seen.cluster.all(kinds.CONFIG_MAP, NS):
        _, found, number = obj["metadata"]["name"].partition("corp-policies-")
        if found:
            there[number] = canonical.digest(base64.b64decode(obj["binaryData"][f"{number}.json.gz"]))
    assert there == named
    data = seen.cluster.peek(kinds.CONFIG_MAP, NS, "corp-policies")["data"]
    assert manifest(seen)["settings"] == canonical.digest(data["settings.json"].encode())


async def test_a_new_policy_is_one_shard_and_then_the_manifest() -> None:
    seen = await settled(*(policy(f"p{number}") for number in range(100)))
    before = len(seen.cluster.writes)
    seen.cluster.user_apply(policy("one-more"))
    await seen.converge()
    shard = f"corp-policies-{build.shard_of(NS, 'one-more'):02d}"
    assert written(seen, before) == [f"apply {shard}", "apply corp-policies"]
    assert "identity/one-more" in held_policies(seen)
    intact(seen)


async def test_a_narrowed_policy_is_one_shard_and_then_the_manifest() -> None:
    seen = await settled(policy("a"), policy("b"))
    before = len(seen.cluster.writes)
    seen.cluster.user_apply(policy("a", subject="repo:narrow"))
    await seen.converge()
    shard = f"corp-policies-{build.shard_of(NS, 'a'):02d}"
    assert written(seen, before) == [f"apply {shard}", "apply corp-policies"]
    intact(seen)


async def test_the_last_policy_of_a_shard_is_gone_with_the_manifest_before_the_object_goes() -> None:
    seen = await settled(policy("a"), policy("b"))
    before = len(seen.cluster.writes)
    seen.cluster.user_delete(kinds.TRUST_POLICY, NS, "a")
    await seen.converge()
    assert written(seen, before) == ["apply corp-policies", f"delete corp-policies-{build.shard_of(NS, 'a'):02d}"]
    assert held_policies(seen) == ["identity/b"]
    intact(seen)


async def test_a_policy_that_is_being_deleted_grants_no_more_even_if_a_finalizer_holds_it() -> None:
    seen = await settled(policy("a"))
    seen.cluster.user_edit(kinds.TRUST_POLICY, NS, "a", lambda obj: obj["metadata"].update(finalizers=["x/y"]))
    seen.cluster.user_delete(kinds.TRUST_POLICY, NS, "a")
    await seen.converge()
    assert held_policies(seen) == []


async def test_removals_are_committed_before_additions() -> None:
    seen = await settled(*(policy(name_in(shard)) for shard in range(10, 20)))
    before = len(seen.cluster.writes)
    seen.cluster.user_delete(kinds.TRUST_POLICY, NS, name_in(15))
    for shard in range(20, 30):
        seen.cluster.user_apply(policy(name_in(shard)))
    await seen.converge()
    verbs = written(seen, before)
    assert verbs[0] == "apply corp-policies", "the manifest without the removed policy comes first"
    assert verbs.count("apply corp-policies") == 2
    assert verbs[-1] == "delete corp-policies-15"
    intact(seen)


async def test_a_changed_shard_comes_before_shards_that_only_gain() -> None:
    seen = await settled(policy(name_in(40)), policy(name_in(10)))
    before = len(seen.cluster.writes)
    seen.cluster.user_apply(policy(name_in(40), subject="repo:narrow"))
    seen.cluster.user_apply(policy(name_in(10, after=name_in(10))))
    await seen.converge()
    assert written(seen, before) == [
        "apply corp-policies-40",
        "apply corp-policies",
        "apply corp-policies-10",
        "apply corp-policies",
    ]
    intact(seen)


async def test_narrowed_bounds_are_committed_before_additions_and_what_exceeds_them_goes() -> None:
    seen = await settled()
    seen.cluster.user_apply(provider(bounds=[BOUND]))
    seen.cluster.user_apply(policy("theirs", "team-a"))
    await seen.converge()
    assert held_policies(seen) == ["team-a/theirs"]
    seen.cluster.user_apply(provider(bounds=[BOUND | {"audiences": ["https://other.example"]}]))
    await seen.converge()
    assert held_policies(seen) == []
    intact(seen)


async def test_a_policy_that_does_not_compile_leaves_the_bundle() -> None:
    seen = await settled(policy("a"), policy("b"))
    broken = policy("a")
    broken["spec"]["from"]["oidc"]["subject"] = {"regex": "(unclosed"}
    seen.cluster.user_apply(broken)
    await seen.converge()
    assert held_policies(seen) == ["identity/b"]


async def test_a_policy_of_another_namespace_grants_nothing_without_bounds() -> None:
    seen = await settled(policy("theirs", "team-a"))
    assert held_policies(seen) == []
    assert status(seen)["attachedPolicies"] == 0


async def test_beyond_its_number_of_policies_a_namespace_keeps_the_eldest() -> None:
    seen = await settled()
    seen.cluster.user_apply(provider(bounds=[BOUND | {"maxPolicies": 2}]))
    for name in ("c", "b", "a"):
        seen.cluster.user_apply(policy(name, "team-a"))
        seen.clock.advance(5)
        await seen.converge()
    assert held_policies(seen) == ["team-a/b", "team-a/c"]
    youngest = seen.cluster.peek(kinds.TRUST_POLICY, "team-a", "a")
    assert attached_policies.placement(seen.context, NS, "corp", youngest) is Placement.NO_ROOM


async def test_a_full_shard_refuses_the_youngest_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "MAX_SHARD_CONTENT", 1500)
    names = [name_in(7)]
    for _ in range(4):
        names.append(name_in(7, after=names[-1]))
    seen = await settled()
    for name in reversed(names):
        seen.cluster.user_apply(policy(name))
        seen.clock.advance(5)
        await seen.converge()
    held = held_policies(seen)
    assert held == sorted(f"{NS}/{name}" for name in names)[-len(held) :]
    assert 0 < len(held) < 5
    places = [
        attached_policies.placement(seen.context, NS, "corp", seen.cluster.peek(kinds.TRUST_POLICY, NS, name))
        for name in names
    ]
    assert places == [Placement.NO_ROOM] * (5 - len(held)) + [Placement.HELD] * len(held)


async def test_a_policy_is_held_only_once_its_generation_is_written() -> None:
    seen = await settled(policy("a"))
    assert place(seen, "a") is Placement.HELD
    seen.cluster.user_apply(policy("a", subject="repo:other"))
    assert place(seen, "a") is Placement.ABSENT
    await seen.converge()
    assert place(seen, "a") is Placement.HELD
    seen.restart()
    assert place(seen, "a") is Placement.ABSENT, "a restarted operator has not looked yet"


def place(seen: World, name: str) -> Placement:
    return attached_policies.placement(seen.context, NS, "corp", seen.cluster.peek(kinds.TRUST_POLICY, NS, name))


async def test_only_policies_whose_place_changed_are_woken() -> None:
    seen = await settled(*(policy(f"p{number}") for number in range(50)))
    seen.queue.asked.clear()
    seen.cluster.user_apply(policy("one-more"))
    await seen.converge()
    assert {key for key, _ in seen.queue.asked if key.controller == "TrustPolicy"} == {
        Key("TrustPolicy", NS, "one-more")
    }


async def test_an_unchanged_shard_is_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = await settled(*(policy(f"p{number}") for number in range(50)))
    built = []
    original = attached_policies._shard
    monkeypatch.setattr(attached_policies, "_shard", lambda *args: built.append(args) or original(*args))
    seen.cluster.user_apply(policy("one-more"))
    await seen.converge()
    assert len(built) == 1


async def test_the_longest_grant_lengthens_what_the_issuer_promises_before_anybody_signs_so() -> None:
    seen = await settled(policy("a"))
    assert signing(seen)["maxTokenTtl"] == 600
    seen.cluster.user_apply(policy("long", ttl="2h"))
    await seen.run_for(10)
    assert signing(seen)["maxTokenTtl"] == 7200


def busy(seen: World) -> None:
    """Removals, changes and additions at once."""
    seen.cluster.user_delete(kinds.TRUST_POLICY, NS, name_in(15))
    seen.cluster.user_apply(policy(name_in(16), subject="repo:narrow"))
    for shard in (20, 21):
        seen.cluster.user_apply(policy(name_in(shard)))


def busy_before() -> World:
    return world(signing_key(), provider(), *(policy(name_in(shard)) for shard in range(14, 18)))


def busy_after(seen: World) -> None:
    intact(seen)
    assert held_policies(seen) == sorted(f"{NS}/{name_in(shard)}" for shard in (14, 16, 17, 20, 21))


async def test_killed_after_any_write_the_set_converges_and_is_never_half_trusted() -> None:
    assert await crash_everywhere(busy_before, busy_after, busy) == 6


@pytest.mark.parametrize("crash", range(1, 6))
async def test_whatever_write_is_the_last_the_removed_policy_is_never_back(crash: int) -> None:
    """The manifest that stands names either what was before the removal, or nothing of it."""
    seen = busy_before()
    await seen.converge()
    seen.cluster.user_delete(kinds.TRUST_POLICY, NS, name_in(15))
    for shard in (20, 21):
        seen.cluster.user_apply(policy(name_in(shard)))
    seen.cluster.crash_after = crash
    try:
        await seen.converge()
    except Killed:
        additions = {f"{NS}/{name_in(20)}", f"{NS}/{name_in(21)}"} & set(held_policies(seen))
        gone = f"{NS}/{name_in(15)}" not in held_policies(seen)
        assert gone or not additions


async def test_a_stale_store_does_not_bring_a_policy_back() -> None:
    seen = await settled(policy("a"), policy("b"))
    seen.context.objects.freeze()  # type: ignore[attr-defined]  # the fake's
    seen.cluster.user_delete(kinds.TRUST_POLICY, NS, "a")
    await seen.converge()
    seen.context.objects.thaw()  # type: ignore[attr-defined]
    await seen.converge()
    assert held_policies(seen) == ["identity/b"]
    intact(seen)


async def test_a_conflict_is_not_swallowed() -> None:
    seen = standard()
    seen.cluster.refuse = lambda verb, ref: Conflict("no") if verb == "apply" and ref.name == "corp-policies" else None
    with pytest.raises(Conflict):
        await seen.reconcile("Bundle", NS, "corp")


async def test_a_refused_write_shows_on_the_provider_until_it_succeeds() -> None:
    seen = await settled()
    seen.cluster.refuse = lambda verb, ref: (
        Forbidden("configmaps: no") if verb == "apply" and ref.name.startswith("corp-policies-") else None
    )
    seen.cluster.user_apply(policy("a"))
    await seen._pass()
    await seen._pass()
    assert conditions(seen)["Programmed"] == ("False", "Forbidden")
    seen.cluster.refuse = lambda _verb, _ref: None
    await seen.run_for(70)
    assert conditions(seen)["Ready"] == ("True", "Ready")
    assert held_policies(seen) == ["identity/a"]


@pytest.mark.usefixtures("login_servers_come_later")
async def test_without_an_accepted_provider_nothing_is_written() -> None:
    later = {"mode": "Serve", "auth": {"authKeySecretRef": {"name": "x"}}, "loginServer": "https://headscale.example"}
    seen = world(provider(tailnet=later), policy())
    await seen.converge()
    assert conditions(seen)["Accepted"] == ("False", "NotSupportedYet")
    assert seen.cluster.all(kinds.CONFIG_MAP) == []
