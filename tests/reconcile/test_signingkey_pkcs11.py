"""Keys in a token, seen by the operator: it publishes them and hands workers the way to them, never a key."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from fakes.keyfiles import key, public_pem
from fakes.provider import NS, files, provider, signing, signing_key, world
from fakes.world import World, crash_everywhere
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.port import Object

PIN = "canary-pin-7391"


def public(number: int, kind: str = "P-256") -> str:
    return public_pem(key(kind, number)).decode()


def source(number: int = 1, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever the spec holds
    said = {
        "module": "/usr/lib/vendor/pkcs11.so",
        "tokenLabel": "corp",
        "keyLabel": f"key-{number}",
        "publicKey": public(number),
        "pinSecretRef": {"name": "pin"},
    }
    return {"pkcs11": said | changes}


def pin_secret(pin: str = PIN, file: str = "pin") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "pin", "namespace": NS, "labels": {meta.ALLOW_LABEL: "true"}},
        "data": {file: base64.b64encode(pin.encode()).decode()},
    }


def in_token(**spec: Any) -> World:  # noqa: ANN401
    return world(pin_secret(), signing_key(source=source(), **spec), provider())


async def settled(seen: World) -> World:
    await seen.converge()
    await seen.run_for(60)
    return seen


def status(seen: World) -> dict[str, Any]:
    found: dict[str, Any] = seen.cluster.peek(kinds.SIGNING_KEY, NS, "corp").get("status", {})
    return found


def condition(seen: World, type_: str) -> dict[str, str]:
    found: dict[str, dict[str, str]] = {entry["type"]: entry for entry in status(seen)["conditions"]}
    return found.get(type_, {})


def handles(seen: World) -> dict[str, dict[str, Any]]:
    """What the workers are given, by key label."""
    given = files(seen, "corp-signing")
    found = [json.loads(given[entry["file"]]) for entry in signing(seen)["held"]]
    return {entry["keyLabel"]: entry for entry in found}


def edit(seen: World, **spec: Any) -> None:  # noqa: ANN401
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", lambda obj: obj["spec"].update(spec))


async def test_the_public_key_is_published_and_workers_are_given_the_way_to_the_private_one() -> None:
    seen = await settled(in_token())
    (kid,) = (entry["kid"] for entry in signing(seen)["jwks"]["keys"])
    assert signing(seen)["active"] == {"ES256": kid}
    assert status(seen)["activeKeyID"] == kid
    assert condition(seen, "Ready")["status"] == condition(seen, "ResolvedRefs")["status"] == "True"
    assert handles(seen)["key-1"] == {
        "kind": "pkcs11",
        "module": "/usr/lib/vendor/pkcs11.so",
        "tokenLabel": "corp",
        "keyLabel": "key-1",
        "pin": PIN,
        "publicJwk": signing(seen)["jwks"]["keys"][0],
    }
    assert await seen.idle_writes() == []
    await seen.run_for(90 * 86_400)
    assert len(status(seen)["keys"]) == 1, "nobody but its owner can make the next key"


async def test_naming_another_key_rotates_by_the_laws_and_a_key_id_may_be_given() -> None:
    seen = await settled(in_token())
    first = status(seen)["activeKeyID"]
    edit(seen, source=source(2, keyID="two"))
    await seen.converge()
    assert {entry["kid"] for entry in signing(seen)["jwks"]["keys"]} == {first, "two"}
    assert signing(seen)["active"] == {"ES256": first}
    await seen.run_for(420)
    assert signing(seen)["active"] == {"ES256": "two"}
    assert set(handles(seen)) == {"key-2"}


async def test_another_pin_counts_for_every_key_of_the_token_at_once() -> None:
    seen = await settled(in_token())
    edit(seen, source=source(2))
    await seen.converge()
    assert len(handles(seen)) == 2
    new = base64.b64encode(b"another\n").decode()
    seen.cluster.user_edit(kinds.SECRET, NS, "pin", lambda obj: obj.update(data={"pin": new}))
    await seen.converge()
    assert {entry["pin"] for entry in handles(seen).values()} == {"another"}
    assert await seen.idle_writes() == []


async def test_a_key_moves_into_a_token_and_out_again_by_rotation() -> None:
    seen = await settled(world(pin_secret(), signing_key(), provider()))
    generated = status(seen)["activeKeyID"]
    edit(seen, source=source())
    await seen.run_for(420)
    in_it = status(seen)["activeKeyID"]
    assert in_it != generated
    edit(seen, source={"generate": {}})
    await seen.run_for(31 * 86_400)
    assert status(seen)["activeKeyID"] not in (generated, in_it)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a key of another algorithm": (
        {"publicKey": public(1, "P-384")},
        "spec.source.pkcs11.publicKey: ES256 needs a key",
    ),
    "no key at all": ({"publicKey": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}, "export it anew"),
    "another Secret": ({"pinSecretRef": {"name": "nope"}}, "spec.source.pkcs11.pinSecretRef: there is no Secret nope"),
    "the id of another key": ({"keyLabel": "key-2", "publicKey": public(2), "keyID": "one"}, "already names another"),
}


@pytest.mark.parametrize(("changes", "text"), REFUSED.values(), ids=list(REFUSED))
async def test_what_cannot_be_taken_is_said_and_the_former_key_signs_on(changes: dict[str, Any], text: str) -> None:
    seen = await settled(world(pin_secret(), signing_key(source=source(keyID="one")), provider()))
    before = signing(seen)
    edit(seen, source=source(**changes))
    await seen.run_for(600)
    assert text in condition(seen, "ResolvedRefs")["message"]
    assert signing(seen)["active"] == before["active"]
    assert [entry["kid"] for entry in signing(seen)["jwks"]["keys"]] == ["one"]


@pytest.mark.parametrize("empty", [pin_secret(""), pin_secret("\n"), pin_secret(file="PIN"), pin_secret("x" * 300)])
async def test_a_secret_without_a_pin_is_refused(empty: Object) -> None:
    seen = await settled(world(empty, signing_key(source=source()), provider()))
    assert "Secret pin: the Secret needs the token's user PIN as pin" in condition(seen, "ResolvedRefs")["message"]
    assert not seen.cluster.exists(kinds.SECRET, NS, "corp-signing")


async def test_a_revoked_key_in_a_token_is_taken_from_everybody_at_once() -> None:
    seen = await settled(in_token())
    kid = status(seen)["activeKeyID"]
    edit(seen, revokedKeyIDs=[kid])
    await seen.converge()
    assert signing(seen)["jwks"]["keys"] == signing(seen)["held"] == []
    assert "import one" not in condition(seen, "Ready")["message"]
    assert "is revoked for ever" in condition(seen, "ResolvedRefs")["message"]
    assert PIN not in json.dumps([obj for obj in seen.cluster.all(kinds.SECRET) if obj["metadata"]["name"] != "pin"])


async def test_the_pin_stands_in_secrets_only() -> None:
    seen = await settled(in_token())
    edit(seen, source=source(2))
    await seen.run_for(420)
    assert PIN not in json.dumps(
        [obj for kind in (*kinds.CUSTOM, kinds.CONFIG_MAP, kinds.DEPLOYMENT) for obj in seen.cluster.all(kind)]
    )
    assert PIN not in json.dumps([str(event) for event in seen.recorder.events])


async def test_a_crash_after_any_write_is_made_good() -> None:
    def check(seen: World) -> None:
        assert {label: entry["pin"] for label, entry in handles(seen).items()} == {"key-1": PIN, "key-2": PIN}
        assert len(signing(seen)["jwks"]["keys"]) == 2

    assert await crash_everywhere(in_token, check, lambda seen: edit(seen, source=source(2))) > 2
