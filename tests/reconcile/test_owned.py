"""What an IdentityProvider owns: what somebody deletes or puts in its place, and what we change ourselves."""

from __future__ import annotations

import pytest

from fakes.owned import essence, repairs, template
from fakes.provider import NS, OWNED, assert_ready, conditions, message, policy, provider, signing_key, standard, world
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.port import Kind
from tailseal.domain.render import bundle as render
from tailseal.domain.render.common import Provider
from tailseal.reconcile import owned
from tailseal.reconcile.context import OperatorSettings


@pytest.mark.parametrize(("kind", "name"), OWNED, ids=lambda value: value if isinstance(value, str) else value.kind)
async def test_a_deleted_object_comes_back_as_it_was(kind: Kind, name: str) -> None:
    seen = standard()
    await seen.converge()
    await seen.run_for(10)
    before = essence(seen, kind, name)
    seen.cluster.user_delete(kind, NS, name)
    await seen.converge()
    assert essence(seen, kind, name) == before
    assert_ready(seen)


async def test_what_is_on_its_way_out_is_not_deleted_again() -> None:
    seen = standard()
    await seen.converge()
    seen.cluster.user_edit(kinds.SERVICE, NS, "corp-idp", lambda obj: obj["metadata"].update(finalizers=["a/hold"]))
    seen.cluster.user_apply(provider(idp={"enabled": False}))
    await seen.run_for(10)
    assert seen.cluster.exists(kinds.SERVICE, NS, "corp-idp")
    assert await seen.idle_writes() == []


async def test_what_somebody_deleted_is_made_again_and_said() -> None:
    seen = standard()
    await seen.converge()
    await seen.run_for(10)
    seen.cluster.user_delete(kinds.DEPLOYMENT, NS, "corp-sts")
    await seen.converge()
    assert seen.cluster.exists(kinds.DEPLOYMENT, NS, "corp-sts")
    assert repairs(seen) == ["Deployment corp-sts was deleted by somebody else: it is put back"]


async def test_what_we_change_ourselves_is_no_repair() -> None:
    seen = standard()
    await seen.converge()
    await seen.run_for(10)
    seen.cluster.user_apply(provider(workload={"labels": {"a": "b"}}))
    await seen.converge()
    assert repairs(seen) == []


async def test_what_a_spec_and_the_installation_no_longer_say_is_gone_after_one_write_that_is_no_repair() -> None:
    rich = {
        "labels": {"team": "x"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "k", "operator": "Exists"}],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
    }
    seen = world(signing_key(), provider(workload={"resources": {"limits": {"memory": "1Gi"}}}), policy())
    await seen.converge()
    await seen.run_for(10)
    plain = essence(seen, kinds.DEPLOYMENT, "corp-sts")
    seen._settings = OperatorSettings(worker_priority_class="high", worker_pull_secrets=("registry",))
    seen.restart()
    seen.cluster.user_apply(provider(workload=rich))
    await seen.converge()
    more = template(seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts"))
    assert {"nodeSelector", "tolerations", "priorityClassName", "imagePullSecrets"} <= more.keys()
    seen._settings = OperatorSettings()
    seen.restart()
    before = len(seen.cluster.writes)
    seen.cluster.user_apply(provider(workload={"resources": {"limits": {"memory": "1Gi"}}}))
    await seen.converge()
    assert essence(seen, kinds.DEPLOYMENT, "corp-sts") == plain
    written = [write.verb for write in seen.cluster.writes[before:] if write.ref.name == "corp-sts"]
    assert written == ["apply"]
    assert repairs(seen) == []
    assert await seen.idle_writes() == []


async def test_what_a_former_release_made_is_applied_once_and_nothing_rolls() -> None:
    seen = standard()
    await seen.converge()
    await seen.run_for(10)
    made = (kinds.DEPLOYMENT, kinds.SERVICE, kinds.NETWORK_POLICY, kinds.POD_DISRUPTION_BUDGET)
    for kind in made:
        seen.cluster.user_edit(kind, NS, "corp-sts", lambda obj: obj["metadata"].pop("annotations"))
    generation = seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts")["metadata"]["generation"]
    before = len(seen.cluster.writes)
    seen.restart()
    await seen.converge()
    written = [(write.verb, write.ref.kind.kind) for write in seen.cluster.writes[before:]]
    assert sorted(written) == sorted(("apply", kind.kind) for kind in made)
    assert seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts")["metadata"]["generation"] == generation
    assert await seen.idle_writes() == []


async def test_whoever_scales_takes_over_as_many_replicas_as_there_are() -> None:
    seen = world(signing_key(), provider(sts={"replicas": 3}), policy())
    await seen.converge()
    await seen.run_for(10)
    seen.cluster.user_apply(provider(sts={}))
    await seen.converge()
    assert seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts")["spec"]["replicas"] == 3
    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-sts", lambda obj: obj["spec"].update(replicas=7))
    assert await seen.idle_writes() == []
    seen.cluster.user_apply(provider(sts={}, workload={"labels": {"a": "b"}}))
    await seen.converge()
    assert seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts")["spec"]["replicas"] == 7


@pytest.mark.parametrize(("kind", "name"), OWNED, ids=lambda value: value if isinstance(value, str) else value.kind)
async def test_an_object_of_somebody_else_is_never_touched(kind: Kind, name: str) -> None:
    theirs = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, "namespace": NS, "labels": {"team": "x"}},
    }
    seen = world(theirs, signing_key(), provider(), policy())
    before = essence(seen, kind, name)
    await seen.converge()
    await seen.run_for(60)
    assert essence(seen, kind, name) == before
    assert conditions(seen)["Programmed"] == ("False", "NameTaken")
    assert conditions(seen)["Stalled"] == ("True", "NameTaken")
    assert f"{kind.kind} {name} is there but not ours" in message(seen, "Programmed")
    seen.cluster.user_delete(kind, NS, name)
    await seen.run_for(120)
    assert_ready(seen)


async def test_what_the_operator_itself_took_away_is_made_again_in_silence() -> None:
    seen = standard()
    await seen.converge()
    uid = seen.cluster.peek(kinds.IDENTITY_PROVIDER, NS, "corp")["metadata"]["uid"]
    wanted = render.tls(Provider(NS, "corp", uid), {})
    for _ in range(2):
        await owned.ensure(seen.context, wanted, manager=meta.MANAGER)
        await owned.remove(seen.context, kinds.ref(wanted), provider="corp")
        assert not seen.cluster.exists(kinds.SECRET, NS, wanted["metadata"]["name"])
    assert repairs(seen) == []
