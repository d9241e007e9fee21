"""Publishing on the fake cluster: keys reach every place before they sign, and leave with the ledger."""

from __future__ import annotations

import asyncio
import json

import pytest

from fakes.provider import NS, conditions, signing, signing_key, status
from fakes.publishing import DISCOVERY, JWKS, kids, line, place, published, retarget, served
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.domain.publishing.keyset import WRITERS
from tailseal.domain.publishing.store import Held, StoreError, StoreReason
from tailseal.reconcile.publish import controller as publish


async def test_keys_are_published_described_and_then_left_alone() -> None:
    seen, buckets = published(place())
    await seen.run_for(60)
    held = buckets.objects["keys", JWKS]
    assert kids(buckets) == served(seen)
    assert (held.content_type, held.cache_control) == ("application/jwk-set+json", "public, max-age=60")
    assert line(seen)["status"] == "True"
    assert conditions(seen)["Published"] == ("True", "Published")
    assert conditions(seen)["Ready"] == ("True", "Ready")
    assert buckets.credentials[-1].credentials == {
        "access_key_id": "AKIAEXAMPLE",
        "secret_access_key": "hunter2hunter2",
    }
    buckets.calls.clear()
    assert await seen.idle_writes() == []
    assert buckets.calls == []


async def test_when_nothing_changes_there_is_one_conditional_read_in_five_minutes() -> None:
    seen, buckets = published(place())
    await seen.run_for(120)
    buckets.calls.clear()
    writes = len(seen.cluster.writes)
    await seen.run_for(1_500)
    assert buckets.calls.count("get") in (5, 6)
    assert "put" not in buckets.calls
    assert [write for write in seen.cluster.writes[writes:] if write.ref.kind == kinds.IDENTITY_PROVIDER] == []


async def test_nothing_signs_before_readers_of_the_copy_got_the_key() -> None:
    seen, buckets = published(place())

    def away(what: str, where: str) -> None:
        if what == "read":
            raise StoreError(StoreReason.UNREACHABLE, f"{where} cannot be reached")

    buckets.trouble = away
    await seen.run_for(600)
    assert signing(seen)["active"] == {}
    assert line(seen)["reason"] == "CopyUnreachable"
    buckets.trouble = lambda what, where: None
    await seen.run_for(600)
    assert signing(seen)["active"] != {}


async def test_a_rotation_waits_for_the_copy_and_says_so() -> None:
    rotation = {"interval": "24h", "publishLead": "10m", "stallAfter": "10m", "spare": False}
    seen, buckets = published(place(), rotation=rotation)
    await seen.run_for(3_600)
    first = dict(signing(seen)["active"])

    def refuse(what: str, where: str) -> None:
        if what == "put":
            raise StoreError(StoreReason.UNREACHABLE, "bucket keys cannot be reached")

    buckets.trouble = refuse
    await seen.run_for(86_400)
    assert signing(seen)["active"] == first
    stalled = seen.cluster.peek(kinds.SIGNING_KEY, NS, "corp")["status"]["conditions"]
    (text,) = [entry["message"] for entry in stalled if entry["type"] == "Stalled"]
    assert "publish target cdn" in text
    assert line(seen)["reason"] == "StoreUnreachable"
    buckets.trouble = lambda what, where: None
    await seen.run_for(3_600)
    assert signing(seen)["active"] != first
    assert kids(buckets) == served(seen)


async def test_a_copy_that_is_no_evidence_holds_nothing_up() -> None:
    seen, buckets = published(place(role="Copy"))

    def refuse(what: str, where: str) -> None:
        raise StoreError(StoreReason.DENIED, "bucket keys refuses the credentials")

    buckets.trouble = refuse
    await seen.run_for(60)
    assert signing(seen)["active"] != {}
    assert line(seen)["reason"] == "StoreForbidden"
    assert conditions(seen)["Ready"] == ("True", "Ready")
    assert conditions(seen)["Published"] == ("False", "StoreForbidden")


async def test_a_revoked_key_leaves_the_bucket_at_once() -> None:
    seen, buckets = published(place(), rotation={"spare": True})
    await seen.run_for(3_600)
    (revoked,) = signing(seen)["active"].values()
    seen.cluster.user_apply(signing_key(rotation={"spare": True}, revokedKeyIDs=[revoked]))
    await seen.converge()
    assert revoked not in kids(buckets)
    await seen.run_for(600)
    assert revoked not in kids(buckets)


async def test_drift_is_repaired_and_the_rest_is_kept() -> None:
    seen, buckets = published(place())
    await seen.run_for(60)
    buckets.user_put("keys", JWKS, json.dumps({"keys": [{"kid": "theirs", "kty": "oct"}]}).encode())
    await seen.run_for(900)
    assert kids(buckets) == served(seen) | {"theirs"}


async def test_what_cannot_be_read_is_not_written_over_and_that_is_said() -> None:
    seen, buckets = published(place())
    buckets.user_put("keys", JWKS, b"<html>")
    await seen.run_for(900)
    assert buckets.objects["keys", JWKS].body == b"<html>"
    assert line(seen)["reason"] == "DocumentUnreadable"
    assert signing(seen)["active"] == {}


async def test_a_failed_read_never_shrinks_the_set() -> None:
    seen, buckets = published(place())
    await seen.run_for(60)
    before = buckets.objects["keys", JWKS]

    def fails(what: str, where: str) -> None:
        if what == "get":
            raise StoreError(StoreReason.UNREACHABLE, "no answer")

    buckets.trouble = fails
    seen.restart()
    await seen.run_for(900)
    assert buckets.objects["keys", JWKS] == before


async def test_an_answer_that_was_lost_costs_nothing() -> None:
    seen, buckets = published(place())
    lost: list[str] = []

    def lose(what: str, where: str) -> None:
        if what == "put done" and not lost:
            lost.append(where)
            raise StoreError(StoreReason.UNREACHABLE, "the answer was lost")

    buckets.trouble = lose
    await seen.run_for(120)
    assert lost
    assert kids(buckets) == served(seen)
    assert buckets.calls.count("put") == 1


async def test_who_comes_between_read_and_write_keeps_what_he_wrote() -> None:
    seen, buckets = published(place())

    def come_between(what: str, where: str) -> None:
        if what == "put" and buckets.calls.count("put") <= 2:
            name = f"f{buckets.calls.count('put')}"
            present = buckets.objects.get(("keys", JWKS))
            others = json.loads(present.body)["keys"] if present else []
            buckets.user_put("keys", JWKS, json.dumps({"keys": [*others, {"kid": name}]}).encode())

    buckets.trouble = come_between
    await seen.run_for(120)
    assert kids(buckets) == served(seen) | {"f1", "f2"}


async def test_two_places_keep_their_own_pace() -> None:
    seen, buckets = published(place(), place("second", bucket="second"))

    def refuse(what: str, where: str) -> None:
        if where.startswith("second"):
            raise StoreError(StoreReason.UNREACHABLE, "bucket second cannot be reached")

    buckets.trouble = refuse
    await seen.run_for(600)
    assert line(seen)["status"] == "True"
    assert line(seen, "second")["reason"] == "StoreUnreachable"
    assert buckets.calls.count("get") < 40


async def test_a_place_that_is_taken_out_is_left_as_the_ledger_lets_go() -> None:
    seen, buckets = published(place(), rotation={"spare": False})
    await seen.run_for(3_600)
    (first,) = signing(seen)["active"].values()
    retarget(seen)
    await seen.run_for(60)
    assert first in kids(buckets)
    assert [entry["reason"] for entry in status(seen)["publish"]] == ["Leaving"]
    assert conditions(seen)["Published"] == ("True", "Published")
    seen.restart()
    seen.cluster.user_apply(signing_key(revokedKeyIDs=[first]))
    await seen.run_for(3_600)
    assert kids(buckets) == set()
    assert not seen.cluster.exists(kinds.CONFIG_MAP, NS, meta.publish_config_map("corp"))
    assert "publish" not in status(seen)


async def test_a_place_that_was_moved_gets_its_keys_and_the_former_one_keeps_them() -> None:
    seen, buckets = published(place())
    await seen.run_for(3_600)
    retarget(seen, place("second", bucket="second"))
    await seen.run_for(600)
    assert kids(buckets, "second") == served(seen)
    assert kids(buckets) == served(seen)


async def test_the_discovery_document_stands_beside_where_readers_expect_it() -> None:
    seen, buckets = published(place(publicURL="https://idp.corp.example"), place("second", bucket="second"))
    buckets.hosts["idp.corp.example"] = "keys"
    await seen.run_for(60)
    found = json.loads(buckets.objects["keys", DISCOVERY].body)
    assert found["issuer"] == "https://idp.corp.example"
    assert found["jwks_uri"] == "https://idp.corp.example/.well-known/jwks.json"
    assert found["id_token_signing_alg_values_supported"] == ["ES256"]
    assert ("second", DISCOVERY) not in buckets.objects


async def test_another_issuers_discovery_document_is_left_alone() -> None:
    seen, buckets = published(place(discovery=True))
    theirs = json.dumps({"issuer": "https://other.example"}).encode()
    buckets.user_put("keys", DISCOVERY, theirs)
    await seen.run_for(60)
    assert buckets.objects["keys", DISCOVERY].body == theirs
    assert line(seen)["reason"] == "KeyConflict"
    assert kids(buckets) == served(seen)


async def test_a_probe_writes_nothing_and_holds_keys_up_until_they_are_read() -> None:
    probe = {"name": "cdn", "probe": {}, "publicURL": "https://cdn.example", "cacheTTL": "1m"}
    seen, buckets = published(probe)
    await seen.run_for(60)
    assert signing(seen)["active"] == {}
    buckets.objects["keys", JWKS] = Held(json.dumps(signing(seen)["jwks"]).encode(), '"1"')
    await seen.run_for(600)
    assert signing(seen)["active"] != {}
    assert set(buckets.calls) == {"read"}


@pytest.mark.parametrize("fault", ["put", "put done", "get"])
async def test_an_operator_that_dies_at_any_call_goes_on_where_it_was(fault: str) -> None:
    seen, buckets = published(place())
    died: list[str] = []

    def die(what: str, where: str) -> None:
        if what == fault and not died:
            died.append(what)
            raise StoreError(StoreReason.UNREACHABLE, "killed")

    buckets.trouble = die
    await seen.run_for(5)
    seen.restart()
    await seen.run_for(600)
    assert died
    assert kids(buckets) == served(seen)
    assert set(json.loads(buckets.objects["keys", JWKS].body)[WRITERS]) == served(seen)


async def test_an_operator_that_knows_an_old_ledger_takes_no_newer_key_out() -> None:
    seen, buckets = published(place(), rotation={"spare": False})
    await seen.run_for(3_600)
    stale = seen.context
    stale.objects.freeze()  # type: ignore[attr-defined]
    seen.restart()
    seen.cluster.user_apply(signing_key("second"))
    seen.cluster.user_edit(
        kinds.IDENTITY_PROVIDER,
        NS,
        "corp",
        lambda obj: obj["spec"].update({"signingKeys": [{"name": "corp"}, {"name": "second"}]}),
    )
    await seen.run_for(60)
    assert len(kids(buckets)) > 1
    before = buckets.objects["keys", JWKS]
    stale.memory.clear()
    await publish.reconcile(stale, NS, "corp")
    assert buckets.objects["keys", JWKS] == before
    assert buckets.calls[-1] == "read"


async def test_no_look_at_a_place_goes_on_when_another_one_failed() -> None:
    """A run that ended must leave nothing running: the next one of the same provider would work on the same places."""
    seen, buckets = published(place(), place("second", bucket="second"))
    await seen.run_for(60)
    before = asyncio.all_tasks()
    entered, ended = asyncio.Event(), []

    async def slow(url: str) -> bytes:
        entered.set()
        await asyncio.sleep(0.05)
        ended.append(url)
        raise StoreError(StoreReason.UNREACHABLE, "slow")

    class BrokenError(Exception): ...

    def broken(what: str, where: str) -> None:
        if what == "get" and where.startswith("second"):
            raise BrokenError

    buckets.read = slow  # type: ignore[method-assign]
    buckets.trouble = broken
    seen.clock.value += 400
    with pytest.raises(BrokenError):
        await seen.reconcile("Publish", NS, "corp")
    assert entered.is_set()
    assert asyncio.all_tasks() == before
    assert ended
