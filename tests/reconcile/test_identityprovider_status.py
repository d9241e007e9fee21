"""What an IdentityProvider says of itself: references, refused specs, replicas that lag, and how often."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from fakes.provider import (
    NS,
    conditions,
    files,
    message,
    policy,
    provider,
    secret,
    signing,
    signing_key,
    standard,
    status,
    world,
)
from fakes.world import World
from tailseal.cluster import kinds
from tailseal.cluster.port import Object
from tailseal.domain.evidence import Replica
from tailseal.reconcile.context import OperatorSettings

UPSTREAM = {"name": "prod", "tailscale": {"oauthClientSecretRef": {"name": "ts"}}}
TLS = {"tls": {"secretRef": {"name": "cert"}}}


async def settled(*objects: Object) -> World:
    seen = world(*objects)
    await seen.converge()
    await seen.run_for(10)
    return seen


# references


async def test_credentials_are_copied_without_the_newline_of_an_editor() -> None:
    seen = await settled(
        signing_key(), provider(upstreams=[UPSTREAM]), secret("ts", client_id="id\n", client_secret="s")
    )
    assert files(seen, "corp-credentials") == {"prod.client_id": b"id", "prod.client_secret": b"s"}
    assert conditions(seen)["ResolvedRefs"] == ("True", "Resolved")


@pytest.mark.parametrize(
    ("held", "reason", "text"),
    [
        ([], "RefNotFound", "there is no Secret ts in namespace identity that carries the label"),
        ([secret("ts", allowed=False, client_id="i", client_secret="s")], "RefNotFound", "carries the label"),
        ([secret("ts", client_id="i")], "RefInvalid", "Secret ts lacks client_secret"),
        ([secret("ts", client_id="i", client_secret="")], "RefInvalid", "Secret ts lacks client_secret"),
    ],
    ids=["missing", "not allowed", "half", "empty"],
)
async def test_a_reference_that_leads_nowhere_is_said(held: list[Object], reason: str, text: str) -> None:
    seen = await settled(signing_key(), provider(upstreams=[UPSTREAM]), *held)
    assert conditions(seen)["ResolvedRefs"] == ("False", reason)
    assert conditions(seen)["Ready"] == ("False", reason)
    # What may come by itself is waited for; what is there and wrong waits for a person.
    assert conditions(seen)["Stalled" if reason == "RefInvalid" else "Reconciling"] == ("True", reason)
    assert message(seen, "ResolvedRefs").startswith("spec.upstreams[0].tailscale.oauthClientSecretRef: ")
    assert text in message(seen, "ResolvedRefs")
    assert files(seen, "corp-credentials") == {}


async def test_our_own_secrets_cannot_be_referred_to() -> None:
    upstream = {"name": "prod", "tailscale": {"oauthClientSecretRef": {"name": "corp-signing"}}}
    seen = await settled(signing_key(), provider(upstreams=[upstream]))
    assert conditions(seen)["ResolvedRefs"] == ("False", "RefNotPermitted")


async def test_a_reference_that_is_lost_leaves_the_last_good_copy() -> None:
    seen = await settled(signing_key(), provider(upstreams=[UPSTREAM]), secret("ts", client_id="i", client_secret="s"))
    seen.cluster.user_delete(kinds.SECRET, NS, "ts")
    await seen.converge()
    assert conditions(seen)["ResolvedRefs"] == ("False", "RefNotFound")
    assert files(seen, "corp-credentials") == {"prod.client_id": b"i", "prod.client_secret": b"s"}
    seen.cluster.user_apply(secret("ts", client_id="i", client_secret="new"))
    await seen.run_for(10)
    assert files(seen, "corp-credentials")["prod.client_secret"] == b"new"
    assert conditions(seen)["Ready"] == ("True", "Ready")


async def test_an_upstream_that_is_taken_out_takes_its_credentials_along() -> None:
    seen = await settled(signing_key(), provider(upstreams=[UPSTREAM]), secret("ts", client_id="i", client_secret="s"))
    seen.cluster.user_apply(provider())
    await seen.converge()
    assert files(seen, "corp-credentials") == {}


async def test_the_certificate_is_copied_and_leaves_with_its_reference() -> None:
    pair = {"tls.crt": "CERT", "tls.key": "KEY"}
    seen = await settled(signing_key(), provider(serving=TLS), secret("cert", **pair))
    assert files(seen, "corp-tls") == {"tls.crt": b"CERT", "tls.key": b"KEY"}
    args = seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[-2:] == ["--tls", "/etc/tailseal/tls"]
    seen.cluster.user_apply(provider())
    await seen.converge()
    assert not seen.cluster.exists(kinds.SECRET, NS, "corp-tls")


async def test_a_certificate_that_has_the_name_of_its_copy_is_told_so() -> None:
    named = secret("corp-tls", **{"tls.crt": "CERT", "tls.key": "KEY"})
    seen = await settled(signing_key(), provider(serving={"tls": {"secretRef": {"name": "corp-tls"}}}), named)
    assert conditions(seen)["Programmed"] == ("False", "NameTaken")
    assert "Secret corp-tls is there but not ours" in message(seen, "Programmed")
    assert "the workers' copy of spec.serving.tls.secretRef" in message(seen, "Programmed")


async def test_without_its_certificate_a_worker_is_never_told_to_serve_plain() -> None:
    seen = await settled(signing_key(), provider(serving=TLS))
    assert conditions(seen)["ResolvedRefs"] == ("False", "RefNotFound")
    args = seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--tls" in args


async def test_a_missing_signing_key_is_named_and_the_others_go_on() -> None:
    seen = await settled(signing_key(), provider(signingKeys=[{"name": "corp"}, {"name": "gone"}]))
    assert conditions(seen)["ResolvedRefs"] == ("False", "RefNotFound")
    assert "spec.signingKeys[1]: there is no SigningKey gone" in message(seen, "ResolvedRefs")
    assert signing(seen)["active"]


async def test_without_any_key_nothing_is_served_so_that_the_first_key_is_in_the_first_set() -> None:
    seen = await settled(provider())
    assert not seen.cluster.exists(kinds.SECRET, NS, "corp-signing")
    assert conditions(seen)["Programmed"][0] == "False"
    seen.cluster.user_apply(signing_key())
    await seen.converge()
    assert conditions(seen)["Ready"] == ("True", "Ready")


# refused specs


LATER = {"mode": "Serve", "auth": {"authKeySecretRef": {"name": "k"}}, "loginServer": "https://headscale.example"}


@pytest.mark.usefixtures("login_servers_come_later")
async def test_what_is_not_supported_yet_is_refused_by_its_path_while_the_last_good_spec_serves_on() -> None:
    seen = await settled(signing_key(), provider(), policy())
    kid = signing(seen)["active"]["ES256"]
    seen.cluster.user_apply(provider(tailnet=LATER, tokens={"accessTokenTTL": "20m"}, sts={"replicas": 5}))
    await seen.converge()
    assert conditions(seen)["Accepted"] == ("False", "NotSupportedYet")
    assert conditions(seen)["Ready"] == ("False", "NotSupportedYet")
    assert conditions(seen)["Programmed"] == ("True", "Programmed")
    assert message(seen, "Accepted").startswith("spec.tailnet.loginServer: ")
    assert seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts")["spec"]["replicas"] == 2
    seen.restart()
    lease = signing(seen)["held"][0]["signUntil"]
    for _ in range(4 * 31):
        seen.clock.advance(6 * 3600)
        await seen.converge()
    assert signing(seen)["active"]["ES256"] != kid, "keys rotate on under the last good spec, across restarts"
    assert max(held["signUntil"] for held in signing(seen)["held"]) > lease


async def test_a_spec_that_was_never_accepted_makes_nothing() -> None:
    seen = await settled(signing_key(), provider(sts={"enabled": False}, idp={"enabled": False}))
    assert conditions(seen)["Accepted"] == ("False", "InvalidSpec")
    assert "Ready" in conditions(seen)
    assert not seen.cluster.all(kinds.DEPLOYMENT)
    assert await seen.idle_writes() == []


async def test_of_two_providers_with_one_issuer_the_elder_has_it() -> None:
    seen = await settled(signing_key(), provider(), provider("later"))
    assert conditions(seen)["Ready"] == ("True", "Ready")
    assert conditions(seen, "later")["Accepted"] == ("False", "IssuerTaken")
    assert not seen.cluster.exists(kinds.DEPLOYMENT, NS, "later-sts")


# replicas


def lagging(seen: World, **changes: Any) -> None:  # noqa: ANN401 - fields of a Report
    """The first STS replica reports something else from now on."""
    first, *others = seen.replicas.obedient(NS, "corp")
    assert first.report is not None
    old = dataclasses.replace(first, report=dataclasses.replace(first.report, **changes))
    seen.replicas.tell(NS, "corp", [old, *others])


async def test_a_silent_replica_makes_it_unknown_after_half_a_minute() -> None:
    seen = await settled(signing_key(), provider())
    lagging(seen)
    since = seen.clock.now()
    await seen.run_until(since + 29)
    assert conditions(seen)["Programmed"] == ("True", "Programmed")
    await seen.run_until(since + 61)
    assert conditions(seen)["Programmed"] == ("Unknown", "ReplicaUnreachable")
    assert conditions(seen)["Ready"] == ("Unknown", "ReplicaUnreachable")
    assert "corp-idp-0" in message(seen, "Programmed")
    seen.replicas.tell(NS, "corp", None)
    await seen.converge()
    assert conditions(seen)["Ready"] == ("True", "Ready")


async def test_a_replica_that_stays_behind_shows_after_ten_seconds() -> None:
    seen = await settled(signing_key(), provider())
    lagging(seen, digests={"signing": "sha256:old"}, problems=("SigningUnreadable",))
    await seen.run_for(9)
    assert conditions(seen)["Programmed"] == ("True", "Programmed")
    await seen.run_for(6)
    assert conditions(seen)["Programmed"] == ("False", "BundleInvalid")
    assert "corp-idp-0 cannot load: SigningUnreadable" in message(seen, "Programmed")


async def test_a_component_without_a_ready_pod_is_not_programmed() -> None:
    seen = await settled(signing_key(), provider())
    pods = [pod for pod in seen.replicas.obedient(NS, "corp") if pod.component == "sts"]
    seen.replicas.tell(NS, "corp", pods)
    await seen.converge()
    assert conditions(seen)["Programmed"] == ("False", "NoReplicas")
    assert "idp" in message(seen, "Programmed")
    assert conditions(seen)["Reconciling"] == ("True", "NoReplicas")


@pytest.mark.parametrize("change", [{"ever_ready": False}, {"terminating": True}], ids=["never ready", "leaving"])
async def test_pods_that_nobody_is_led_to_do_not_count(change: dict[str, Any]) -> None:
    seen = await settled(signing_key(), provider())
    stranger = Replica("uid-x", "x", "sts", ever_ready=True, ready=False, terminating=False)
    seen.replicas.tell(NS, "corp", [*seen.replicas.obedient(NS, "corp"), dataclasses.replace(stranger, **change)])
    await seen.run_for(20)
    assert conditions(seen)["Programmed"] == ("True", "Programmed")
    assert status(seen)["replicas"] == 3


async def test_slow_propagation_is_said_and_does_not_make_it_unready() -> None:
    seen = world(signing_key(), provider(), settings=OperatorSettings(fast_propagation=False))
    await seen.converge()
    assert conditions(seen)["FastPropagation"] == ("False", "KubeletSpeed")
    assert conditions(seen)["Ready"] == ("True", "Ready")


# how often


async def test_thirty_changed_policies_are_a_handful_of_status_writes() -> None:
    seen = standard()
    await seen.converge()
    await seen.run_for(10)
    before = len(seen.cluster.writes)
    for number in range(30):
        seen.cluster.user_apply(policy(f"p{number}"))
        seen.clock.advance(0.1)
        await seen.converge()
    await seen.run_for(10)
    written = [write for write in seen.cluster.writes[before:] if write.verb == "apply_status"]
    assert 1 <= len(written) <= 4
    assert status(seen)["attachedPolicies"] == 31


async def test_conditions_keep_their_time_while_nothing_flips() -> None:
    seen = await settled(signing_key(), provider())
    before = {entry["type"]: entry["lastTransitionTime"] for entry in status(seen)["conditions"]}
    seen.cluster.user_apply(provider(tokens={"accessTokenTTL": "5m"}))
    await seen.run_for(20)
    assert status(seen)["observedGeneration"] == 2
    after = {entry["type"]: entry["lastTransitionTime"] for entry in status(seen)["conditions"]}
    assert after["Accepted"] == before["Accepted"]


async def test_people_hear_of_transitions_only() -> None:
    seen = await settled(signing_key(), provider())
    await seen.run_for(600)
    about = [reason for what, _, reason, _ in seen.recorder.events if what == "IdentityProvider/identity/corp"]
    assert about.count("Ready") == 1


async def test_no_secret_is_in_any_status_or_event() -> None:
    seen = await settled(
        signing_key(), provider(upstreams=[UPSTREAM]), secret("ts", client_id="CANARY", client_secret="CANARY")
    )
    said = f"{seen.cluster.all(kinds.IDENTITY_PROVIDER)} {seen.recorder.events} {seen.cluster.all(kinds.CONFIG_MAP)}"
    assert "CANARY" not in said
    assert "PRIVATE" not in said
