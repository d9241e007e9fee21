"""A revoked key leaves the buckets also while nothing else can be decided, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from fakes.buckets import FakeBuckets
from fakes.provider import NS, provider, secret, signing, signing_key, status, world
from fakes.world import World
from tailseal.cluster import kinds
from tailseal.cluster.port import Object
from tailseal.domain.publishing.keyset import WRITERS
from tailseal.domain.publishing.store import StoreError, StoreReason

JWKS = ".well-known/jwks.json"
PLACE = {
    "name": "cdn",
    "objectStore": {"bucket": "keys", "credentialsSecretRef": {"name": "store"}},
    "publicURL": "https://cdn.example",
    "cacheTTL": "1m",
}


def spoil_ledger(seen: World) -> None:
    seen.cluster.user_edit(kinds.SECRET, NS, "corp-issuer", lambda obj: obj["data"].update({"ledger.json": "AAAA"}))


def spoil_spec(seen: World) -> None:
    seen.cluster.user_delete(kinds.CONFIG_MAP, NS, "corp-accepted")
    seen.cluster.user_edit(kinds.IDENTITY_PROVIDER, NS, "corp", lambda obj: obj["spec"].update({"sts": "x"}))


def spoil_both(seen: World) -> None:
    spoil_ledger(seen)
    spoil_spec(seen)


SPOILT: dict[str, Callable[[World], None]] = {
    "the ledger": spoil_ledger,
    "the spec": spoil_spec,
    "ledger and spec": spoil_both,
}


async def running() -> tuple[World, FakeBuckets]:
    seen = world(
        signing_key(),
        provider(publish=[PLACE]),
        secret("store", access_key_id="AKIAEXAMPLE", secret_access_key="hunter2hunter2"),
    )
    buckets = FakeBuckets(hosts={"cdn.example": "keys"})
    seen.outside = buckets
    seen.restart()
    await seen.run_for(600)
    return seen, buckets


def document(buckets: FakeBuckets) -> dict[str, object]:
    found: dict[str, object] = json.loads(buckets.objects["keys", JWKS].body)
    return found


def kids(buckets: FakeBuckets) -> set[str]:
    return {entry["kid"] for entry in document(buckets)["keys"]}  # type: ignore[attr-defined]


def revoke_signer(seen: World) -> str:
    kid: str = signing(seen)["active"]["ES256"]
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["spec"].update({"revokedKeyIDs": [kid]}))
    return kid


@pytest.mark.parametrize("restarted", [False, True], ids=["same operator", "another operator"])
@pytest.mark.parametrize("what", SPOILT)
async def test_a_revoked_key_leaves_the_bucket_although_nobody_can_read(what: str, restarted: bool) -> None:  # noqa: FBT001
    seen, buckets = await running()
    before, theirs = kids(buckets), json.loads(buckets.objects["keys", JWKS].body)
    buckets.user_put(
        "keys", JWKS, json.dumps(theirs | {"keys": [*theirs["keys"], {"kid": "other", "kty": "x"}]}).encode()
    )
    SPOILT[what](seen)
    await seen.run_for(40)
    if restarted:
        seen.restart()
    kid = revoke_signer(seen)
    await seen.run_for(2)
    assert kids(buckets) == before - {kid} | {"other"}
    assert set(document(buckets)[WRITERS]) == before - {kid}, "the marks of what stays are kept"  # type: ignore[call-overload]
    buckets.calls.clear()
    await seen.run_for(250)
    assert "put" not in buckets.calls


async def test_until_something_is_revoked_a_place_is_left_as_it_is_and_says_why() -> None:
    seen, buckets = await running()
    before = buckets.objects["keys", JWKS]
    spoil_ledger(seen)
    await seen.run_for(3600)
    assert buckets.objects["keys", JWKS] == before
    line = status(seen)["publish"][0]
    assert (line["status"], line["reason"]) == ("Unknown", "LedgerUnreadable")
    assert "what is revoked is taken out" in line["message"]


async def test_a_bucket_out_of_reach_is_tried_until_the_key_is_gone() -> None:
    seen, buckets = await running()
    spoil_ledger(seen)

    def down(what: str, where: str) -> None:
        raise StoreError(StoreReason.UNREACHABLE, "the bucket is out of reach")

    buckets.trouble = down
    kid = revoke_signer(seen)
    await seen.run_for(100)
    assert status(seen)["publish"][0]["reason"] == "StoreUnreachable"
    buckets.trouble = lambda _what, _where: None
    await seen.run_for(600)
    assert kid not in kids(buckets)


async def test_once_the_ledger_is_back_all_goes_on_and_the_revoked_key_stays_out() -> None:
    seen, buckets = await running()
    kept: Object = dict(seen.cluster.peek(kinds.SECRET, NS, "corp-issuer")["data"])
    spoil_ledger(seen)
    kid = revoke_signer(seen)
    await seen.run_for(60)
    seen.cluster.user_edit(kinds.SECRET, NS, "corp-issuer", lambda obj: obj.update(data=dict(kept)))
    await seen.run_for(900)
    assert kid not in kids(buckets)
    assert kids(buckets) == {key["kid"] for key in signing(seen)["jwks"]["keys"]}
    assert signing(seen)["active"]
    assert status(seen)["publish"][0]["status"] == "True"
