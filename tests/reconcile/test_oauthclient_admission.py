"""Withdrawn permission ends what a client had, whoever dies when: given back, it is another admission of the client."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from fakes import trust
from fakes.applications import TEAM, client, provider, serve, served, world
from fakes.cluster import Killed
from fakes.world import World, in_any_order
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.errors import Forbidden
from tailseal.domain.bundle import model
from tailseal.domain.clients.admission import uid_of

NARROW = TEAM | {"redirectHosts": ["other.example"]}
WIDE = TEAM | {
    "redirectHosts": [*TEAM["redirectHosts"], "other.example"],
    "audiences": ["grafana", trust.BILLING],
    "issuers": [trust.ISSUER],
    "keySources": ["Discovery"],
}
POLICY = {
    "apiVersion": meta.API_VERSION,
    "kind": "TrustPolicy",
    "metadata": {"name": "deploy", "namespace": "team-a"},
    "spec": trust.spec(),
}


def two() -> World:
    """A client that is withdrawn, one that is not, and a policy: settings are written before the clients then."""
    other = client("team-a/other", redirectURIs=["https://other.example/cb"])
    return world(provider(bounds=[WIDE]), client(), other, POLICY)


def withdraw(made: World) -> None:
    made.cluster.user_apply(provider(bounds=[NARROW]))


def give_back(made: World) -> None:
    made.cluster.user_apply(provider(bounds=[WIDE]))


def admissions(made: World) -> dict[str, str]:
    return {name: record["uid"] for name, record in served(made).items()}


def check_ended(before: dict[str, str], after: dict[str, str]) -> None:
    assert before.keys() == after.keys() == {"team-a/grafana", "team-a/other"}
    assert before["team-a/grafana"] != after["team-a/grafana"], "its logins would live on"
    assert uid_of(before["team-a/grafana"]) == uid_of(after["team-a/grafana"])
    assert before["team-a/other"] == after["team-a/other"], "nobody took that away"


async def test_a_client_whose_bounds_come_back_has_nothing_of_before_and_others_all() -> None:
    made = two()
    await serve(made)
    before = admissions(made)
    withdraw(made)
    await serve(made)
    assert served(made).keys() == {"team-a/other"}
    give_back(made)
    await serve(made)
    check_ended(before, admissions(made))
    assert await made.idle_writes() == []


async def test_that_an_operator_is_restarted_ends_nothing() -> None:
    made = two()
    await serve(made)
    before = admissions(made)
    made.restart()
    assert await made.idle_writes() == []
    made.restart()
    made.cluster.user_apply(client("team-a/third"))
    await serve(made)
    assert before.items() <= admissions(made).items()


async def test_killed_after_any_write_of_a_withdrawal_it_is_remembered() -> None:
    assert await killed_everywhere(meanwhile=False) >= 4


async def test_given_back_while_no_operator_runs_it_is_remembered_once_any_worker_could_know() -> None:
    assert await killed_everywhere(meanwhile=True) >= 4


async def killed_everywhere(*, meanwhile: bool) -> int:
    """Kill the operator after each write of a withdrawal, give back while it is dead or after that; how many times."""
    for crashes in range(1, 100):
        made = two()
        await serve(made)
        before, manifest = admissions(made), policies(made)
        withdraw(made)
        made.cluster.crash_after = crashes
        try:
            await made.converge()
        except Killed:
            told = policies(made) != manifest or not meanwhile
            if meanwhile:
                give_back(made)
            made.restart()
            await made.converge()
            give_back(made)
            await serve(made)
            if told:
                check_ended(before, admissions(made))
            else:
                assert before["team-a/other"] == admissions(made)["team-a/other"]
            continue
        return crashes - 1
    raise AssertionError("it writes for ever")


def policies(made: World) -> dict[str, Any]:
    """Settings and manifest: what workers go by."""
    found: dict[str, Any] = made.cluster.peek(kinds.CONFIG_MAP, "identity", "corp-policies")["data"]
    return found


async def test_any_order_ends_the_same() -> None:
    def build(order: int) -> World:
        return world(provider(bounds=[NARROW]), client(), order=order)

    def nobody(made: World) -> None:
        assert served(made) == {}

    await in_any_order(build, nobody)


@pytest.mark.parametrize("restarts", [False, True], ids=["", "restarted"])
async def test_the_last_client_of_a_provider_is_withdrawn_like_any(restarts: bool) -> None:  # noqa: FBT001
    made = world()
    await serve(made)
    before = admissions(made)
    withdraw(made)
    await serve(made)
    assert served(made) == {}
    if restarts:
        made.restart()
    give_back(made)
    await serve(made)
    assert before != admissions(made)


async def test_clients_that_could_not_be_written_are_no_less_withdrawn() -> None:
    made = two()
    await serve(made)
    before = admissions(made)
    made.cluster.refuse = lambda verb, ref: Forbidden("no") if verb == "apply" and ref.name == "corp-clients" else None
    withdraw(made)
    await made.converge()
    assert served(made) == {}, "better nobody than one too many"
    made.cluster.refuse = lambda _verb, _ref: None
    give_back(made)
    await serve(made)
    check_ended(before, admissions(made))


async def test_a_slip_in_its_spec_pauses_a_client_and_ends_nothing() -> None:
    made = two()
    await serve(made)
    before = admissions(made)
    made.cluster.user_apply(client(claims=["sub"]))
    await serve(made)
    assert served(made).keys() == {"team-a/other"}
    made.cluster.user_apply(client())
    await serve(made)
    assert before == admissions(made)


@pytest.mark.parametrize("slip", [{"claims": ["sub"]}, {"idTokenAlgorithm": "none"}], ids=["wrong", "unreadable"])
async def test_a_slip_hides_no_withdrawal(slip: dict[str, Any]) -> None:
    made = two()
    await serve(made)
    before = admissions(made)
    made.cluster.user_apply(client(**slip))
    await serve(made)
    made.cluster.user_apply(provider(bounds=[WIDE | {"namespaces": {"from": "Names", "names": ["team-b"]}}]))
    await serve(made)
    assert served(made) == {}
    give_back(made)
    made.cluster.user_apply(client())
    await serve(made)
    assert before.keys() == admissions(made).keys()
    assert not set(before.values()) & set(admissions(made).values())


async def test_a_secret_that_is_deleted_ends_no_login() -> None:
    made = two()
    await serve(made)
    before = admissions(made)
    made.cluster.user_delete(kinds.SECRET, "team-a", "grafana-oauthclient")
    await serve(made)
    assert before == admissions(made)


async def test_a_lost_file_is_written_again_and_one_lost_while_nobody_looked_ends_all() -> None:
    made = two()
    await serve(made)
    before = admissions(made)
    made.cluster.user_delete(kinds.CONFIG_MAP, "identity", "corp-clients")
    await serve(made)
    assert before == admissions(made)
    made.cluster.user_delete(kinds.CONFIG_MAP, "identity", "corp-clients")
    made.restart()
    await serve(made)
    assert before.keys() == admissions(made).keys()
    assert not set(before.values()) & set(admissions(made).values())


async def test_a_provider_that_is_deleted_and_applied_again_admits_whom_it_admitted() -> None:
    made = two()
    await serve(made)
    before = admissions(made)
    made.cluster.user_delete(kinds.IDENTITY_PROVIDER, "identity", "corp")
    await made.converge()
    assert not made.cluster.exists(kinds.CONFIG_MAP, "identity", "corp-policies")
    give_back(made)
    await serve(made)
    assert before == admissions(made)
    assert await made.idle_writes() == []


async def test_what_a_former_release_served_goes_on_until_it_is_withdrawn() -> None:
    made = two()
    await serve(made)
    made.cluster.user_edit(kinds.CONFIG_MAP, "identity", "corp-clients", unmarked)
    before = admissions(made)
    assert all("@" not in uid for uid in before.values())
    made.restart()
    await serve(made)
    assert before == admissions(made)
    withdraw(made)
    await serve(made)
    give_back(made)
    await serve(made)
    check_ended(before, admissions(made))


def unmarked(obj: dict[str, Any]) -> None:
    """As the file was before there were marks, and before it outlived its provider."""
    owner = {"apiVersion": meta.API_VERSION, "kind": "IdentityProvider", "name": "corp", "uid": "u", "controller": True}
    obj["metadata"]["ownerReferences"] = [owner]
    data = obj["binaryData"]
    clients = json.loads(gzip.decompress(base64.b64decode(data[model.CLIENTS_FILE])))
    for record in clients["clients"]:
        record["uid"] = uid_of(record["uid"])
    data[model.CLIENTS_FILE] = base64.b64encode(gzip.compress(json.dumps(clients).encode(), mtime=0)).decode()
