"""A SigningKey on the fake cluster: nothing is lost, adopted or written twice, whatever happens in between."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fakes.provider import ISSUER, NS, files, provider, signing, signing_key, standard, world
from fakes.signingkeys import DAY, alone, annotate, conditions, edit, in_use, material, public, settled, status
from fakes.world import World, crash_everywhere, fail_everywhere, in_any_order
from tailseal.api.times import format_time
from tailseal.cluster import kinds
from tailseal.domain.rotation.issuer import plan


def message(seen: World, type_: str) -> str:
    return next(str(entry["message"]) for entry in status(seen)["conditions"] if entry["type"] == type_)


def states(seen: World) -> list[str]:
    return [key["state"] for key in status(seen)["keys"]]


def ledger(seen: World) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files(seen, "corp-signingkey")["ledger.json"])
    return found


async def test_material_ledger_and_public_keys_are_there_after_one_pass() -> None:
    seen = alone()
    await seen.converge()
    assert states(seen) == ["Active", "Published"]
    assert material(seen) == public(seen) == {key["keyID"] for key in status(seen)["keys"]}
    secret = seen.cluster.peek(kinds.SECRET, NS, "corp-signingkey")
    assert "ownerReferences" not in secret["metadata"]
    assert seen.cluster.peek(kinds.CONFIG_MAP, NS, "corp-jwks")["metadata"]["ownerReferences"][0]["name"] == "corp"
    assert conditions(seen) == {
        "Accepted": ("True", "Accepted"),
        "Published": ("True", "Published"),
        "Ready": ("True", "Ready"),
    }
    assert status(seen)["nextRotationTime"] == "2027-02-14T08:00:00Z"


async def test_the_second_run_writes_nothing() -> None:
    seen = in_use()
    await settled(seen)
    assert await seen.idle_writes() == []


async def test_no_order_of_runs_matters() -> None:
    def check(seen: World) -> None:
        assert sorted(states(seen)) == ["Active", "Published"]

    await in_any_order(standard, check, orders=5)


async def test_killed_after_any_write_it_converges_and_loses_no_key() -> None:
    def check(seen: World) -> None:
        assert sorted(states(seen)) == ["Active", "Published"]
        assert material(seen) == public(seen)

    assert await crash_everywhere(alone, check) == 0

    def create(seen: World) -> None:
        seen.cluster.user_apply(signing_key())

    assert await crash_everywhere(world, check, create) >= 4
    assert await fail_everywhere(world, check, create) >= 4


async def test_killed_after_any_write_of_a_revocation_it_converges() -> None:
    def revoke(seen: World) -> None:
        kid = status(seen)["activeKeyID"]
        edit(seen, lambda obj: obj["spec"].update(revokedKeyIDs=[kid]))

    def check(seen: World) -> None:
        revoked = seen.cluster.peek(kinds.SIGNING_KEY, NS, "corp")["spec"]["revokedKeyIDs"][0]
        assert revoked not in material(seen) | public(seen)
        assert revoked not in {key["kid"] for key in signing(seen)["jwks"]["keys"]}
        assert revoked not in {held["kid"] for held in signing(seen)["held"]}
        assert status(seen)["activeKeyID"] not in (None, revoked)
        assert sorted(states(seen)) == ["Active", "Published", "Revoked"]

    assert await crash_everywhere(in_use, check, revoke) >= 6


async def test_keys_follow_each_other_and_the_former_leaves_everything() -> None:
    seen = await settled(in_use())
    first = status(seen)["activeKeyID"]
    await seen.run_for(30 * DAY)
    second = status(seen)["activeKeyID"]
    assert second != first
    assert signing(seen)["active"] == {"ES256": second}
    assert "Retiring" in states(seen)
    await seen.run_for(3_600)
    assert first not in material(seen) | public(seen)
    assert first not in {key["kid"] for key in signing(seen)["jwks"]["keys"]}
    assert sorted(states(seen)) == ["Active", "Published", "Retired"]
    assert await seen.idle_writes() == []


async def test_a_request_by_annotation_publishes_waits_and_switches() -> None:
    seen = await settled(in_use())
    first = status(seen)["activeKeyID"]
    annotate(seen, "2027-01-15T08:00:30Z")
    await seen.converge()
    assert status(seen)["activeKeyID"] == first
    assert conditions(seen)["Ready"] == ("True", "Ready")
    assert conditions(seen)["Rotating"] == ("True", "Rotating")
    await seen.run_for(300)
    assert status(seen)["activeKeyID"] == first
    await seen.run_for(180)
    assert status(seen)["activeKeyID"] != first
    assert not {"Reconciling", "Rotating"} & conditions(seen).keys()


async def test_an_annotation_that_is_no_time_is_refused_and_rotation_goes_on() -> None:
    seen = await settled(alone())
    annotate(seen, "now")
    await seen.converge()
    assert conditions(seen)["Accepted"] == ("False", "InvalidSpec")
    assert "must be an RFC 3339 time" in message(seen, "Accepted")
    first = status(seen)["activeKeyID"]
    await seen.run_for(31 * DAY)
    assert status(seen)["activeKeyID"] != first


async def test_what_contradicts_itself_is_refused_and_the_last_good_schedule_goes_on() -> None:
    seen = await settled(in_use())
    edit(seen, lambda obj: obj["spec"].update(rsaBits=2048, source={"import": {"secretRef": {"name": "mine"}}}))
    await seen.converge()
    assert conditions(seen)["Accepted"] == ("False", "InvalidSpec")
    assert "rsaBits is for keys that the operator makes" in message(seen, "Accepted")
    first = status(seen)["activeKeyID"]
    edit(seen, lambda obj: obj["spec"].update(revokedKeyIDs=[first]))
    await seen.converge()
    assert first not in public(seen), "a revocation lands even in a spec that is refused otherwise"
    assert signing(seen)["active"]


async def test_a_spec_that_was_never_accepted_makes_nothing() -> None:
    seen = world(signing_key(source={"pkcs11": {"module": "/x", "tokenLabel": "t"}}))
    await seen.converge()
    assert conditions(seen)["Accepted"][0] == "False"
    assert conditions(seen)["Stalled"][0] == "True"
    assert not seen.cluster.exists(kinds.SECRET, NS, "corp-signingkey")


async def test_a_revocation_is_said_with_a_warning_and_in_status() -> None:
    seen = await settled(world(signing_key(rotation={"spare": False}), provider()))
    first = status(seen)["activeKeyID"]
    edit(seen, lambda obj: obj["spec"].update(revokedKeyIDs=[first]))
    await seen.converge()
    assert conditions(seen)["OverlapBroken"] == ("True", "OverlapBroken")
    assert ("SigningKey/identity/corp", True, "KeyRevoked") in [event[:3] for event in seen.recorder.events]
    assert status(seen)["activeKeyID"] != first
    await seen.run_for(600)
    assert "OverlapBroken" not in conditions(seen)


@pytest.mark.parametrize(("max_age", "wait"), [("5m", " --wait 270s`"), ("30s", "AUDIENCE`")])
async def test_a_revocation_says_whom_it_does_not_reach_until_somebody_says_that_it_is_done(
    max_age: str, wait: str
) -> None:
    seen = world(signing_key(jwks={"maxAge": max_age}), provider())
    await settled(seen)
    assert "VerifiersUnreached" not in conditions(seen)
    revoked = status(seen)["activeKeyID"]
    at = seen.clock.now()
    edit(seen, lambda obj: obj["spec"].update({"revokedKeyIDs": [revoked, "never-seen"]}))
    await settled(seen)
    assert conditions(seen)["VerifiersUnreached"] == ("True", "CachesOutOfReach")
    assert conditions(seen)["Ready"] == ("True", "Ready")
    text = message(seen, "VerifiersUnreached")
    assert revoked in text
    assert "never-seen" not in text
    assert format_time(at + (300 if max_age == "5m" else 30)) in text
    assert f"`tailseal keys poke --issuer {ISSUER} --audience AUDIENCE" in text
    assert wait in text
    await seen.run_for(3 * DAY)
    assert message(seen, "VerifiersUnreached") == text
    edit(seen, lambda obj: obj["spec"].update({"revokedKeyIDs": []}))
    await settled(seen)
    assert "VerifiersUnreached" not in conditions(seen)
    assert revoked not in public(seen)


async def test_whom_a_revocation_does_not_reach_is_said_although_the_provider_goes_on_with_other_keys() -> None:
    """Taking the whole SigningKey off a provider's list takes nothing out of any cache."""
    seen = await settled(world(signing_key(), signing_key("next"), provider()))
    edit(seen, lambda obj: obj["spec"].update({"revokedKeyIDs": [status(seen)["activeKeyID"]]}))
    await settled(seen)
    text = message(seen, "VerifiersUnreached")
    listed = [{"name": "next"}]
    seen.cluster.user_edit(kinds.IDENTITY_PROVIDER, NS, "corp", lambda obj: obj["spec"].update(signingKeys=listed))
    await seen.run_for(DAY)
    assert message(seen, "VerifiersUnreached") == text
    assert "VerifiersUnreached" not in {entry["type"] for entry in status(seen, "next")["conditions"]}


async def test_a_key_for_which_a_set_has_no_room_waits_and_says_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = await settled(in_use())
    monkeypatch.setattr(plan, "MOST_KEYS", 1)
    first = status(seen)["activeKeyID"]
    annotate(seen, format_time(seen.clock.now()))
    await settled(seen)
    for wait in (0, 2 * 3600):  # it looks again every few seconds: of two hours, their first minutes and their end
        seen.clock.advance(wait)
        await seen.run_for(300)
    assert status(seen)["activeKeyID"] == first
    assert conditions(seen)["Published"][1] != "WaitingForReplicas"
    assert conditions(seen)["Rotating"] == ("True", "KeySetFull")
    assert "1 keys are published" in message(seen, "Rotating")
    assert "Stalled" not in conditions(seen), "no replica holds it up"
    monkeypatch.setattr(plan, "MOST_KEYS", 48)
    await seen.run_for(3600)
    assert status(seen)["activeKeyID"] != first
    assert "KeySetFull" not in {reason for _, reason in conditions(seen).values()}


async def test_a_replica_that_holds_a_rotation_up_for_too_long_is_named() -> None:
    seen = await settled(world(signing_key(rotation={"stallAfter": "30s"}), provider()))
    pods = seen.replicas.obedient(NS, "corp")
    seen.replicas.tell(NS, "corp", pods)
    annotate(seen, "2027-01-15T08:00:30Z")
    await seen.converge()
    assert conditions(seen)["Rotating"] == ("True", "Rotating")
    await seen.run_for(40)
    assert conditions(seen)["Stalled"] == ("True", "Stalled")
    assert all(pod.name in message(seen, "Stalled") for pod in pods)
    assert conditions(seen)["Ready"] == ("True", "Ready"), "the former key still signs"
    seen.replicas.tell(NS, "corp", None)
    await seen.run_for(500)
    assert "Stalled" not in conditions(seen)


async def test_no_private_key_is_in_status_events_or_the_public_objects() -> None:
    seen = await settled(in_use())
    await seen.run_for(31 * DAY)
    pems = [
        line
        for name, pem in files(seen, "corp-signingkey").items()
        if name.endswith(".pem")
        for line in pem.decode().splitlines()[1:-1]
    ]
    text = json.dumps([status(seen), seen.recorder.events, seen.cluster.peek(kinds.CONFIG_MAP, NS, "corp-jwks")])
    assert pems
    assert not [line for line in pems if line in text]
