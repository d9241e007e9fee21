"""What an IdentityProvider owns: whatever somebody deletes, changes or puts in its place, it is put back, and said."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from fakes.provider import (
    NS,
    OWNED,
    assert_ready,
    conditions,
    message,
    policy,
    provider,
    signing_key,
    standard,
    world,
)
from fakes.world import World
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError, Conflict, Forbidden
from tailseal.cluster.port import Kind, Object, Ref
from tailseal.domain.render import bundle as render
from tailseal.domain.render.common import Provider
from tailseal.reconcile import owned
from tailseal.reconcile.context import OperatorSettings


def essence(seen: World, kind: Kind, name: str) -> Object:
    """The object without what a new one has anew."""
    obj = seen.cluster.peek(kind, NS, name)
    for field in ("uid", "resourceVersion", "generation", "creationTimestamp"):
        obj["metadata"].pop(field, None)
    return obj


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


def template(obj: Object) -> dict[str, Any]:
    found: dict[str, Any] = obj["spec"]["template"]["spec"]
    return found


def container(obj: Object) -> dict[str, Any]:
    found: dict[str, Any] = template(obj)["containers"][0]
    return found


DRIFT: dict[str, tuple[Kind, str, Callable[[Object], Any]]] = {
    "another image": (kinds.DEPLOYMENT, "corp-sts", lambda obj: container(obj).update(image="evil")),
    "another number": (kinds.DEPLOYMENT, "corp-sts", lambda obj: obj["spec"].update(replicas=9)),
    "another container": (
        kinds.DEPLOYMENT,
        "corp-sts",
        lambda obj: template(obj)["containers"].append({"name": "spy", "image": "evil"}),
    ),
    "an init container": (
        kinds.DEPLOYMENT,
        "corp-sts",
        lambda obj: template(obj).update(initContainers=[{"name": "spy", "image": "evil"}]),
    ),
    "a variable": (
        kinds.DEPLOYMENT,
        "corp-sts",
        lambda obj: container(obj)["env"].append({"name": "LD_PRELOAD", "value": "/evil.so"}),
    ),
    "variables from elsewhere": (
        kinds.DEPLOYMENT,
        "corp-sts",
        lambda obj: container(obj).update(envFrom=[{"configMapRef": {"name": "evil"}}]),
    ),
    "a command": (kinds.DEPLOYMENT, "corp-sts", lambda obj: container(obj).update(command=["sh"])),
    "a volume": (
        kinds.DEPLOYMENT,
        "corp-sts",
        lambda obj: template(obj)["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
    ),
    "a mount": (
        kinds.DEPLOYMENT,
        "corp-sts",
        lambda obj: container(obj)["volumeMounts"].append({"name": "tls", "mountPath": "/x"}),
    ),
    "the host's network": (kinds.DEPLOYMENT, "corp-sts", lambda obj: template(obj).update(hostNetwork=True)),
    "a hook": (
        kinds.DEPLOYMENT,
        "corp-sts",
        lambda obj: container(obj)["lifecycle"].update(postStart={"exec": {"command": ["sh"]}}),
    ),
    "privileges": (
        kinds.DEPLOYMENT,
        "corp-sts",
        lambda obj: container(obj)["securityContext"].update(privileged=True),
    ),
    "a capability": (
        kinds.DEPLOYMENT,
        "corp-sts",
        lambda obj: container(obj)["securityContext"]["capabilities"].update(add=["NET_RAW"]),
    ),
    "a system call": (
        kinds.DEPLOYMENT,
        "corp-sts",
        lambda obj: template(obj)["securityContext"].update(sysctls=[{"name": "a", "value": "b"}]),
    ),
    "a source": (
        kinds.DEPLOYMENT,
        "corp-sts",
        lambda obj: template(obj)["volumes"][0]["projected"]["sources"].append({"secret": {"name": "evil"}}),
    ),
    "a port": (
        kinds.SERVICE,
        "corp-sts",
        lambda obj: obj["spec"]["ports"].append({"name": "m", "port": 9090, "protocol": "TCP"}),
    ),
    "an address": (kinds.SERVICE, "corp-sts", lambda obj: obj["spec"].update(externalIPs=["192.0.2.1"])),
    "other pods": (kinds.SERVICE, "corp-sts", lambda obj: obj["spec"]["selector"].update({meta.PROVIDER_LABEL: "x"})),
    "open doors": (kinds.NETWORK_POLICY, "corp-sts", lambda obj: obj["spec"].update(ingress=[{}])),
    "fewer pods": (kinds.SERVICE, "corp-sts", lambda obj: obj["spec"]["selector"].update(x="y")),
    "pods that are not ready": (
        kinds.SERVICE,
        "corp-sts",
        lambda obj: obj["spec"].update(publishNotReadyAddresses=True),
    ),
    "pods of the same node": (kinds.SERVICE, "corp-sts", lambda obj: obj["spec"].update(internalTrafficPolicy="Local")),
    "a pause": (kinds.DEPLOYMENT, "corp-sts", lambda obj: obj["spec"].update(paused=True)),
    "a long wait": (kinds.DEPLOYMENT, "corp-sts", lambda obj: obj["spec"].update(minReadySeconds=3600)),
    "a probe": (
        kinds.DEPLOYMENT,
        "corp-sts",
        lambda obj: container(obj).update(startupProbe={"exec": {"command": ["false"]}}),
    ),
    "a probe of another host": (
        kinds.DEPLOYMENT,
        "corp-sts",
        lambda obj: container(obj)["livenessProbe"]["httpGet"].update(host="192.0.2.1"),
    ),
    "a probe that comes late": (
        kinds.DEPLOYMENT,
        "corp-sts",
        lambda obj: container(obj)["readinessProbe"].update(initialDelaySeconds=600, successThreshold=9),
    ),
    "a port of the host": (kinds.DEPLOYMENT, "corp-sts", lambda obj: container(obj)["ports"][0].update(hostPort=443)),
    "a limit": (kinds.DEPLOYMENT, "corp-sts", lambda obj: container(obj)["resources"]["limits"].update(cpu="1m")),
    "a wider port": (
        kinds.NETWORK_POLICY,
        "corp-sts",
        lambda obj: obj["spec"]["ingress"][0]["ports"][0].update(endPort=65535),
    ),
    "closed doors": (
        kinds.NETWORK_POLICY,
        "corp-sts",
        lambda obj: obj["spec"]["ingress"][0].update({"from": [{"ipBlock": {"cidr": "192.0.2.1/32"}}]}),
    ),
    "doors of fewer pods": (
        kinds.NETWORK_POLICY,
        "corp-sts",
        lambda obj: obj["spec"]["podSelector"]["matchLabels"].update(x="y"),
    ),
    "doors of no pods": (
        kinds.NETWORK_POLICY,
        "corp-sts",
        lambda obj: obj["spec"]["podSelector"].update(matchExpressions=[{"key": "x", "operator": "Exists"}]),
    ),
    "a budget of fewer pods": (
        kinds.POD_DISRUPTION_BUDGET,
        "corp-sts",
        lambda obj: obj["spec"]["selector"]["matchLabels"].update(x="y"),
    ),
    "a budget of another kind": (
        kinds.POD_DISRUPTION_BUDGET,
        "corp-sts",
        lambda obj: [obj["spec"].pop("maxUnavailable"), obj["spec"].update(minAvailable=2)],
    ),
    **{
        f"a pod's {field}": (
            kinds.DEPLOYMENT,
            "corp-sts",
            lambda obj, field=field, value=value: template(obj).update({field: value}),
        )
        for field, value in {
            "dnsConfig": {"nameservers": ["192.0.2.1"]},
            "dnsPolicy": "None",
            "nodeName": "x",
            "nodeSelector": {"x": "y"},
            "affinity": {"nodeAffinity": {}},
            "tolerations": [{"operator": "Exists"}],
            "priorityClassName": "system-node-critical",
            "runtimeClassName": "x",
            "schedulerName": "evil",
            "hostUsers": False,
            "resourceClaims": [{"name": "gpu", "resourceClaimName": "x"}],
            "imagePullSecrets": [{"name": "evil"}],
            "activeDeadlineSeconds": 1,
            "readinessGates": [{"conditionType": "x"}],
            "schedulingGates": [{"name": "x"}],
        }.items()
    },
    "a token": (kinds.SERVICE_ACCOUNT, "corp-sts", lambda obj: obj.update(automountServiceAccountToken=True)),
    "a budget": (kinds.POD_DISRUPTION_BUDGET, "corp-sts", lambda obj: obj["spec"].update(maxUnavailable=5)),
    "a key": (kinds.SECRET, "corp-signing", lambda obj: obj["data"].update({"evil.pem": "eA=="})),
    "other keys": (
        kinds.SECRET,
        "corp-signing",
        lambda obj: obj["data"].update({"signing.json": "eyJqd2tzIjp7ImtleXMiOltdfX0="}),
    ),
    "a credential": (kinds.SECRET, "corp-credentials", lambda obj: obj.update(data={"evil": "eA=="})),
    "a file": (kinds.CONFIG_MAP, "corp-policies", lambda obj: obj["data"].update(evil="x")),
    "another manifest": (kinds.CONFIG_MAP, "corp-policies", lambda obj: obj["data"].update({"manifest.json": "{}"})),
    "no manifest": (kinds.CONFIG_MAP, "corp-policies", lambda obj: obj.pop("data")),
    "another shard": (
        kinds.CONFIG_MAP,
        "corp-policies-05",
        lambda obj: obj["binaryData"].update({"05.json.gz": "eA=="}),
    ),
    "a stiff shard": (
        kinds.CONFIG_MAP,
        "corp-policies-05",
        lambda obj: obj.update(immutable=True, binaryData={"05.json.gz": "eA=="}),
    ),
    "another spec": (kinds.CONFIG_MAP, "corp-accepted", lambda obj: obj["data"].update({"spec.json": "{}"})),
    "no labels": (kinds.SECRET, "corp-signing", lambda obj: obj["metadata"].pop("labels")),
    "no owner": (kinds.DEPLOYMENT, "corp-sts", lambda obj: obj["metadata"].pop("ownerReferences")),
}


@pytest.mark.parametrize("name", DRIFT)
async def test_what_somebody_changed_is_repaired(name: str) -> None:
    kind, target, change = DRIFT[name]
    seen = standard()
    await seen.converge()
    await seen.run_for(10)
    before = essence(seen, kind, target)
    seen.cluster.user_edit(kind, NS, target, change)
    assert essence(seen, kind, target) != before
    said = len(repairs(seen))
    await seen.converge()
    assert essence(seen, kind, target) == before
    assert_ready(seen)
    kind_name = f"{kind.kind} {target}"
    assert repairs(seen)[said:] == [f"{kind_name} was changed by somebody else: it is put back"]
    assert await seen.idle_writes() == []


def repairs(seen: World) -> list[str]:
    return [message for _, _, reason, message in seen.recorder.events if reason == "Repaired"]


async def test_an_injected_container_goes_unless_the_installation_allows_it() -> None:
    seen = standard()
    seen._settings = OperatorSettings(sidecars=(("mesh", "registry.corp.example/mesh/"),))
    seen.restart()
    await seen.converge()
    await seen.run_for(10)
    names = {entry["name"] for entry in template(seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts"))["containers"]}
    for name, image in (("mesh", "x"), ("spy", "x"), ("mesh", "registry.corp.example/mesh/proxy:1")):
        new = {"name": name, "image": image}
        seen.cluster.user_edit(
            kinds.DEPLOYMENT, NS, "corp-sts", lambda obj, new=new: template(obj)["containers"].append(new)
        )
        await seen.converge()
    left = {entry["name"] for entry in template(seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts"))["containers"]}
    assert left == names | {"mesh"}
    assert await seen.idle_writes() == []


async def test_nothing_is_taken_out_of_a_deployment_that_is_another_by_now() -> None:
    seen = standard()
    seen._settings = OperatorSettings(sidecars=(("mesh", "mesh:"),))
    seen.restart()
    await seen.converge()
    mesh, spy = {"name": "mesh", "image": "mesh:1"}, {"name": "spy", "image": "spy"}
    target = kinds.DEPLOYMENT, NS, "corp-sts"
    seen.cluster.user_edit(*target, lambda obj: template(obj)["containers"].append(spy))
    seen.context.objects.freeze()  # type: ignore[attr-defined]  # the fake's
    seen.cluster.user_edit(*target, lambda obj: template(obj)["containers"].append(mesh))
    with pytest.raises(Conflict):
        await seen.reconcile("IdentityProvider", NS, "corp")
    seen.context.objects.thaw()  # type: ignore[attr-defined]
    await seen.converge()
    assert [entry["name"] for entry in template(seen.cluster.peek(*target))["containers"]] == ["sts", "mesh"]


async def test_what_an_admission_policy_puts_back_in_every_write_is_said_once_and_not_fought() -> None:
    def inject(obj: Object) -> None:
        if obj["kind"] == "Deployment" and all(entry["name"] != "spy" for entry in template(obj)["containers"]):
            template(obj)["containers"].append(
                {"name": "spy", "image": "x", "env": [{"name": "SEED", "value": str(next(count))}]}
            )

    count = itertools.count()
    seen = standard()
    await seen.converge()
    seen.cluster.mutate = inject
    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-sts", lambda obj: obj["metadata"]["annotations"].update(a="b"))
    before = len(seen.cluster.writes)
    await seen.run_for(owned.IN_VAIN * 0.9)
    assert [write.verb for write in seen.cluster.writes[before:] if write.ref.kind == kinds.DEPLOYMENT] == ["merge"]
    said = [message for _, _, reason, message in seen.recorder.events if reason == "NotRepaired"]
    assert len(said) == 1
    assert "Deployment corp-sts comes back" in said[0]
    assert said[0].endswith("neither ours nor allowed: spy (image x)")
    assert repairs(seen) == []
    assert (conditions(seen)["Ready"], conditions(seen)["Repaired"]) == (
        ("True", "NotRepaired"),
        ("False", "NotRepaired"),
    )
    assert message(seen, "Ready") == message(seen, "Repaired") == said[0]
    done = await seen.reconcile("IdentityProvider", NS, "corp")
    assert done.after is not None
    assert done.after <= owned.IN_VAIN, "nobody tells when the policy goes"
    seen.cluster.mutate = lambda _obj: None
    await seen.run_for(owned.IN_VAIN)
    assert [entry["name"] for entry in template(seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts"))["containers"]] == [
        "sts"
    ]
    assert_ready(seen)
    assert "Repaired" not in conditions(seen)


async def test_what_comes_back_another_each_time_is_tried_ever_more_seldom_as_each_try_ends_pods() -> None:
    def inject(obj: Object) -> None:
        if obj["kind"] == "Deployment":
            template(obj)["containers"][1:] = [{"name": "spy", "image": f"spy:{next(count)}"}]

    count = itertools.count()
    seen = standard()
    await seen.converge()
    seen.cluster.mutate = inject
    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-sts", lambda _obj: None)
    before = len(seen.cluster.writes)
    await seen.run_for(64 * owned.IN_VAIN)
    tries = [write.verb for write in seen.cluster.writes[before:] if write.ref.name == "corp-sts"]
    assert 4 <= len(tries) <= 10
    seen.cluster.mutate = lambda _obj: None
    await seen.run_for(owned.SELDOM)
    assert_ready(seen)
    assert "Repaired" not in conditions(seen)


async def test_what_is_not_there_any_more_is_not_said_to_hold_what_others_put_in() -> None:
    def inject(obj: Object) -> None:
        if (obj["kind"], obj["metadata"]["name"]) == ("Deployment", "corp-idp"):
            template(obj)["containers"][1:] = [{"name": "spy", "image": "x"}]

    seen = standard()
    seen.cluster.user_apply(provider(idp={"enabled": True}))
    await seen.converge()
    seen.cluster.mutate = inject
    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-idp", lambda _obj: None)
    await seen.run_for(5)
    assert conditions(seen)["Repaired"] == ("False", "NotRepaired")
    seen.cluster.user_apply(provider(idp={"enabled": False}))
    seen.cluster.user_delete(kinds.DEPLOYMENT, NS, "corp-idp")
    await seen.run_for(5)
    assert "Repaired" not in conditions(seen)


def mirrored(obj: Object) -> None:
    """As a webhook that has images come from a mirror."""
    if obj["kind"] == "Deployment":
        container(obj)["image"] = f"mirror.example/{container(obj)['image'].removeprefix('mirror.example/')}"


def labelled(obj: Object) -> None:
    if obj["kind"] == "Deployment":
        obj["metadata"]["labels"]["app.kubernetes.io/component"] = "theirs"


@pytest.mark.parametrize("policy", [mirrored, labelled])
async def test_what_an_admission_policy_makes_of_our_fields_is_said_once_and_tried_once_a_minute(
    policy: Callable[[Object], None],
) -> None:
    seen = standard()
    await seen.converge()
    wanted = essence(seen, kinds.DEPLOYMENT, "corp-sts")
    seen.cluster.mutate = policy
    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-sts", lambda _obj: None)
    before = len(seen.cluster.writes)

    def tries() -> int:
        return sum(write.ref.name == "corp-sts" and write.verb == "apply" for write in seen.cluster.writes[before:])

    await seen.run_for(owned.IN_VAIN * 0.9)
    assert tries() == 1
    await seen.run_for(owned.IN_VAIN * 5)
    assert 2 <= tries() <= 6
    said = [message for _, _, reason, message in seen.recorder.events if reason == "NotRepaired"]
    assert [text.partition(" comes back")[0] for text in said] == ["what others change in Deployment corp-sts"]
    assert repairs(seen) == []
    seen.cluster.mutate = lambda _obj: None
    await seen.run_for(owned.IN_VAIN * 2)
    assert essence(seen, kinds.DEPLOYMENT, "corp-sts") == wanted


async def test_what_is_wanted_anew_is_written_at_once_also_where_something_was_in_vain() -> None:
    seen = standard()
    await seen.converge()
    seen.cluster.mutate = mirrored
    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-sts", lambda obj: obj["metadata"].update(annotations={"a": "b"}))
    await seen.run_for(5)
    assert "NotRepaired" in {reason for _, _, reason, _ in seen.recorder.events}
    seen.cluster.user_apply(provider(workload={"labels": {"a": "b"}}))
    await seen.run_for(5)
    template = seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts")["spec"]["template"]
    assert template["metadata"]["labels"]["a"] == "b"


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


async def test_what_the_fence_refuses_together_with_what_others_added_is_written_after_that_is_out() -> None:
    """Whoever changes the digest of what was applied, too, chooses which of the two comes first."""
    seen = standard()
    await seen.converge()
    await seen.run_for(10)
    before = essence(seen, kinds.DEPLOYMENT, "corp-sts")

    def spied() -> bool:
        return len(template(seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts"))["containers"]) > 1

    def spoil(obj: Object) -> None:
        obj["metadata"]["annotations"][meta.APPLIED_ANNOTATION] = "theirs"
        template(obj)["containers"].append({"name": "spy", "image": "x"})

    def fence(verb: str, ref: Ref) -> ClusterError | None:
        return Forbidden("no") if (verb, ref.name) == ("apply", "corp-sts") and spied() else None

    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-sts", spoil)
    seen.cluster.refuse = fence
    await seen.converge()
    assert essence(seen, kinds.DEPLOYMENT, "corp-sts") == before
    assert_ready(seen)


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


@pytest.mark.parametrize(
    "change",
    [
        lambda obj: obj["metadata"].setdefault("annotations", {}).update(note="x"),
        lambda obj: obj["spec"]["template"]["metadata"].update(
            annotations={"kubectl.kubernetes.io/restartedAt": "now"}
        ),
        lambda obj: template(obj).update(dnsPolicy="ClusterFirst", schedulerName="default-scheduler", hostUsers=True),
        lambda obj: obj["spec"].update(paused=False, minReadySeconds=0),
        lambda obj: container(obj).update(terminationMessagePath="/dev/termination-log"),
        lambda obj: container(obj)["resources"]["requests"].update(cpu="0.1"),
    ],
    ids=[
        "a note",
        "a restart",
        "defaults of the pod",
        "defaults of the spec",
        "defaults of the container",
        "an equal amount",
    ],
)
async def test_what_may_stay_is_left_alone(change: Callable[[Object], None]) -> None:
    seen = standard()
    await seen.converge()
    await seen.run_for(10)
    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-sts", change)
    assert await seen.idle_writes() == []


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
