"""Propagation: pods that lag are stamped at once and again, those that follow are left alone."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
from typing import Any

import pytest

from fakes.provider import NS, conditions, policy, provider, signing, signing_key, standard, world
from fakes.world import World
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError, Forbidden, Invalid, NotFound, Transient
from tailseal.domain.bundle import digest
from tailseal.domain.evidence import Replica
from tailseal.domain.rotation import IssuerLedger
from tailseal.reconcile import measured, propagation
from tailseal.reconcile.context import OperatorSettings


def pods(seen: World, **status: Any) -> None:  # noqa: ANN401 - fields of a pod's status
    """A running Pod for every replica."""
    for replica in seen.replicas.obedient(NS, "corp"):
        seen.cluster.user_apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": replica.name, "namespace": NS, "labels": dict(replica.labels)},
                "status": {"podIP": "127.0.0.9", **status},
            }
        )


def as_seen(seen: World) -> list[Replica]:
    """The obedient replicas, under the uids of their pods."""
    uids = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in seen.cluster.all(kinds.POD)}
    return [dataclasses.replace(replica, uid=uids[replica.name]) for replica in seen.replicas.obedient(NS, "corp")]


async def running(settings: OperatorSettings | None = None) -> World:
    seen = world(signing_key(), provider(), policy(), settings=settings)
    await seen.converge()
    pods(seen)
    seen.replicas.tell(NS, "corp", as_seen(seen))
    await seen.run_for(60)
    return seen


def stamps(seen: World) -> dict[str, str]:
    found = {}
    for pod in seen.cluster.all(kinds.POD):
        found[pod["metadata"]["name"]] = pod["metadata"].get("annotations", {}).get(meta.BUNDLE_ANNOTATION, "")
    return found


def annotated(seen: World, before: int) -> list[str]:
    return [write.ref.name for write in seen.cluster.writes[before:] if write.verb == "annotate"]


async def test_pods_that_serve_what_is_wanted_are_left_alone() -> None:
    seen = await running()
    assert set(stamps(seen).values()) == {""}
    assert await seen.idle_writes() == []


async def test_a_change_is_one_patch_a_pod() -> None:
    seen = await running()
    before = len(seen.cluster.writes)
    seen.cluster.user_apply(policy("more"))
    await seen.converge()
    assert sorted(annotated(seen, before)) == ["corp-idp-0", "corp-sts-0", "corp-sts-1"]
    wanted = measured.wanted_digests(seen.context.objects, NS, "corp")
    assert set(stamps(seen).values()) == {digest.stamp(wanted)}
    assert seen.replicas.wanted[NS, "corp"] == wanted
    seen.replicas.tell(NS, "corp", as_seen(seen))
    await seen.run_for(30)
    assert len(annotated(seen, before)) == 3


async def test_only_the_pod_that_lags_is_stamped_again_after_half_a_second_and_each_time_twice_as_long() -> None:
    seen = await running()
    lagging = as_seen(seen)[0]
    seen.cluster.user_apply(policy("more"))
    await seen.converge()
    seen.replicas.tell(NS, "corp", [lagging, *as_seen(seen)[1:]])
    times = []
    start, known = seen.clock.now(), stamps(seen)
    for _ in range(640):
        seen.clock.advance(0.125)
        await seen.reconcile("Propagation", NS, "corp")
        if stamps(seen) != known:
            assert {name for name in known if stamps(seen)[name] != known[name]} == {lagging.name}
            times.append(seen.clock.now() - start)
            known = stamps(seen)
    assert times == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]


async def test_it_asks_to_be_woken_for_each_stamp() -> None:
    seen = await running()
    seen.cluster.user_apply(policy("more"))
    await seen.reconcile("Bundle", NS, "corp")
    wakes = []
    for _ in range(6):
        done = await seen.reconcile("Propagation", NS, "corp")
        assert done.after is not None
        wakes.append(done.after)
        seen.clock.advance(done.after)
    assert wakes == [0.5, 0.5, 1.0, 2.0, 4.0, 2.0], "the last to name it"


@pytest.mark.parametrize(
    "change",
    [lambda pod: pod["status"].pop("podIP"), lambda pod: pod["metadata"].update(deletionTimestamp="x")],
    ids=["not started", "leaving"],
)
async def test_pods_without_volumes_to_refresh_are_not_stamped(change: Any) -> None:  # noqa: ANN401 - a lambda
    seen = await running()
    seen.cluster.user_edit(kinds.POD, NS, "corp-sts-0", change)
    before = len(seen.cluster.writes)
    seen.cluster.user_apply(policy("more"))
    await seen.converge()
    assert sorted(annotated(seen, before)) == ["corp-idp-0", "corp-sts-1"]


async def test_a_pod_that_is_gone_meanwhile_is_no_error() -> None:
    seen = await running()
    seen.cluster.refuse = lambda verb, ref: NotFound("gone") if verb == "annotate" else None
    seen.cluster.user_apply(policy("more"))
    await seen.converge()


async def test_where_stamping_is_forbidden_it_is_said_and_everything_else_works() -> None:
    seen = await running()
    seen.cluster.refuse = lambda verb, ref: Forbidden("pods: no") if verb == "annotate" else None
    seen.cluster.user_apply(policy("more"))
    await seen.converge()
    assert conditions(seen)["FastPropagation"] == ("False", "KubeletSpeed")
    seen.cluster.refuse = lambda verb, ref: None
    await seen.run_for(60)
    assert "FastPropagation" not in conditions(seen)


@pytest.mark.parametrize(
    "error", [Transient("no"), Invalid("no"), Forbidden("no")], ids=lambda error: type(error).__name__
)
async def test_a_pod_that_cannot_be_stamped_holds_up_no_other(error: ClusterError) -> None:
    seen = await running()
    before = len(seen.cluster.writes)
    first = min(stamps(seen))
    seen.cluster.refuse = lambda verb, ref: error if verb == "annotate" and ref.name == first else None
    seen.cluster.user_apply(policy("more"))
    await seen.reconcile("Bundle", NS, "corp")
    with contextlib.suppress(ClusterError):
        await seen.reconcile("Propagation", NS, "corp")
    assert sorted(annotated(seen, before)) == sorted(stamps(seen).keys() - {first})


async def test_where_stamping_is_switched_off_no_pod_is_touched() -> None:
    seen = await running(OperatorSettings(fast_propagation=False))
    before = len(seen.cluster.writes)
    seen.cluster.user_apply(policy("more"))
    await seen.run_for(30)
    assert annotated(seen, before) == []


def revoked(seen: World) -> None:
    """The issuer's ledger says that the active key was revoked now."""
    kid = signing(seen)["active"]["ES256"]

    def change(secret: Any) -> None:  # noqa: ANN401 - an object
        ledger = IssuerLedger.from_json(base64.b64decode(secret["data"]["ledger.json"]))
        changed = ledger.but(revoked={kid: seen.clock.now()})
        secret["data"]["ledger.json"] = base64.b64encode(changed.to_json()).decode()

    seen.cluster.user_edit(kinds.SECRET, NS, "corp-issuer", change)


async def test_replicas_that_keep_a_revoked_key_are_deleted_one_at_a_time() -> None:
    seen = await running()
    revoked(seen)
    seen.clock.advance(9)
    await seen.reconcile("Propagation", NS, "corp")
    assert len(seen.cluster.all(kinds.POD)) == 3
    seen.clock.advance(2)
    await seen.reconcile("Propagation", NS, "corp")
    assert len(seen.cluster.all(kinds.POD)) == 2
    first, *others = seen.replicas.of(NS, "corp")
    seen.replicas.tell(NS, "corp", [dataclasses.replace(first, terminating=True), *others])
    await seen.reconcile("Propagation", NS, "corp")
    assert len(seen.cluster.all(kinds.POD)) == 2, "the next waits until the first is gone"


async def test_a_pod_of_another_component_that_is_not_ready_protects_no_revoked_key() -> None:
    seen = await running()
    revoked(seen)
    seen.clock.advance(11)
    lame = [
        dataclasses.replace(replica, ready=False, report=None) if replica.component == "idp" else replica
        for replica in seen.replicas.of(NS, "corp")
    ]
    seen.replicas.tell(NS, "corp", lame)
    await seen.reconcile("Propagation", NS, "corp")
    assert sorted(pod["metadata"]["name"] for pod in seen.cluster.all(kinds.POD)) == ["corp-idp-0", "corp-sts-1"]


@pytest.mark.parametrize("terminating", [True, False])
async def test_a_pod_that_never_comes_back_protects_no_revoked_key_for_long(terminating: bool) -> None:  # noqa: FBT001
    """Its node is down: it is Terminating, or not ready, until somebody repairs that."""
    seen = await running()
    revoked(seen)
    first, *others = seen.replicas.of(NS, "corp")
    dead = dataclasses.replace(first, terminating=terminating, ready=False, report=None)
    seen.replicas.tell(NS, "corp", [dead, *(dataclasses.replace(one, component=dead.component) for one in others)])
    seen.clock.advance(59)
    await seen.reconcile("Propagation", NS, "corp")
    assert len(seen.cluster.all(kinds.POD)) == 3
    seen.clock.advance(2)
    await seen.reconcile("Propagation", NS, "corp")
    left = {pod["metadata"]["name"] for pod in seen.cluster.all(kinds.POD)}
    assert len(left) == 2
    assert dead.name in left


async def test_where_deleting_is_forbidden_stamping_goes_on() -> None:
    seen = await running()
    revoked(seen)
    seen.clock.advance(11)
    seen.cluster.refuse = lambda verb, ref: Forbidden("pods: no") if verb == "delete" else None
    await seen.reconcile("Propagation", NS, "corp")
    assert len(seen.cluster.all(kinds.POD)) == 3


async def test_replicas_that_let_go_of_a_revoked_key_live() -> None:
    seen = await running()
    replicas = seen.replicas.of(NS, "corp")
    clean = [
        dataclasses.replace(
            replica, report=dataclasses.replace(replica.report, held=frozenset(), served=frozenset(), signing={})
        )
        for replica in replicas
        if replica.report
    ]
    seen.replicas.tell(NS, "corp", clean)
    revoked(seen)
    seen.clock.advance(60)
    await seen.reconcile("Propagation", NS, "corp")
    assert len(seen.cluster.all(kinds.POD)) == 3


async def test_a_provider_that_is_gone_is_forgotten() -> None:
    seen = standard()
    await seen.converge()
    seen.cluster.user_delete(kinds.IDENTITY_PROVIDER, NS, "corp")
    await seen.converge()
    assert seen.context.memory == {}
    assert (await propagation.reconcile(seen.context, NS, "corp")).after is None
