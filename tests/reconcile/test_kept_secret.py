"""Ledgers and public keys that a policy changes in each write: not fought, and healed when it goes."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable

import pytest

from fakes.provider import NS, assert_ready, standard
from fakes.signingkeys import conditions
from tailseal.cluster import kinds
from tailseal.cluster.port import Kind, Object
from tailseal.reconcile import kept_secret

KEY = kinds.SECRET, "corp-signingkey"
ISSUER = kinds.SECRET, "corp-issuer"
PUBLIC = kinds.CONFIG_MAP, "corp-jwks"


def more(obj: Object, value: str) -> None:
    obj["data"]["more"] = base64.b64encode(value.encode()).decode()


def disowned(obj: Object, value: str) -> None:
    obj["metadata"] |= {"ownerReferences": [], "annotations": {"theirs": value}}


def other(obj: Object, value: str) -> None:
    obj["data"]["jwks.json"] = value


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(
    ("target", "spoil"),
    [(KEY, more), (ISSUER, more), (PUBLIC, disowned), (PUBLIC, other)],
    ids=["key", "ledger", "owner", "content"],
)
async def test_what_a_policy_changes_in_each_write_is_not_fought(
    target: tuple[Kind, str],
    spoil: Callable[[Object, str], None],
    same: bool,  # noqa: FBT001
) -> None:
    count, (kind, name) = itertools.count(), target

    def mutate(obj: Object) -> None:
        if (obj["kind"], obj["metadata"]["name"]) == (kind.kind, name) and obj.get("data"):
            spoil(obj, str(0 if same else next(count)))

    seen = standard()
    await seen.converge()
    await seen.run_for(10)
    whole = seen.cluster.peek(kind, NS, name)
    seen.cluster.mutate = mutate
    seen.cluster.user_edit(kind, NS, name, lambda _obj: None)
    before = len(seen.cluster.writes)
    await seen.run_for(3 * kept_secret.IN_VAIN)
    assert len([write for write in seen.cluster.writes[before:] if write.ref.name == name]) <= 2 * 4
    assert await seen.idle_writes() == []
    assert_ready(seen)
    assert conditions(seen)["Published"] == (("False", "NotRepaired") if target == PUBLIC else ("True", "Published"))
    seen.cluster.mutate = lambda _obj: None
    await seen.run_for(kept_secret.IN_VAIN)
    seen.cluster.user_edit(kind, NS, name, lambda obj: obj["metadata"].setdefault("annotations", {}).update(a="b"))
    await seen.converge()
    healed = seen.cluster.peek(kind, NS, name)
    assert healed["data"] == whole["data"]
    assert healed["metadata"].get("ownerReferences") == whole["metadata"].get("ownerReferences")
    assert conditions(seen)["Published"] == ("True", "Published")
    assert not [key for key in seen.context.memory if key.controller.startswith("Kept/")]


@pytest.mark.parametrize("kept", [["ledger.json"], []], ids=["keys", "everything"])
async def test_while_a_policy_takes_keys_out_of_their_secret_none_is_made_upon_the_other(kept: list[str]) -> None:
    def mutate(obj: Object) -> None:
        if obj["metadata"]["name"] == "corp-signingkey" and obj.get("data"):
            obj["data"] = {name: text for name, text in obj["data"].items() if name in kept}

    seen = standard()
    await seen.converge()
    await seen.run_for(10)
    seen.cluster.mutate = mutate
    seen.cluster.user_edit(*KEY[:1], NS, KEY[1], lambda _obj: None)
    before = len([event for event in seen.recorder.events if event[2] == "KeyCreated"])
    await seen.run_for(3 * kept_secret.IN_VAIN)
    made = [event for event in seen.recorder.events if event[2] == "KeyCreated"]
    assert len(made) - before <= 2 * 4, "a signer and its spare, once a minute"
    assert conditions(seen)["Stalled"] == ("True", "Forbidden")
    seen.cluster.mutate = lambda _obj: None
    await seen.run_for(2 * kept_secret.IN_VAIN)
    assert "Stalled" not in conditions(seen)
    assert await seen.idle_writes() == []
