"""A SigningKey on the fake cluster: nothing is lost, adopted or written twice, whatever happens in between."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from fakes.provider import ISSUER, NS, files, provider, signing, signing_key, standard, world
from fakes.world import World, crash_everywhere, fail_everywhere, in_any_order
from tailseal.api.times import format_time
from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError, Conflict, Forbidden, Invalid
from tailseal.cluster.port import Kind, Object, Ref
from tailseal.domain.rotation import issuer
from tailseal.reconcile import kept_secret
from tailseal.reconcile.signingkey.controller import reconcile

DAY = 86_400
START = 1_800_000_000.0


def status(seen: World, name: str = "corp") -> dict[str, Any]:
    found: dict[str, Any] = seen.cluster.peek(kinds.SIGNING_KEY, NS, name).get("status", {})
    return found


def conditions(seen: World) -> dict[str, tuple[str, str]]:
    return {entry["type"]: (entry["status"], entry["reason"]) for entry in status(seen)["conditions"]}


def message(seen: World, type_: str) -> str:
    return next(str(entry["message"]) for entry in status(seen)["conditions"] if entry["type"] == type_)


def states(seen: World) -> list[str]:
    return [key["state"] for key in status(seen)["keys"]]


def ledger(seen: World) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files(seen, "corp-signingkey")["ledger.json"])
    return found


def material(seen: World) -> set[str]:
    return {name.removesuffix(".pem") for name in files(seen, "corp-signingkey") if name.endswith(".pem")}


def public(seen: World) -> set[str]:
    text = seen.cluster.peek(kinds.CONFIG_MAP, NS, "corp-jwks")["data"]["jwks.json"]
    return {key["kid"] for key in json.loads(text)["keys"]}


def edit(seen: World, change: Any) -> None:  # noqa: ANN401 - any function of the object
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", change)


def annotate(seen: World, value: str) -> None:
    edit(seen, lambda obj: obj["metadata"].setdefault("annotations", {}).update({"tailseal.dev/rotate": value}))


def alone(order: int | None = None) -> World:
    return world(signing_key(), order=order)


def in_use() -> World:
    return world(signing_key(), provider())


async def settled(seen: World) -> World:
    await seen.converge()
    await seen.run_for(60)
    return seen


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


def foreign(kind: str, name: str, labels: dict[str, str] | None = None, **fields: Any) -> Object:  # noqa: ANN401
    metadata = {"name": name, "namespace": NS, "labels": labels or {"team": "x"}}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **fields}


@pytest.mark.parametrize("data", [{"ledger.json": "e30="}, {"a": "Yg=="}, None])
async def test_a_secret_of_somebody_else_is_never_touched(data: dict[str, str] | None) -> None:
    taken = foreign("Secret", "corp-signingkey", **({"data": data} if data else {}))
    seen = world(taken, signing_key())
    before = seen.cluster.peek(kinds.SECRET, NS, "corp-signingkey")
    await seen.converge()
    assert seen.cluster.peek(kinds.SECRET, NS, "corp-signingkey") == before
    assert conditions(seen)["Published"] == ("Unknown", "NameTaken")
    assert conditions(seen)["Stalled"] == ("True", "NameTaken")
    assert await seen.idle_writes() == []


async def test_a_name_that_the_installation_did_not_foresee_is_said_and_resolves_by_itself() -> None:
    seen = world(signing_key())
    seen.cluster.refuse = lambda verb, ref: (
        Forbidden("PATCH secrets/corp-signingkey: 403") if (verb, ref.kind) == ("apply", kinds.SECRET) else None
    )
    await seen.converge()
    assert conditions(seen)["Stalled"] == ("True", "Forbidden")
    seen.cluster.refuse = lambda _verb, _ref: None
    await seen.run_for(60)
    assert "Stalled" not in conditions(seen)


@pytest.mark.parametrize("kind", [kinds.SECRET, kinds.CONFIG_MAP])
@pytest.mark.parametrize("error", [Forbidden("PATCH: 403"), Invalid("PATCH: 422")])
async def test_what_the_api_server_refuses_is_said_and_tried_again_although_nobody_says_when(
    kind: Kind, error: ClusterError
) -> None:
    """Such as an object that somebody made immutable, or a namespace whose quota is full."""
    seen = in_use()
    await seen.converge()
    annotate(seen, format_time(START + 1))
    seen.clock.value += 2
    refused = ("apply", Ref(kind, NS, "corp-signingkey" if kind is kinds.SECRET else "corp-jwks"))
    seen.cluster.refuse = lambda verb, ref: error if (verb, ref) == refused else None
    await seen.converge()
    assert conditions(seen)["Stalled"][0] == "True"
    assert await seen.idle_writes() == []
    seen.cluster.refuse = lambda _verb, _ref: None
    await seen.run_for(60)
    assert "Stalled" not in conditions(seen)


async def test_a_config_map_of_somebody_else_is_named_and_left_alone() -> None:
    seen = world(foreign("ConfigMap", "corp-jwks", data={"a": "b"}), signing_key())
    await seen.converge()
    assert seen.cluster.peek(kinds.CONFIG_MAP, NS, "corp-jwks")["data"] == {"a": "b"}
    assert conditions(seen)["Published"] == ("False", "NameTaken")


@pytest.mark.parametrize("damage", ["truncated", "gone", "foreign version"])
async def test_an_unreadable_ledger_is_never_made_anew(damage: str) -> None:
    seen = await settled(in_use())
    served = signing(seen)

    def spoil(secret: Object) -> None:
        text = base64.b64decode(secret["data"]["ledger.json"])
        if damage == "truncated":
            secret["data"]["ledger.json"] = base64.b64encode(text[: len(text) // 2]).decode()
        elif damage == "gone":
            del secret["data"]["ledger.json"]
        else:
            newer = text.replace(b'"version":1', b'"version":9')
            secret["data"]["ledger.json"] = base64.b64encode(newer).decode()

    seen.cluster.user_edit(kinds.SECRET, NS, "corp-signingkey", spoil)
    spoiled = seen.cluster.peek(kinds.SECRET, NS, "corp-signingkey")
    await seen.converge()
    await seen.run_for(DAY)
    assert seen.cluster.peek(kinds.SECRET, NS, "corp-signingkey") == spoiled
    assert conditions(seen)["Accepted"][0] == "True"
    assert conditions(seen)["Ready"] == ("Unknown", "LedgerUnreadable")
    assert status(seen)["activeKeyID"]
    assert (signing(seen)["active"], signing(seen)["jwks"]) == (served["active"], served["jwks"])


async def test_a_lost_secret_is_said_and_what_follows_waits_for_caches() -> None:
    seen = await settled(in_use())
    first = status(seen)["activeKeyID"]
    seen.cluster.user_delete(kinds.SECRET, NS, "corp-signingkey")
    await seen.converge()
    assert "KeyMaterialLost" in seen.recorder.reasons()
    assert signing(seen)["active"] == {"ES256": first}, "workers still hold it, so it signs until law 1 lets another"
    await seen.run_for(300)
    assert signing(seen)["active"] == {"ES256": first}
    await seen.run_for(180)
    assert signing(seen)["active"]["ES256"] in material(seen)
    assert conditions(seen)["Ready"] == ("True", "Ready")
    assert first in {key["kid"] for key in signing(seen)["jwks"]["keys"]}


async def test_a_key_lost_out_of_the_secret_is_followed_by_the_spare() -> None:
    seen = await settled(in_use())
    first = status(seen)["activeKeyID"]
    seen.cluster.user_edit(kinds.SECRET, NS, "corp-signingkey", lambda secret: secret["data"].pop(f"{first}.pem"))
    await seen.run_for(600)
    assert status(seen)["activeKeyID"] != first
    assert "KeyMaterialLost" in seen.recorder.reasons()


async def test_a_wiped_status_is_filled_from_the_secret() -> None:
    seen = await settled(in_use())
    before = status(seen)
    edit(seen, lambda obj: obj.pop("status"))
    await seen.converge()
    assert status(seen)["keys"] == before["keys"]
    assert status(seen)["activeKeyID"] == before["activeKeyID"]


async def test_a_deleted_signing_key_keeps_its_secret_and_is_adopted_when_it_returns() -> None:
    seen = await settled(in_use())
    first, before = status(seen)["activeKeyID"], material(seen)
    seen.cluster.user_delete(kinds.SIGNING_KEY, NS, "corp")
    await seen.converge()
    assert material(seen) == before
    assert signing(seen)["active"] == {"ES256": first}
    seen.cluster.user_apply(signing_key())
    await seen.converge()
    assert status(seen)["activeKeyID"] == first
    assert material(seen) == before


async def test_everything_deleted_and_applied_again_signs_with_the_same_key() -> None:
    seen = await settled(in_use())
    first = status(seen)["activeKeyID"]
    seen.cluster.user_delete(kinds.IDENTITY_PROVIDER, NS, "corp")
    seen.cluster.user_delete(kinds.SIGNING_KEY, NS, "corp")
    await seen.converge()
    await seen.run_for(2 * DAY)
    seen.cluster.user_apply(signing_key())
    await seen.converge()
    seen.cluster.user_apply(provider())
    await settled(seen)
    assert signing(seen)["active"] == {"ES256": first}
    assert signing(seen)["issuer"] == ISSUER


async def test_what_others_put_into_the_secret_is_taken_out() -> None:
    seen = await settled(alone())
    seen.cluster.user_edit(
        kinds.SECRET, NS, "corp-signingkey", lambda secret: secret["data"].update({"extra.pem": "eA=="})
    )
    await seen.converge()
    assert "extra.pem" not in files(seen, "corp-signingkey")
    assert await seen.idle_writes() == []


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


async def test_a_key_for_which_a_set_has_no_room_waits_and_says_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = await settled(in_use())
    monkeypatch.setattr(issuer, "MOST_KEYS", 1)
    first = status(seen)["activeKeyID"]
    annotate(seen, format_time(seen.clock.now()))
    await settled(seen)
    await seen.run_for(2 * 3600)
    assert status(seen)["activeKeyID"] == first
    assert conditions(seen)["Published"][1] != "WaitingForReplicas"
    assert conditions(seen)["Rotating"] == ("True", "KeySetFull")
    assert "1 keys are published" in message(seen, "Rotating")
    assert "Stalled" not in conditions(seen), "no replica holds it up"
    monkeypatch.setattr(issuer, "MOST_KEYS", 48)
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


async def test_a_second_operator_cannot_overwrite_the_first_ones_keys() -> None:
    seen = alone()
    stale = world(signing_key())
    await seen.converge()
    kept = material(seen)
    blind = stale.context.objects
    object.__setattr__(seen.context, "objects", blind)
    with pytest.raises(Conflict):
        await _write_blindly(seen)
    assert material(seen) == kept


async def _write_blindly(seen: World) -> None:
    """As an operator would whose look was just too early."""
    ref = kept_secret.Ref(kinds.SECRET, NS, "corp-signingkey")
    labels = {"tailseal.dev/signing-key": "corp"}
    await kept_secret.write(seen.context, None, ref, labels, {"ledger.json": b"{}"}, manager="tailseal-signingkey")


@pytest.mark.parametrize("known", [False, True], ids=["made meanwhile", "changed meanwhile"])
async def test_public_keys_are_not_written_over_what_another_operator_wrote_meanwhile(known: bool) -> None:  # noqa: FBT001
    """He wrote between our Secret and our ConfigMap."""
    seen = alone()
    if known:
        await settled(seen)
        edit(seen, lambda obj: obj["spec"].update({"revokedKeyIDs": [status(seen)["activeKeyID"]]}))
    newer = {"jwks.json": '{"keys":[]}'}

    def meanwhile(verb: str, ref: Ref) -> ClusterError | None:
        if (verb, ref.name) == ("apply", "corp-jwks") and not done:
            done.append(ref)
            if seen.cluster.exists(kinds.CONFIG_MAP, NS, "corp-jwks"):
                seen.cluster.user_edit(kinds.CONFIG_MAP, NS, "corp-jwks", lambda obj: obj.update(data=newer))
            else:
                labels = kept_secret.ours({"tailseal.dev/signing-key": "corp"})
                metadata = {"name": "corp-jwks", "namespace": NS, "labels": labels}
                seen.cluster.user_apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": newer})
        return None

    done: list[Ref] = []
    seen.cluster.refuse = meanwhile
    if known:
        seen.context.objects.freeze()  # type: ignore[attr-defined]
    with pytest.raises(Conflict):
        await seen.reconcile("SigningKey", NS, "corp")
    assert done
    assert public(seen) == set()


async def test_a_store_that_lags_leads_to_a_conflict_not_to_a_loss() -> None:
    seen = await settled(alone())
    seen.context.objects.freeze()  # type: ignore[attr-defined]
    annotate(seen, "2027-01-15T08:00:30Z")
    seen.cluster.user_edit(
        kinds.SECRET, NS, "corp-signingkey", lambda secret: secret["metadata"]["labels"].update({"touched": "yes"})
    )
    before = material(seen)
    seen.clock.advance(31 * DAY)
    with pytest.raises(Conflict):
        await reconcile(seen.context, NS, "corp")
    assert material(seen) == before


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
