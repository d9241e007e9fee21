"""A TrustPolicy's status: every reason, no write too many, and the truth again after every crash."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from fakes import jobs, trust
from fakes.trustpolicies import ALL, READY, conditions, message, policy, provider, replicas, serve, world
from fakes.world import World, crash_everywhere, fail_everywhere, in_any_order
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.domain.bundle import build, model
from tailseal.domain.evidence import Replica
from tailseal.reconcile.context import Done


async def test_a_policy_is_ready_once_every_replica_serves_it_and_two_writes_say_so() -> None:
    made = world()
    await made.converge()
    assert conditions(made)["Accepted"] == ("True", "Accepted")
    assert conditions(made)["Programmed"] == ("False", "NoReplicas")
    one, two = replicas(made, "sts-0", "sts-1")
    made.replicas.tell("identity", "corp", [one, replace(two, report=None)])
    await made.converge()
    assert conditions(made)["Programmed"] == ("False", "WaitingForReplicas")
    assert "Reconciling" in conditions(made)
    before = len(made.cluster.writes)
    await serve(made)
    assert conditions(made) == READY
    assert len(made.cluster.writes) == before + 1


async def test_a_policy_for_running_replicas_costs_two_status_writes_and_none_on_others() -> None:
    made = world(provider(), policy("team-a/other", **{"from": {"github": {"ownerID": "65"}}}))
    await serve(made)
    made.cluster.user_apply(policy())
    before = len(made.cluster.writes)
    old = replicas(made, "sts-0")
    await made.converge()
    made.replicas.tell("identity", "corp", [*old, *replicas(made, "sts-1")])
    await made.converge()
    made.replicas.tell("identity", "corp", replicas(made, "sts-0", "sts-1"))
    await made.converge()
    assert conditions(made) == READY
    status = [write.ref.name for write in made.cluster.writes[before:] if write.verb == "apply_status"]
    assert status == ["deploy", "deploy"]


async def test_a_world_at_rest_writes_nothing() -> None:
    made = world()
    await serve(made)
    assert await made.idle_writes() == []
    made.restart()
    assert [write for write in await made.idle_writes() if write.verb == "apply_status"] == []


async def test_once_programmed_a_generation_stays_so_whatever_replicas_do_later() -> None:
    made = world()
    await serve(made)
    made.replicas.tell("identity", "corp", [replace(pod, report=None) for pod in replicas(made, "sts-2")])
    await made.run_for(120)
    assert conditions(made) == READY


async def test_a_new_generation_is_programmed_anew() -> None:
    made = world()
    await serve(made)
    stale = replicas(made, "sts-0")
    made.cluster.user_apply(policy(enforcement="Audit"))
    made.replicas.tell("identity", "corp", stale)
    await made.converge()
    assert conditions(made)["Programmed"] == ("False", "WaitingForReplicas")
    await serve(made)
    assert conditions(made) == READY


async def test_pods_that_were_never_ready_do_not_count_and_terminating_ones_do() -> None:
    made = world()
    await made.converge()
    (good,) = replicas(made, "sts-0")
    made.replicas.tell("identity", "corp", [good, replace(good, name="new", ever_ready=False, report=None)])
    await made.converge()
    assert conditions(made) == READY
    other = world()
    await other.converge()
    made.replicas.tell("identity", "corp", [])
    (good,) = replicas(other, "sts-0")
    other.replicas.tell("identity", "corp", [good, replace(good, name="old", terminating=True, report=None)])
    await other.converge()
    assert conditions(other)["Programmed"] == ("False", "WaitingForReplicas")


async def test_a_replica_that_is_not_heard_makes_programmed_unknown_till_it_is() -> None:
    made = world()
    await made.converge()
    (pod,) = replicas(made, "sts-0")
    await serve(made, [replace(pod, report=None)])
    await made.run_for(120)
    assert conditions(made)["Programmed"] == ("Unknown", "ReplicaUnreachable")
    assert "sts-0" in message(made, "Programmed")
    assert await made.idle_writes() == []
    await serve(made)
    assert conditions(made) == READY


@pytest.mark.parametrize(
    ("objects", "kind", "reason", "text"),
    [
        ([policy()], "ResolvedRefs", "RefNotFound", "there is no IdentityProvider identity/corp"),
        ([provider(issuer="http://x"), policy()], "ResolvedRefs", "RefNotReady", "identity/corp is not accepted"),
        ([provider(bounds=[]), policy()], "Accepted", "ExceedsBounds", "spec.identityProviderRef: "),
        (
            [provider(bounds=[ALL | {"issuers": ["https://other.example"]}]), policy()],
            "Accepted",
            "ExceedsBounds",
            "spec.from.oidc.issuer: ",
        ),
        (
            [provider(), policy(**{"from": {"oidc": {"issuer": trust.ISSUER, "subject": {"regex": "("}}}})],
            "Accepted",
            "InvalidSpec",
            "spec.from.oidc.subject.regex: ",
        ),
        (
            [provider(), policy(**{"from": {"oidc": {"issuer": trust.GITHUB}}})],
            "Accepted",
            "TenantNotPinned",
            "repository_owner_id",
        ),
        ([provider(), policy(**{"from": {"github": {"owner": "acme"}}})], "Accepted", "TenantNotPinned", "ownerID"),
        (
            [provider(), policy(**{"from": {"gitlab": {"projectID": "1", "refs": ["***"]}}})],
            "Accepted",
            "InvalidSpec",
            "spec.from.gitlab.refs[0]: ",
        ),
        (
            [provider(), policy(grants=[{"name": "x", "jwt": {"audiences": [trust.OURS]}}])],
            "Accepted",
            "ReservedAudience",
            "spec.grants[0].jwt.audiences[0]: ",
        ),
        (
            [
                provider(bounds=[ALL | {"upstreams": ["*"], "tailscaleScopes": ["*"], "tailscaleTags": ["*"]}]),
                policy(grants=[trust.TAILSCALE_GRANT]),
            ],
            "ResolvedRefs",
            "RefNotFound",
            "spec.grants[0].tailscale.upstream: ",
        ),
        ([provider(bounds=[ALL | {"maxPolicies": 0}]), policy()], "Accepted", "CapacityExceeded", "maxPolicies"),
    ],
)
async def test_what_is_wrong_is_said_with_reason_and_field(
    objects: list[dict[str, Any]], kind: str, reason: str, text: str
) -> None:
    made = world(*objects)
    await made.converge()
    assert conditions(made)[kind] == ("False", reason)
    assert text in message(made, kind)
    assert conditions(made)["Ready"] == (conditions(made)["Ready"][0], reason)
    assert conditions(made)["Programmed"] == ("False", reason)
    assert await made.idle_writes() == []


async def test_a_policy_that_comes_before_its_provider_becomes_ready_with_it() -> None:
    made = world(policy())
    await made.converge()
    made.cluster.user_apply(provider())
    await serve(made)
    assert conditions(made) == READY


async def test_a_policy_whose_bounds_are_withdrawn_is_no_longer_ready_and_no_longer_in_the_bundle() -> None:
    made = world()
    await serve(made)
    made.cluster.user_apply(provider(bounds=[ALL | {"audiences": ["https://other.example"]}]))
    await serve(made)
    assert conditions(made)["Accepted"] == ("False", "ExceedsBounds")
    assert conditions(made)["Programmed"] == ("False", "ExceedsBounds")
    assert conditions(made)["Stalled"] == ("True", "ExceedsBounds")
    names = [obj["metadata"]["name"] for obj in made.cluster.all(kinds.CONFIG_MAP)]
    assert not any(name.startswith("corp-policies-") for name in names)
    made.cluster.user_apply(provider())
    await serve(made)
    assert conditions(made) == READY


async def test_what_others_do_is_not_in_a_policys_status() -> None:
    alone, among = world(), world(provider(), policy(), *(policy(f"team-b/p{number}") for number in range(5)))
    for made in (alone, among):
        await serve(made)
    texts = [made.cluster.peek(kinds.TRUST_POLICY, "team-a", "deploy")["status"] for made in (alone, among)]
    assert texts[0] == texts[1]


async def test_a_policy_that_is_gone_is_left_alone() -> None:
    made = world(provider())
    assert await made.reconcile("TrustPolicy", "team-a", "deploy") == Done()
    assert made.cluster.writes == []


def _check(made: World) -> None:
    assert conditions(made) == READY


def _served(order: int | None = None) -> World:
    """Replicas that report whatever is written at the time they are asked."""
    made = world(order=order)

    class Following:
        def of(self, namespace: str, name: str) -> list[Replica]:
            there = made.cluster.exists(kinds.CONFIG_MAP, namespace, meta.policies_config_map(name))
            return replicas(made, "sts-0") if there else []

        def want(self, *_: object) -> None: ...

    made.replicas = Following()  # type: ignore[assignment]
    made.restart()
    return made


async def test_killed_or_refused_at_any_write_it_ends_in_the_same_place() -> None:
    def act(made: World) -> None:
        made.cluster.user_apply(policy(enforcement="Audit"))

    assert await crash_everywhere(_served, _check, act) > 2
    assert await fail_everywhere(_served, _check, act) > 2


async def test_the_order_of_events_makes_no_difference() -> None:
    def build(order: int) -> World:
        made = _served(order)
        made.cluster.user_apply(policy("team-b/deploy"))
        return made

    def check(made: World) -> None:
        assert conditions(made) == conditions(made, "team-b/deploy") == READY

    snapshots = await in_any_order(build, check)
    assert all(snapshot == snapshots[0] for snapshot in snapshots)


async def test_a_policy_in_status_holds_no_counts_and_no_digests() -> None:
    made = world()
    await serve(made)
    status = made.cluster.peek(kinds.TRUST_POLICY, "team-a", "deploy")["status"]
    assert set(status) == {"observedGeneration", "conditions"}
    assert "sha256" not in str(status)
    assert model.MANIFEST_FILE not in str(status)


async def test_events_tell_of_transitions_only() -> None:
    made = world()
    await serve(made)
    told = [event for event in made.recorder.events if event[0] == "TrustPolicy/team-a/deploy"]
    for _ in range(3):
        await made.idle_writes()
    assert [event for event in made.recorder.events if event[0] == "TrustPolicy/team-a/deploy"] == told
    assert told[-1][2] == "Ready"


@pytest.mark.parametrize(
    ("member", "block"),
    [
        ("github", {"ownerID": "65", "repository": "app", "branches": ["main"]}),
        ("gitlab", {"projectID": "20", "refs": ["main"]}),
        ("buildkite", {"organizationID": "0184990a-477b-4fa8-9968-496074483aaa"}),
        ("circleci", {"organizationID": jobs.CIRCLE_ORG, "audiences": [trust.OURS]}),
        ("terraform", {"organizationID": "org-GRNbCjYNpBB6NEBH"}),
        ("kubernetes", {"issuer": jobs.CLUSTER, "namespaces": ["shop"]}),
    ],
)
async def test_a_typed_block_is_accepted_rendered_as_it_stands_and_ready(member: str, block: dict[str, Any]) -> None:
    made = world(provider(), policy(**{"from": {member: block}}))
    await serve(made)
    assert conditions(made) == READY
    shard = f"{build.shard_of('team-a', 'deploy'):02d}"
    rendered = made.cluster.peek(kinds.CONFIG_MAP, "identity", f"{meta.policies_config_map('corp')}-{shard}")
    content = gzip.decompress(base64.b64decode(rendered["binaryData"][f"{shard}.json.gz"]))
    assert [record["spec"]["from"] for record in json.loads(content)["policies"]] == [{member: block}]
    assert await made.idle_writes() == []
