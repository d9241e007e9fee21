"""The operator is killed after each single write of every change: whoever follows ends where it would have ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fakes.buckets import FakeBuckets
from fakes.provider import ISSUER, NS, files, policy, provider, revoke, secret, signing_key, world
from fakes.world import World, crash_everywhere, fail_everywhere
from tailseal.api import meta
from tailseal.api.times import format_time
from tailseal.cluster import kinds

PLACE = {
    "name": "cdn",
    "objectStore": {"bucket": "keys", "credentialsSecretRef": {"name": "store"}},
    "publicURL": "https://cdn.example",
}
MOVED = PLACE | {"objectStore": {"bucket": "second", "credentialsSecretRef": {"name": "store"}}}


def started() -> World:
    seen = world(
        signing_key(),
        provider(publish=[PLACE]),
        policy(),
        secret("store", access_key_id="AKIAEXAMPLE", secret_access_key="hunter2hunter2"),
    )
    seen.outside = FakeBuckets(hosts={"cdn.example": "keys"})
    seen.restart()
    return seen


def rotate(seen: World) -> None:
    seen.clock.advance(10)  # no younger key is asked for than there is
    text = {meta.ROTATE_ANNOTATION: format_time(seen.clock.now())}
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["metadata"].update(annotations=text))


def reorder(seen: World) -> None:
    seen.cluster.user_apply(signing_key("second"))
    _change(seen, signingKeys=[{"name": "second"}, {"name": "corp"}])


def move_copy(seen: World) -> None:
    _change(seen, publish=[MOVED])


def rename(seen: World) -> None:
    seen.cluster.user_delete(kinds.IDENTITY_PROVIDER, NS, "corp")
    seen.cluster.collect_garbage()
    seen.cluster.user_apply(provider("renamed"))


def lose_signing(seen: World) -> None:
    seen.cluster.user_delete(kinds.SECRET, NS, "corp-signing")


def lose_ledger(seen: World) -> None:
    seen.cluster.user_delete(kinds.SECRET, NS, "corp-issuer")


def lose_keys(seen: World) -> None:
    seen.cluster.user_delete(kinds.SECRET, NS, "corp-signingkey")


def spoil_and_revoke(seen: World) -> None:
    revoke(seen)
    seen.cluster.user_edit(kinds.SECRET, NS, "corp-issuer", lambda obj: obj["data"].update({"ledger.json": "AAAA"}))


def _change(seen: World, **spec: Any) -> None:  # noqa: ANN401 - whatever the spec holds
    seen.cluster.user_edit(kinds.IDENTITY_PROVIDER, NS, "corp", lambda obj: obj["spec"].update(spec))


ACTS = [rotate, revoke, reorder, move_copy, rename, lose_signing, lose_ledger, lose_keys, spoil_and_revoke]


def sound(seen: World) -> None:
    """One signer at most, published and held; what is revoked is gone; the ledger and what follows from it agree."""
    (obj,) = seen.cluster.all(kinds.IDENTITY_PROVIDER)
    name = obj["metadata"]["name"]
    assert obj["spec"]["issuer"] == ISSUER
    written = json.loads(files(seen, f"{name}-signing")["signing.json"])
    published = {key["kid"] for key in written["jwks"]["keys"]}
    assert set(written["active"].values()) <= published
    assert {key["file"] for key in written["held"]} <= files(seen, f"{name}-signing").keys()
    for key in seen.cluster.all(kinds.SIGNING_KEY):
        states = [entry["state"] for entry in key.get("status", {}).get("keys", ())]
        assert states.count("Active") <= 1
        assert not published & set(key["spec"].get("revokedKeyIDs", ()))
    ledger = files(seen, f"{name}-issuer").get("ledger.json", b"")
    if ledger.startswith(b"{"):
        assert published == {key["kid"] for key in json.loads(ledger)["keys"]}
        assert written["active"] == json.loads(ledger)["active"]


@pytest.mark.parametrize("act", ACTS)
async def test_killed_after_any_write(act: Callable[[World], None]) -> None:
    assert await crash_everywhere(started, sound, act) >= 2


@pytest.mark.parametrize("act", ACTS)
async def test_refused_at_any_write(act: Callable[[World], None]) -> None:
    assert await fail_everywhere(started, sound, act) >= 2
