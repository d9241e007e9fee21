"""The Secret of an OAuthClient's application: its rotation, its repair, and a secret of the owner's own."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from fakes.applications import (
    ID,
    client,
    conditions,
    hashes,
    message,
    provider,
    rotate,
    secret,
    serve,
    served,
    status,
    world,
)
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.errors import Forbidden
from tailseal.domain.clients.secrets import OVERLAP
from tailseal.domain.clients.secrets import digest as hashed

BROUGHT = "0123456789abcdef" * 2


def brought(secret: str = BROUGHT, *, allowed: bool = True) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "mine",
            "namespace": "team-a",
            "labels": {meta.ALLOW_LABEL: "true" if allowed else "false"},
        },
        "data": {"client_secret": base64.b64encode(secret.encode()).decode()},
    }


async def test_a_rotation_tells_workers_before_the_application_and_keeps_the_former_for_a_day() -> None:
    made = world()
    await serve(made)
    first = secret(made)["client_secret"]
    made.clock.advance(60)
    rotate(made)
    stale = made.replicas.of("identity", "corp")
    await made.run_for(120)
    assert secret(made)["client_secret"] == first, "a replica that does not know the next secret yet"
    assert len(hashes(made)) == 2
    assert made.replicas.of("identity", "corp") == stale
    await serve(made)
    second = secret(made)["client_secret"]
    assert second != first
    assert hashes(made) == [hashed(ID, second), hashed(ID, first)]
    until = served(made)["team-a/grafana"]["secrets"][1]["expiresAt"]
    assert until == made.clock.now() + OVERLAP
    assert await made.idle_writes() == []
    await made.run_for(OVERLAP + 1)
    assert hashes(made) == [hashed(ID, second)]
    assert secret(made)["client_secret"] == second


async def test_a_rotation_with_no_replica_does_not_wait() -> None:
    made = world()
    await made.converge()
    first = secret(made)["client_secret"]
    made.clock.advance(60)
    rotate(made)
    await made.run_for(5)
    assert secret(made)["client_secret"] != first


async def test_a_deleted_secret_is_made_anew_and_the_former_is_dead_at_once() -> None:
    made = world()
    await serve(made)
    first = secret(made)["client_secret"]
    made.cluster.user_delete(kinds.SECRET, "team-a", "grafana-oauthclient")
    await serve(made)
    assert hashes(made) == [hashed(ID, secret(made)["client_secret"])]
    assert secret(made)["client_secret"] != first


@pytest.mark.parametrize(
    "spoil",
    [
        lambda obj: obj["data"].update(issuer="eA=="),
        lambda obj: obj["data"].pop("client_id"),
        lambda obj: obj["data"].update(more="eA=="),
        lambda obj: obj["metadata"].update(labels={meta.MANAGED_BY: "tailseal"}),
        lambda obj: obj["metadata"].pop("ownerReferences"),
        lambda obj: obj["metadata"].pop("annotations"),
        lambda obj: obj["metadata"].update(annotations={meta.CLIENT_LEDGER_ANNOTATION: "{"}),
    ],
)
async def test_whatever_is_changed_at_the_secret_is_repaired_and_the_client_secret_stays(spoil: Any) -> None:  # noqa: ANN401
    made = world()
    await serve(made)
    before = made.cluster.peek(kinds.SECRET, "team-a", "grafana-oauthclient")
    made.cluster.user_edit(kinds.SECRET, "team-a", "grafana-oauthclient", spoil)
    await serve(made)
    after = made.cluster.peek(kinds.SECRET, "team-a", "grafana-oauthclient")
    assert after["data"] == before["data"]
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert after["metadata"]["ownerReferences"] == before["metadata"]["ownerReferences"]
    assert hashes(made) == [hashed(ID, secret(made)["client_secret"])]
    assert await made.idle_writes() == []


async def test_a_client_secret_that_somebody_overwrote_is_replaced_and_the_real_one_goes_on() -> None:
    made = world()
    await serve(made)
    first = secret(made)["client_secret"]
    made.cluster.user_edit(
        kinds.SECRET, "team-a", "grafana-oauthclient", lambda obj: obj["data"].update(client_secret="aHVudGVyMg==")
    )
    await serve(made)
    assert secret(made)["client_secret"] not in {first, "hunter2"}
    assert hashes(made) == [hashed(ID, secret(made)["client_secret"]), hashed(ID, first)]


async def test_a_secret_of_another_name_follows_with_the_same_content() -> None:
    made = world()
    await serve(made)
    before = secret(made)
    made.cluster.user_apply(client(secretName="oidc"))
    await serve(made)
    assert secret(made, "oidc") == before
    assert not made.cluster.exists(kinds.SECRET, "team-a", "grafana-oauthclient")
    assert status(made)["secretName"] == "oidc"


async def test_a_name_that_somebody_else_holds_is_never_taken() -> None:
    theirs = brought() | {"metadata": {"name": "grafana-oauthclient", "namespace": "team-a"}}
    made = world(provider(), client(), theirs)
    await serve(made)
    assert conditions(made)["Programmed"] == ("False", "NameTaken")
    assert secret(made).keys() == {"client_secret"}
    assert served(made) == {}
    made.cluster.user_delete(kinds.SECRET, "team-a", "grafana-oauthclient")
    await serve(made)
    assert conditions(made)["Programmed"] == ("True", "Programmed")


async def test_where_the_operator_has_no_rights_the_client_says_so() -> None:
    made = world()
    made.cluster.refuse = lambda verb, ref: (
        Forbidden("secrets is forbidden") if ref.kind == kinds.SECRET and ref.namespace == "team-a" else None
    )
    await serve(made)
    assert conditions(made)["Programmed"] == ("False", "Forbidden")
    assert "grafana-oauthclient" in message(made, "Programmed")
    made.cluster.refuse = lambda _verb, _ref: None
    await serve(made)
    assert conditions(made)["Programmed"] == ("True", "Programmed")


async def test_a_secret_of_one_s_own_is_taken_and_another_follows_with_an_overlap() -> None:
    made = world(provider(), client(secretRef={"name": "mine"}, clientID="grafana"), brought(f"{BROUGHT}\n"))
    await serve(made)
    assert (secret(made)["client_id"], secret(made)["client_secret"]) == ("grafana", BROUGHT)
    made.clock.advance(60)
    made.cluster.user_apply(brought(BROUGHT[::-1]))
    await serve(made)
    assert secret(made)["client_secret"] == BROUGHT[::-1]
    assert hashes(made) == [hashed("grafana", BROUGHT[::-1]), hashed("grafana", BROUGHT)]


@pytest.mark.parametrize(
    ("given", "reason", "text"),
    [
        (None, "RefNotFound", "there is no Secret mine in namespace team-a"),
        (brought("short"), "RefInvalid", "must have 32 to 128"),
        (brought("a" * 40), "RefInvalid", "repeats"),
    ],
)
async def test_a_secret_that_cannot_be_used_is_named_and_not_quoted(given: Any, reason: str, text: str) -> None:  # noqa: ANN401
    made = world(provider(), client(secretRef={"name": "mine"}), *([given] if given else []))
    await serve(made)
    assert conditions(made)["ResolvedRefs"] == ("False", reason)
    assert text in message(made, "ResolvedRefs")
    assert "a" * 40 not in message(made, "ResolvedRefs")
    assert served(made) == {}
    assert not made.cluster.exists(kinds.SECRET, "team-a", "grafana-oauthclient")


async def test_a_secret_that_is_no_longer_allowed_leaves_the_last_good_one() -> None:
    made = world(provider(), client(secretRef={"name": "mine"}), brought())
    await serve(made)
    made.cluster.user_apply(brought(allowed=False))
    await serve(made)
    assert conditions(made)["ResolvedRefs"] == ("False", "RefNotFound")
    assert hashes(made) == [hashed(ID, BROUGHT)]
