"""An application's Secret that a policy changes in each write: said, not fought, no new secret each time, healed."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable

import pytest

from fakes.applications import client, conditions, hashes, message, provider, rotate, secret, serve, served, world
from fakes.owned import repairs
from fakes.world import World
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.port import Object
from tailseal.reconcile.context import Key
from tailseal.reconcile.repairs import IN_VAIN, SELDOM

NAME = "grafana-oauthclient"
TARGET = kinds.SECRET, "team-a", NAME


def policy(spoil: Callable[[Object, str], None], *, same: bool = False) -> Callable[[Object], None]:
    count = itertools.count()

    def mutate(obj: Object) -> None:
        if (obj["kind"], obj["metadata"]["name"]) == ("Secret", NAME) and obj.get("data"):
            spoil(obj, base64.b64encode(str(0 if same else next(count)).encode() * 40).decode())

    return mutate


def more(obj: Object, value: str) -> None:
    obj["data"]["more"] = value


def another(obj: Object, value: str) -> None:
    obj["data"]["client_secret"] = value


def unremembered(obj: Object, value: str) -> None:
    obj["metadata"]["annotations"] = {"theirs": value}


def tries(made: World, before: int) -> int:
    return sum(write.ref.name == NAME for write in made.cluster.writes[before:])


def check_whole(made: World, before: Object) -> None:
    after = made.cluster.peek(*TARGET)
    assert (after["data"], after["metadata"]["labels"]) == (before["data"], before["metadata"]["labels"])
    assert conditions(made)["Programmed"] == ("True", "Programmed")
    assert "Repaired" not in conditions(made)


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("spoil", [more, another, unremembered])
async def test_what_a_policy_makes_of_the_secret_each_time_is_said_and_tried_ever_more_seldom(
    spoil: Callable[[Object, str], None],
    same: bool,  # noqa: FBT001
) -> None:
    made = world()
    await serve(made)
    made.cluster.mutate = policy(spoil, same=same)
    made.cluster.user_edit(*TARGET, lambda _obj: None)
    await serve(made)
    assert await made.idle_writes() == []
    assert conditions(made)["Repaired"] == ("False", "NotRepaired")
    assert f"Secret {NAME} comes back in the write that undoes it" in message(made, "Repaired")
    said = [message for _, _, reason, message in made.recorder.events if reason == "NotRepaired"]
    assert said == [message(made, "Repaired")]
    before, known = len(made.cluster.writes), served(made)
    await made.run_for(20 * IN_VAIN)
    assert 3 <= tries(made, before) <= 45
    assert served(made) == known, "each would be another rotation"
    done = await made.reconcile("OAuthClient", "team-a", "grafana")
    assert done.after is not None
    assert done.after <= IN_VAIN, "nobody tells when the policy goes"


@pytest.mark.parametrize("spoil", [more, unremembered])
async def test_it_heals_with_the_same_secret_when_the_policy_goes(spoil: Callable[[Object, str], None]) -> None:
    made = world()
    await serve(made)
    whole = made.cluster.peek(*TARGET)
    made.cluster.mutate = policy(spoil)
    made.cluster.user_edit(*TARGET, lambda _obj: None)
    await made.run_for(10 * IN_VAIN)
    made.cluster.mutate = lambda _obj: None
    await made.run_for(SELDOM)
    await serve(made)
    check_whole(made, whole)
    assert (await made.reconcile("OAuthClient", "team-a", "grafana")).after is None
    assert await made.idle_writes() == []


async def test_a_client_secret_that_a_policy_changes_is_the_one_that_was_meant_when_the_policy_goes() -> None:
    made = world(provider(tailnet={"mode": "Serve", "auth": {"authKeySecretRef": {"name": "tailnet"}}}), client())
    await serve(made)
    made.cluster.mutate = policy(another)
    made.cluster.user_edit(*TARGET, lambda _obj: None)
    await serve(made)
    meant = hashes(made)
    assert conditions(made)["Ready"] == ("True", "NotRepaired")
    await made.run_for(10 * IN_VAIN)
    made.cluster.mutate = lambda _obj: None
    await made.run_for(SELDOM)
    await serve(made)
    check_whole(made, made.cluster.peek(*TARGET))
    assert hashes(made) == meant


async def test_what_is_wanted_anew_is_written_at_once_also_where_something_was_in_vain() -> None:
    made = world()
    await serve(made)
    first = secret(made)["client_secret"]
    made.cluster.mutate = policy(more)
    made.cluster.user_edit(*TARGET, lambda _obj: None)
    await serve(made)
    made.clock.advance(1)
    rotate(made)
    await serve(made)
    assert secret(made)["client_secret"] != first
    assert await made.idle_writes() == []


async def test_of_a_client_that_is_gone_nothing_is_remembered() -> None:
    made = world(provider(), client())
    await serve(made)
    made.cluster.mutate = policy(more)
    made.cluster.user_edit(*TARGET, lambda _obj: None)
    await serve(made)
    made.cluster.user_delete(kinds.OAUTH_CLIENT, "team-a", "grafana")
    await made.converge()
    assert not [key for key in made.context.memory if key == Key("Owned/OAuthClient", "team-a", "grafana")]


async def test_a_name_that_the_client_takes_again_was_given_up_by_nobody_else() -> None:
    made = world()
    await serve(made)
    for name in ("one", "two", "one", "two"):
        made.cluster.user_apply(client(secretName=name))
        await serve(made)
    assert repairs(made) == []
    assert [ref.name for ref in made.context.memory[Key("Owned/OAuthClient", "team-a", "grafana")].made] == ["two"]


async def test_what_somebody_puts_in_once_is_taken_out_and_said_where_the_client_is() -> None:
    made = world()
    await serve(made)
    made.cluster.user_edit(*TARGET, lambda obj: obj["metadata"]["labels"].update({meta.MANAGED_BY: "theirs"}))
    await serve(made)
    said = [(obj, reason) for obj, _, reason, _ in made.recorder.events if reason == "Repaired"]
    assert len(said) == 1
    assert "Repaired" not in conditions(made)
