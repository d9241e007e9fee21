"""A SigningKey whose objects were lost, damaged, taken by others or written by two at once: nothing is lost."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from fakes.provider import ISSUER, NS, files, provider, signing, signing_key, world
from fakes.signingkeys import DAY, alone, annotate, conditions, edit, in_use, material, public, settled, status
from fakes.world import World
from tailseal.api.times import format_time
from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError, Conflict, Forbidden, Invalid
from tailseal.cluster.port import Kind, Object, Ref
from tailseal.reconcile import kept_secret
from tailseal.reconcile.signingkey.controller import reconcile

START = 1_800_000_000.0


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
    for wait in (600, DAY):  # it looks again every few seconds: of a day, its first minutes and its end
        seen.clock.advance(wait)
        await seen.run_for(300)
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
