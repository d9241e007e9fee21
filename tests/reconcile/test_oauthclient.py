"""An OAuthClient's Secret and status: nine keys, secrets that overlap, every reason, and truth after every crash."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from fakes import trust
from fakes.applications import (
    ID,
    TEAM,
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
from fakes.world import World, crash_everywhere, fail_everywhere, in_any_order
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.errors import Forbidden
from tailseal.domain.clients.credentials import FILES
from tailseal.domain.clients.secrets import digest as hashed


async def test_an_application_gets_its_nine_keys_and_workers_a_hash() -> None:
    made = world()
    await serve(made)
    told = secret(made)
    assert told.keys() == FILES
    assert told["client_id"] == ID
    assert told["issuer"] == trust.OURS
    assert told["redirect_uris"] == "https://grafana.corp.example/login"
    assert hashes(made) == [hashed(ID, told["client_secret"])]
    kept = json.dumps(made.cluster.all(kinds.CONFIG_MAP)) + json.dumps(served(made))
    assert told["client_secret"] not in kept
    assert told["client_secret"] not in json.dumps(made.cluster.peek(kinds.OAUTH_CLIENT, "team-a", "grafana"))
    assert told["client_secret"] not in str(made.recorder.events)
    owner = made.cluster.peek(kinds.SECRET, "team-a", "grafana-oauthclient")["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["controller"]) == ("OAuthClient", True)


TAILNET = {"mode": "Serve", "auth": {"authKeySecretRef": {"name": "tailnet"}}}


async def test_a_client_that_every_replica_knows_is_ready() -> None:
    made = world(provider(tailnet=TAILNET), client())
    await serve(made)
    assert conditions(made)["Ready"] == ("True", "Ready")


async def test_a_client_of_machines_needs_no_tailnet() -> None:
    bounds = TEAM | {"grantTypes": ["client_credentials"]}
    made = world(provider(bounds=[bounds]), client(grantTypes=["client_credentials"], redirectURIs=[]))
    await serve(made)
    assert conditions(made)["Ready"] == ("True", "Ready")


async def test_all_is_programmed_but_nothing_ready_while_nobody_can_log_in() -> None:
    made = world()
    await made.converge()
    assert conditions(made)["Programmed"] == ("False", "NoReplicas")
    await serve(made)
    assert conditions(made) == {
        "Accepted": ("True", "Accepted"),
        "ResolvedRefs": ("True", "Resolved"),
        "Programmed": ("True", "Programmed"),
        "Ready": ("False", "NoTailnet"),
        "Stalled": ("True", "NoTailnet"),
    }
    assert message(made, "Ready").startswith("nobody can log in: the IdentityProvider needs spec.tailnet")
    assert (status(made)["clientID"], status(made)["secretName"]) == (ID, "grafana-oauthclient")


async def test_a_world_at_rest_writes_nothing_also_after_a_restart() -> None:
    made = world()
    await serve(made)
    assert await made.idle_writes() == []
    made.restart()
    assert await made.idle_writes() == []


async def test_public_clients_and_those_with_keys_have_no_client_secret() -> None:
    keyed = client("team-a/keyed", authMethod="private_key_jwt", jwks={"keys": [{"kty": "EC"}]})
    made = world(provider(), client(type="Public"), keyed)
    await serve(made)
    assert not made.cluster.exists(kinds.SECRET, "team-a", "grafana-oauthclient")
    assert "secretName" not in status(made)
    assert secret(made, "keyed-oauthclient").keys() == FILES - {"client_secret"}
    assert [record.get("secrets", []) for record in served(made).values()] == [[], []]


async def test_a_client_that_becomes_public_loses_its_secret() -> None:
    made = world()
    await serve(made)
    made.cluster.user_apply(client(type="Public"))
    await serve(made)
    assert not made.cluster.exists(kinds.SECRET, "team-a", "grafana-oauthclient")
    assert conditions(made)["Programmed"] == ("True", "Programmed")


@pytest.mark.parametrize(
    ("objects", "kind", "reason", "text"),
    [
        ([client()], "ResolvedRefs", "RefNotFound", "there is no IdentityProvider identity/corp"),
        ([provider(issuer="http://x"), client()], "ResolvedRefs", "RefNotReady", "identity/corp is not accepted"),
        ([provider(bounds=[]), client()], "Accepted", "ExceedsBounds", "spec.identityProviderRef: "),
        (
            [provider(), client(redirectURIs=["https://evil.example/"])],
            "Accepted",
            "ExceedsBounds",
            "spec.redirectURIs[0]: host evil.example",
        ),
        ([provider(), client(claims=["sub"])], "Accepted", "InvalidSpec", "spec.claims[0]: "),
        ([provider(), client(clientID="other")], "Accepted", "ExceedsBounds", "spec.clientID: "),
    ],
)
async def test_what_is_refused_is_named_and_not_served(
    objects: list[dict[str, Any]], kind: str, reason: str, text: str
) -> None:
    made = world(*objects)
    await made.converge()
    assert conditions(made)[kind][1] == reason
    assert text in message(made, kind)
    assert conditions(made)["Programmed"][0] == "False"
    assert not made.cluster.exists(kinds.SECRET, "team-a", "grafana-oauthclient")
    if made.cluster.exists(kinds.CONFIG_MAP, "identity", "corp-policies"):
        assert served(made) == {}
    assert await made.idle_writes() == []


async def test_of_two_with_one_client_id_the_first_counts_and_the_other_follows_when_it_is_gone() -> None:
    made = world(provider(), client("team-b/first", clientID="grafana"))
    await serve(made)
    made.cluster.now += 10
    made.clock.advance(10)
    made.cluster.user_apply(client(clientID="grafana"))
    await serve(made)
    assert conditions(made)["Accepted"] == ("False", "ClientIDTaken")
    assert "team-b/first" in message(made, "Accepted")
    assert served(made).keys() == {"team-b/first"}
    made.cluster.user_delete(kinds.OAUTH_CLIENT, "team-b", "first")
    await serve(made)
    assert conditions(made)["Accepted"] == ("True", "Accepted")
    assert served(made).keys() == {"team-a/grafana"}


async def test_a_rotate_annotation_that_is_no_time_is_refused() -> None:
    made = world()
    await serve(made)
    made.cluster.user_edit(
        kinds.OAUTH_CLIENT,
        "team-a",
        "grafana",
        lambda obj: obj["metadata"].update(annotations={meta.ROTATE_ANNOTATION: "now"}),
    )
    await serve(made)
    assert conditions(made)["Accepted"] == ("False", "InvalidSpec")
    assert "RFC 3339" in message(made, "Accepted")


async def test_a_deleted_client_is_out_of_the_bundle_with_the_next_manifest() -> None:
    made = world(provider(), client(), client("team-a/other"))
    await serve(made)
    made.cluster.user_delete(kinds.OAUTH_CLIENT, "team-a", "grafana")
    before = len(made.cluster.writes)
    await made.converge()
    assert served(made).keys() == {"team-a/other"}
    assert not made.cluster.exists(kinds.SECRET, "team-a", "grafana-oauthclient")
    mine = [write.ref.name for write in made.cluster.writes[before:] if write.ref.kind == kinds.CONFIG_MAP]
    assert mine == ["corp-clients", "corp-policies"]
    made.cluster.user_delete(kinds.OAUTH_CLIENT, "team-a", "other")
    await made.converge()
    assert served(made) == {}
    assert not made.cluster.exists(kinds.CONFIG_MAP, "identity", "corp-clients")


async def test_narrowed_bounds_take_a_client_out_at_once() -> None:
    made = world()
    await serve(made)
    made.cluster.user_apply(provider(bounds=[TEAM | {"redirectHosts": ["other.example"]}]))
    await made.converge()
    assert served(made) == {}
    assert conditions(made)["Accepted"] == ("False", "ExceedsBounds")


async def test_a_deleted_client_is_withdrawn_even_while_the_provider_s_spec_cannot_be_read() -> None:
    made = world(provider(), client(), client("team-a/other"))
    await serve(made)
    made.cluster.user_apply(provider(issuer="http://x"))
    made.cluster.user_delete(kinds.OAUTH_CLIENT, "team-a", "grafana")
    await made.converge()
    assert served(made).keys() == {"team-a/other"}


async def test_clients_that_cannot_be_written_hold_up_no_policy_and_are_not_served_if_one_was_taken_away() -> None:
    made = world(provider(), client(), client("team-a/other"))
    await serve(made)
    made.cluster.refuse = lambda verb, ref: Forbidden("no") if verb == "apply" and ref.name == "corp-clients" else None
    made.cluster.user_apply(client("team-a/third"))
    await made.converge()
    assert served(made).keys() == {"team-a/grafana", "team-a/other"}, "what only gains waits"
    made.cluster.user_delete(kinds.OAUTH_CLIENT, "team-a", "grafana")
    await made.converge()
    assert served(made) == {}, "better nobody than one too many"
    made.cluster.refuse = lambda _verb, _ref: None
    await serve(made)
    assert served(made).keys() == {"team-a/other", "team-a/third"}


def whole(made: World) -> None:
    told = secret(made)
    assert told.keys() == FILES
    assert hashed(ID, told["client_secret"]) in hashes(made)
    assert conditions(made)["Accepted"] == ("True", "Accepted")


async def test_any_order_converges_to_the_same() -> None:
    def build(order: int) -> World:
        return world(provider(), client(), client("team-b/x", clientID="grafana"), order=order)

    await in_any_order(build, whole)


async def test_killed_after_any_write_it_converges() -> None:
    def first(made: World) -> None:
        made.cluster.user_apply(client())

    assert await crash_everywhere(lambda: world(provider()), whole, first) >= 4


async def test_killed_anywhere_in_a_rotation_it_converges() -> None:
    def act(made: World) -> None:
        made.clock.advance(60)
        rotate(made)

    assert await crash_everywhere(world, whole, act) >= 4


async def test_any_refused_write_is_made_up_for() -> None:
    def first(made: World) -> None:
        made.cluster.user_apply(client())

    assert await fail_everywhere(lambda: world(provider()), whole, first) >= 4


def signing(*algorithms: str) -> dict[str, Any]:
    """What the provider's workers sign with."""
    labels = {meta.MANAGED_BY: meta.MANAGER, meta.PROVIDER_LABEL: "corp"}
    content = json.dumps({"active": dict.fromkeys(algorithms, "k"), "jwks": {"keys": []}})
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "corp-signing", "namespace": "identity", "labels": labels},
        "data": {"signing.json": base64.b64encode(content.encode()).decode()},
    }


def signing_key(algorithm: str | None) -> dict[str, Any]:
    spec = {"algorithm": algorithm} if algorithm else {}
    metadata = {"name": "corp", "namespace": "identity"}
    return {"apiVersion": meta.API_VERSION, "kind": "SigningKey", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize(
    ("there", "reason", "text"),
    [
        ([signing("ES384", "ES256")], "Resolved", "everything"),
        ([signing("ES256")], "RefNotFound", "has no key of ES384, and signs with ES256: choose that, or have"),
        ([], "RefNotFound", "signs with nothing yet"),
        ([signing(), signing_key("ES384")], "RefNotReady", "no key of ES384 that signs yet"),
        ([signing(), signing_key(None)], "RefNotFound", "has no key of ES384"),
    ],
)
async def test_an_algorithm_that_no_key_of_the_provider_has_is_said_and_nothing_is_lost(
    there: list[dict[str, Any]], reason: str, text: str
) -> None:
    made = world(provider(), client(idTokenAlgorithm="ES384"), *there)
    await serve(made)
    assert conditions(made)["ResolvedRefs"][1] == reason
    assert text in message(made, "ResolvedRefs")
    assert conditions(made)["Accepted"] == ("True", "Accepted")
    assert conditions(made)["Programmed"] == ("True", "Programmed"), "it stays served"
    assert secret(made)["client_secret"]
    assert await made.idle_writes() == []


async def test_a_client_without_a_wish_goes_by_what_there_is() -> None:
    made = world(provider(), client(), signing())
    await serve(made)
    assert conditions(made)["ResolvedRefs"] == ("True", "Resolved")


async def test_spoilt_signing_files_are_no_offer() -> None:
    made = world(provider(), client(idTokenAlgorithm="ES256"))
    await serve(made)
    broken = signing()
    broken["data"]["signing.json"] = base64.b64encode(b"[]").decode()
    made.cluster.user_apply(broken)
    await made.reconcile("OAuthClient", "team-a", "grafana")
    assert conditions(made)["ResolvedRefs"] == ("False", "RefNotFound")
