"""Imported keys on the fake cluster: a changed import rotates by the laws, a bad one changes nothing."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from fakes.keyfiles import document, jwk, key, key_set, pem, public_pem
from fakes.provider import NS, files, provider, signing, signing_key, world
from fakes.world import World, crash_everywhere, fail_everywhere
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.port import Object

A, B, C = (pem(key("P-256", number)) for number in (1, 2, 3))
SOURCE = {"import": {"secretRef": {"name": "mine"}}}
ALLOWED = {meta.ALLOW_LABEL: "true"}


def mine(content: bytes, file: str = "tls.key", labels: dict[str, str] | None = None) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "mine", "namespace": NS, "labels": ALLOWED if labels is None else labels},
        "data": {file: base64.b64encode(content).decode()},
    }


def status(seen: World, name: str = "corp") -> dict[str, Any]:
    found: dict[str, Any] = seen.cluster.peek(kinds.SIGNING_KEY, NS, name).get("status", {})
    return found


def condition(seen: World, type_: str, name: str = "corp") -> dict[str, str]:
    found: dict[str, dict[str, str]] = {entry["type"]: entry for entry in status(seen, name)["conditions"]}
    return found.get(type_, {})


def states(seen: World) -> dict[str, str]:
    return {entry["keyID"]: entry["state"] for entry in status(seen)["keys"]}


def material(seen: World) -> set[bytes]:
    return {content for name, content in files(seen, "corp-signingkey").items() if name.endswith(".pem")}


def published(seen: World) -> set[str]:
    return {entry["kid"] for entry in signing(seen)["jwks"]["keys"]}


def active(seen: World) -> str:
    return str(signing(seen)["active"].get("ES256", ""))


def bring(seen: World, content: bytes, file: str = "tls.key") -> None:
    seen.cluster.user_edit(
        kinds.SECRET, NS, "mine", lambda obj: obj.update(data={file: base64.b64encode(content).decode()})
    )


def edit(seen: World, **spec: Any) -> None:  # noqa: ANN401 - whatever the spec holds
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["spec"].update(spec))


def importing(content: bytes = A, file: str = "tls.key", **spec: Any) -> World:  # noqa: ANN401
    return world(mine(content, file), signing_key(source=SOURCE, **spec), provider())


async def settled(seen: World) -> World:
    await seen.converge()
    await seen.run_for(60)
    return seen


async def test_an_imported_key_is_copied_published_and_signs_and_no_other_is_made() -> None:
    seen = await settled(importing())
    assert material(seen) == {A}
    assert list(states(seen).values()) == ["Active"]
    assert active(seen) == status(seen)["activeKeyID"]
    assert condition(seen, "ResolvedRefs")["status"] == condition(seen, "Ready")["status"] == "True"
    assert "nextRotationTime" not in status(seen)
    assert "KeyImported" in seen.recorder.reasons()
    assert await seen.idle_writes() == []
    await seen.run_for(90 * 86_400)
    assert list(states(seen).values()) == ["Active"], "no interval makes a key where keys are brought"


async def test_a_jwk_keeps_a_kid_that_no_file_could_have() -> None:
    seen = await settled(importing(document(jwk(key("P-256"), kid="https://a.example/k#1")), "jwk.json"))
    assert active(seen) == "https://a.example/k#1"
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-") for name in files(seen, "corp-signingkey"))
    assert await seen.idle_writes() == []


async def test_another_key_in_its_place_is_published_waits_and_switches_and_the_former_leaves() -> None:
    seen = await settled(importing())
    first = active(seen)
    bring(seen, B)
    await seen.converge()
    (second,) = published(seen) - {first}
    assert active(seen) == first
    await seen.run_for(300)
    assert active(seen) == first, "verifiers may still hold a set without it"
    await seen.run_for(120)
    assert active(seen) == second
    assert states(seen) == {first: "Retiring", second: "Active"}
    assert first in published(seen)
    await seen.run_for(3_600)
    assert states(seen) == {first: "Retired", second: "Active"}
    assert material(seen) == {B}
    assert published(seen) == {second}
    assert await seen.idle_writes() == []


@pytest.mark.parametrize("pause", [0, 100, 600, 7_200])
async def test_the_former_key_can_be_brought_back_at_any_time(pause: int) -> None:
    seen = await settled(importing())
    first = active(seen)
    bring(seen, B)
    await seen.run_for(pause)
    bring(seen, A)
    await seen.run_for(7_200)
    assert active(seen) == first
    assert material(seen) == {A}
    assert list(states(seen)).count(first) == 1
    assert await seen.idle_writes() == []


async def test_a_third_key_takes_the_place_of_one_that_never_signed() -> None:
    seen = await settled(importing())
    first = active(seen)
    bring(seen, B)
    await seen.run_for(60)
    bring(seen, C)
    await seen.run_for(7_200)
    assert active(seen) != first
    assert material(seen) == {C}


async def test_generated_keys_are_followed_by_an_imported_one_and_that_by_generated_ones() -> None:
    seen = await settled(world(signing_key(), mine(A), provider()))
    first = active(seen)
    edit(seen, source=SOURCE)
    await seen.converge()
    assert active(seen) == first
    await seen.run_for(7_200)
    assert material(seen) == {A}
    second = active(seen)
    assert second != first
    edit(seen, source={"generate": {}})
    await seen.converge()
    assert active(seen) == second, "a change takes effect with the next key"
    assert condition(seen, "ResolvedRefs") == {}
    await seen.run_for(31 * 86_400)
    assert active(seen) not in (first, second)


BAD: dict[str, tuple[Any, str, str]] = {
    "gone": (None, "RefNotFound", "spec.source.import.secretRef: there is no Secret mine in namespace identity"),
    "not labelled": ({}, "RefNotFound", "that carries the label tailseal.dev/allow=true; create or label it"),
    "empty": (b"", "RefInvalid", "store it as one of tls.key"),
    "malformed": (b"canary", "RefInvalid", "spec.source.import.secretRef: Secret mine: tls.key: there is neither"),
    "encrypted": (pem(key("P-256", 2), password=b"canary"), "RefInvalid", "encrypted"),
    "public": (public_pem(key("P-256", 2)), "RefInvalid", "only public parts"),
    "wrong curve": (pem(key("P-384")), "RefInvalid", "ES256 needs a key on P-256"),
    "mismatched": (pem(key("RSA")), "RefInvalid", "not a key for ES256"),
    "several": (B + C, "RefInvalid", "several private keys"),
    "renamed": (document(jwk(key("P-256", 1), kid="b")), "RefInvalid", "is here already by the id a"),
    "another by the same name": (document(jwk(key("P-256", 2), kid="a")), "RefInvalid", "already names another key"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_import_is_refused_with_its_field_and_the_last_good_key_goes_on(name: str) -> None:
    content, reason, text = BAD[name]
    seen = await settled(importing(document(jwk(key("P-256", 1), kid="a"))))
    before = files(seen, "corp-signingkey")
    served = files(seen, "corp-signing")
    if content is None:
        seen.cluster.user_delete(kinds.SECRET, NS, "mine")
    elif isinstance(content, dict):
        seen.cluster.user_edit(kinds.SECRET, NS, "mine", lambda obj: obj["metadata"].update(labels={"x": "y"}))
    else:
        bring(seen, content)
    await seen.converge()
    found = condition(seen, "ResolvedRefs")
    assert (found["status"], found["reason"]) == ("False", reason)
    assert text in found["message"]
    assert condition(seen, "Accepted")["status"] == "True"
    await seen.run_for(60)
    assert files(seen, "corp-signingkey") == before
    assert files(seen, "corp-signing") == served
    assert "canary" not in json.dumps([status(seen), seen.recorder.events])
    assert await seen.idle_writes() == []
    if content is None:
        seen.cluster.user_apply(mine(document(jwk(key("P-256", 1), kid="a"))))
    else:
        seen.cluster.user_edit(kinds.SECRET, NS, "mine", lambda obj: obj["metadata"].update(labels=ALLOWED))
        bring(seen, document(jwk(key("P-256", 1), kid="a")))
    await seen.converge()
    assert condition(seen, "ResolvedRefs")["status"] == "True"
    assert files(seen, "corp-signingkey") == before, "the same key again is no new key"


async def test_a_bad_import_makes_nothing_where_nothing_was() -> None:
    seen = world(signing_key(source=SOURCE))
    await seen.converge()
    assert condition(seen, "Ready")["reason"] == "RefNotFound"
    assert condition(seen, "Reconciling")["status"] == "True"
    assert not seen.cluster.exists(kinds.SECRET, NS, "corp-signingkey")
    seen.cluster.user_apply(mine(A))
    await seen.converge()
    assert material(seen) == {A}


async def test_a_bad_import_lets_generated_keys_go_on() -> None:
    seen = await settled(world(signing_key(), provider()))
    first = active(seen)
    edit(seen, source=SOURCE)
    await seen.converge()
    assert condition(seen, "ResolvedRefs")["reason"] == "RefNotFound"
    assert sorted(states(seen).values()) == ["Active", "Published"]
    await seen.run_for(31 * 86_400)
    assert active(seen) != first


async def test_an_algorithm_that_the_key_does_not_fit_changes_nothing() -> None:
    seen = await settled(world(mine(pem(key("RSA"))), signing_key(algorithm="RS256", source=SOURCE), provider()))
    served = files(seen, "corp-signing")
    edit(seen, algorithm="PS256")
    await seen.converge()
    assert "a key keeps its algorithm" in condition(seen, "ResolvedRefs")["message"]
    assert files(seen, "corp-signing") == served


async def test_a_revoked_import_stays_revoked_by_whatever_id_and_another_follows_at_once() -> None:
    seen = await settled(importing(document(jwk(key("P-256", 1), kid="a")), "jwk.json"))
    edit(seen, revokedKeyIDs=["a"])
    await seen.converge()
    assert states(seen) == {"a": "Revoked"}
    assert not material(seen)
    assert not signing(seen)["active"]
    assert not signing(seen)["held"]
    assert condition(seen, "ResolvedRefs")["reason"] == "KeyRevoked"
    edit(seen, revokedKeyIDs=[])
    for again in (document(jwk(key("P-256", 1), kid="a")), document(jwk(key("P-256", 1), kid="b")), A):
        bring(seen, again, "jwk.json")
        await seen.converge()
        assert condition(seen, "ResolvedRefs")["reason"] == "KeyRevoked"
        assert not material(seen)
    bring(seen, B)
    await settled(seen)
    assert material(seen) == {B}
    assert active(seen)
    assert await seen.idle_writes() == []


async def test_a_revoked_import_stays_revoked_when_the_ledger_is_lost() -> None:
    seen = await settled(importing())
    first = active(seen)
    edit(seen, revokedKeyIDs=[first])
    await seen.converge()
    edit(seen, revokedKeyIDs=[])
    seen.cluster.user_delete(kinds.SECRET, NS, "corp-signingkey")
    await settled(seen)
    assert first not in published(seen)
    assert not material(seen)


async def test_material_lost_out_of_our_secret_is_copied_again() -> None:
    seen = await settled(importing())
    first, before = active(seen), files(seen, "corp-signingkey")
    seen.cluster.user_edit(kinds.SECRET, NS, "corp-signingkey", lambda obj: obj["data"].pop(f"{first}.pem"))
    await settled(seen)
    assert files(seen, "corp-signingkey") == before
    seen.cluster.user_delete(kinds.SECRET, NS, "corp-signingkey")
    await settled(seen)
    assert (active(seen), material(seen)) == (first, {A})


async def test_one_key_has_one_signing_key() -> None:
    seen = await settled(importing())
    seen.cluster.user_apply(signing_key("other", source=SOURCE))
    await seen.converge()
    assert "SigningKey corp has key" in condition(seen, "ResolvedRefs", "other")["message"]
    assert not seen.cluster.exists(kinds.SECRET, NS, "other-signingkey")


async def test_a_key_of_a_set_is_chosen_by_its_id() -> None:
    content = key_set(jwk(key("P-256", 1), kid="a"), jwk(key("P-256", 2), kid="b"))
    named = {"import": {"secretRef": {"name": "mine"}, "keyID": "a"}}
    seen = await settled(world(mine(content, "jwks.json"), signing_key(source=named), provider()))
    assert active(seen) == "a"
    edit(seen, source={"import": {"secretRef": {"name": "mine"}, "keyID": "b"}})
    await seen.run_for(7_200)
    assert active(seen) == "b"


async def test_killed_after_any_write_of_an_import_it_converges() -> None:
    def check(seen: World) -> None:
        assert material(seen) == {A}

    assert await crash_everywhere(world, check, lambda seen: _apply(seen, mine(A), signing_key(source=SOURCE))) >= 4
    assert await fail_everywhere(world, check, lambda seen: _apply(seen, mine(A), signing_key(source=SOURCE))) >= 4


async def test_killed_after_any_write_of_a_changed_import_both_are_kept() -> None:
    def check(seen: World) -> None:
        assert material(seen) == {A, B}
        assert len(published(seen)) == 2

    assert await crash_everywhere(importing, check, lambda seen: bring(seen, B)) >= 3


async def test_no_private_member_is_in_any_text() -> None:
    seen = await settled(importing(document(jwk(key("P-256", 1), kid="a"))))
    bring(seen, document(jwk(key("P-256", 2), kid="b", use="enc")))
    await seen.converge()
    bring(seen, B)
    await seen.run_for(7_200)
    text = json.dumps([status(seen), seen.recorder.events, seen.cluster.peek(kinds.CONFIG_MAP, NS, "corp-jwks")])
    text += files(seen, "corp-signingkey")["ledger.json"].decode() + files(seen, "corp-issuer")["ledger.json"].decode()
    lines = [line for content in (A, B) for line in content.decode().splitlines()[1:-1]]
    secrets = [*lines, *(jwk(key("P-256", number))["d"] for number in (1, 2))]
    assert not [secret for secret in secrets if secret in text]


def _apply(seen: World, *objects: Object) -> None:
    for obj in objects:
        seen.cluster.user_apply(obj)


async def test_a_request_to_rotate_waits_for_who_brings_the_keys_and_says_so() -> None:
    seen = await settled(importing())
    rotate = {meta.ROTATE_ANNOTATION: "2027-01-15T08:01:00Z"}
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["metadata"].update(annotations=rotate))
    await seen.run_for(600)
    accepted = condition(seen, "Accepted")
    assert accepted["status"] == "True"
    assert accepted["message"].endswith("[tailseal.dev/rotate] waits for you: bring another key by spec.source.import")
    assert condition(seen, "Ready")["status"] == "True"
    assert await seen.idle_writes() == []
    bring(seen, B)
    await seen.run_for(600)
    assert condition(seen, "Accepted")["message"] == "the spec is valid"


async def test_a_size_for_keys_that_are_brought_is_refused() -> None:
    seen = await settled(importing(algorithm="RS256", rsaBits=4096))
    assert condition(seen, "Accepted")["reason"] == "InvalidSpec"
    assert "one that is brought has its size; leave rsaBits out" in condition(seen, "Accepted")["message"]
