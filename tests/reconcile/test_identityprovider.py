"""An IdentityProvider on the fake cluster: it converges whatever happens, and repairs what it owns."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from fakes.provider import (
    NS,
    conditions,
    files,
    held_policies,
    message,
    policy,
    provider,
    signing,
    signing_key,
    standard,
    status,
    world,
)
from fakes.world import World, crash_everywhere, fail_everywhere, in_any_order
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.errors import Conflict, Forbidden
from tailseal.cluster.port import Kind, Object, Ref
from tailseal.reconcile.context import OperatorSettings
from tailseal.reconcile.identityprovider import controller as identityprovider

OWNED = [
    (kind, name)
    for kind, names in {
        kinds.SECRET: ("corp-signing", "corp-credentials"),
        kinds.CONFIG_MAP: ("corp-accepted", "corp-policies", "corp-policies-05"),
        kinds.SERVICE_ACCOUNT: ("corp-sts", "corp-idp"),
        kinds.SERVICE: ("corp-sts", "corp-idp"),
        kinds.NETWORK_POLICY: ("corp-sts", "corp-idp"),
        kinds.POD_DISRUPTION_BUDGET: ("corp-sts",),
        kinds.DEPLOYMENT: ("corp-sts", "corp-idp"),
    }.items()
    for name in names
]


def encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def essence(seen: World, kind: Kind, name: str) -> Object:
    """The object without what a new one has anew."""
    obj = seen.cluster.peek(kind, NS, name)
    for field in ("uid", "resourceVersion", "generation", "creationTimestamp"):
        obj["metadata"].pop(field, None)
    return obj


def assert_ready(seen: World) -> None:
    assert conditions(seen)["Ready"] == ("True", "Ready")
    assert held_policies(seen) == ["identity/deploy"]
    assert signing(seen)["active"]["ES256"] in {key["kid"] for key in signing(seen)["jwks"]["keys"]}
    assert {(kind, name) for kind, name in OWNED if seen.cluster.exists(kind, NS, name)} == set(OWNED)


async def test_it_becomes_ready_and_then_rests() -> None:
    seen = standard()
    await seen.converge()
    assert_ready(seen)
    assert await seen.idle_writes() == []
    await seen.run_for(120)
    assert await seen.idle_writes() == []


async def test_it_says_what_was_measured() -> None:
    seen = standard()
    await seen.converge()
    await seen.run_for(10)
    found = status(seen)
    assert found["observedGeneration"] == 1
    assert (found["replicas"], found["servingReplicas"], found["attachedPolicies"]) == (3, 3, 1)
    assert found["bundleDigest"].startswith("sha256:")
    assert {entry["name"]: entry["url"] for entry in found["endpoints"]} == {
        "sts": "http://corp-sts.identity.svc",
        "idp": "http://corp-idp.identity.svc",
        "jwks": "https://idp.corp.example/.well-known/jwks.json",
    }
    assert set(conditions(seen)) == {"Accepted", "ResolvedRefs", "Programmed", "Ready"}


async def test_it_converges_in_any_order() -> None:
    await in_any_order(standard, assert_ready)


def nothing_yet() -> World:
    return world()


def apply_all(seen: World) -> None:
    for obj in (signing_key(), provider(), policy()):
        seen.cluster.user_apply(obj)


async def test_the_first_set_has_the_keys_of_every_listed_signing_key() -> None:
    listed = provider(signingKeys=[{"name": "corp"}, {"name": "corp-rs"}])
    for order in range(8):
        seen = world(signing_key(), signing_key("corp-rs", algorithm="RS256"), listed, order=order)
        await seen.converge()
        assert set(signing(seen)["active"]) == {"ES256", "RS256"}


async def test_a_listed_signing_key_that_is_refused_holds_nothing_up() -> None:
    listed = provider(signingKeys=[{"name": "corp"}, {"name": "bad"}])
    seen = world(signing_key(), signing_key("bad", source={"pkcs11": {}}), listed)
    await seen.converge()
    assert set(signing(seen)["active"]) == {"ES256"}
    assert conditions(seen)["ResolvedRefs"] == ("False", "RefNotReady")
    assert "spec.signingKeys[1]: SigningKey bad has no key and is not accepted" in message(seen, "ResolvedRefs")


async def test_a_second_operator_with_a_stale_view_cannot_bring_a_revoked_key_back() -> None:
    seen = standard()
    await seen.converge()
    (revoked,) = signing(seen)["active"].values()
    edited = json.dumps({**signing(seen), "maxAge": 301}).encode()
    seen.cluster.user_edit(
        kinds.SECRET, NS, "corp-signing", lambda obj: obj["data"].update({"signing.json": encode(edited)})
    )
    stale, heard = seen.context, seen.replicas.of(NS, "corp")
    seen.context.objects.freeze()  # type: ignore[attr-defined]
    seen.restart()
    seen.cluster.user_apply(signing_key(revokedKeyIDs=[revoked]))
    await seen.converge()
    seen.replicas.tell(NS, "corp", heard)
    with pytest.raises(Conflict):
        await identityprovider.reconcile(stale, NS, "corp")
    assert revoked not in {key["kid"] for key in signing(seen)["jwks"]["keys"]}


async def test_killed_after_any_write_it_converges() -> None:
    assert await crash_everywhere(nothing_yet, assert_ready, apply_all) > 20


async def test_refused_at_any_write_it_converges() -> None:
    assert await fail_everywhere(nothing_yet, assert_ready, apply_all) > 20


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
    seen._settings = OperatorSettings(sidecars=("mesh",))
    seen.restart()
    await seen.converge()
    await seen.run_for(10)
    names = {entry["name"] for entry in template(seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts"))["containers"]}
    for name in ("mesh", "spy"):
        new = {"name": name, "image": "x"}
        seen.cluster.user_edit(
            kinds.DEPLOYMENT, NS, "corp-sts", lambda obj, new=new: template(obj)["containers"].append(new)
        )
        await seen.converge()
    left = {entry["name"] for entry in template(seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts"))["containers"]}
    assert left == names, "what goes takes along what an injector puts back"
    seen.cluster.user_edit(
        kinds.DEPLOYMENT, NS, "corp-sts", lambda obj: template(obj)["containers"].append({"name": "mesh", "image": "x"})
    )
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


@pytest.mark.parametrize(
    "change",
    [
        lambda obj: obj["metadata"].setdefault("annotations", {}).update(note="x"),
        lambda obj: obj["spec"]["template"]["metadata"].update(
            annotations={"kubectl.kubernetes.io/restartedAt": "now"}
        ),
        lambda obj: template(obj).update(dnsPolicy="ClusterFirst", schedulerName="default-scheduler"),
        lambda obj: container(obj).update(terminationMessagePath="/dev/termination-log"),
        lambda obj: container(obj)["resources"]["requests"].update(cpu="0.1"),
    ],
    ids=["a note", "a restart", "defaults of the pod", "defaults of the container", "an equal amount"],
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


async def test_a_switched_off_component_goes() -> None:
    seen = standard()
    await seen.converge()
    seen.cluster.user_apply(provider(idp={"enabled": False}))
    await seen.run_for(10)
    assert not any(seen.cluster.exists(kind, NS, "corp-idp") for kind in kinds.OWNED)
    assert conditions(seen)["Ready"] == ("True", "Ready")


async def test_with_one_replica_there_is_no_budget() -> None:
    seen = standard()
    await seen.converge()
    seen.cluster.user_apply(provider(sts={"replicas": 1}))
    await seen.converge()
    assert not seen.cluster.exists(kinds.POD_DISRUPTION_BUDGET, NS, "corp-sts")


async def test_a_number_that_is_not_ours_is_left_to_the_autoscaler() -> None:
    seen = world(signing_key(), provider(sts={}), policy())
    await seen.converge()
    seen.cluster.user_edit(kinds.DEPLOYMENT, NS, "corp-sts", lambda obj: obj["spec"].update(replicas=7))
    await seen.run_for(30)
    assert seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts")["spec"]["replicas"] == 7


async def test_keys_policies_and_references_never_change_the_pods() -> None:
    seen = standard()
    await seen.converge()
    before = seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts")["spec"]["template"]
    seen.cluster.user_apply(signing_key("rsa", algorithm="EdDSA"))
    upstream = {"name": "prod", "tailscale": {"oauthClientSecretRef": {"name": "ts"}}}
    seen.cluster.user_apply(provider(signingKeys=[{"name": "corp"}, {"name": "rsa"}], upstreams=[upstream]))
    for number in range(20):
        seen.cluster.user_apply(policy(f"more-{number}"))
    await seen.run_for(60)
    assert len(signing(seen)["held"]) > 2
    assert seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-sts")["spec"]["template"] == before


async def test_another_image_of_the_operator_rolls_the_workers() -> None:
    seen = standard()
    await seen.converge()
    seen._settings = OperatorSettings(worker_image="tailseal:next", worker_pull_secrets=("registry",))
    seen.restart()
    await seen.converge()
    rolled = seen.cluster.peek(kinds.DEPLOYMENT, NS, "corp-idp")
    assert container(rolled)["image"] == "tailseal:next"
    assert rolled["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]


async def test_deleted_and_applied_again_it_goes_on_with_its_ledger() -> None:
    seen = standard()
    await seen.converge()
    kept, before = files(seen, "corp-issuer"), signing(seen)
    seen.cluster.user_delete(kinds.IDENTITY_PROVIDER, NS, "corp")
    await seen.converge()
    assert not any(seen.cluster.exists(kind, NS, name) for kind, name in OWNED)
    assert files(seen, "corp-issuer")["poll.key"] == kept["poll.key"]
    seen.cluster.user_apply(provider())
    await seen.run_for(60)
    assert_ready(seen)
    assert signing(seen)["statusKey"] == before["statusKey"]
    assert signing(seen)["active"] == before["active"]


async def test_another_issuer_never_takes_over_the_ledger() -> None:
    seen = standard()
    await seen.converge()
    kept = files(seen, "corp-issuer")
    seen.cluster.user_delete(kinds.IDENTITY_PROVIDER, NS, "corp")
    seen.cluster.collect_garbage()
    seen.cluster.user_apply(provider(issuer="https://other.example"))
    await seen.converge()
    assert conditions(seen)["Programmed"] == ("False", "NameTaken")
    assert "holds the ledger of issuer https://idp.corp.example: delete it" in message(seen, "Programmed")
    assert files(seen, "corp-issuer") == kept


async def test_what_a_former_provider_of_the_name_left_is_waited_for() -> None:
    seen = standard()
    await seen.converge()
    owner = [{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "gone", "controller": True}]
    seen.cluster.user_edit(
        kinds.SERVICE, NS, "corp-sts", lambda obj: obj["metadata"].update(ownerReferences=owner, finalizers=["hold"])
    )
    with pytest.raises(Exception, match="former owner"):
        await seen.reconcile("IdentityProvider", NS, "corp")


async def test_a_forbidden_write_is_said_and_the_rest_goes_on() -> None:
    seen = standard()
    ref = Ref(kinds.NETWORK_POLICY, NS, "corp-sts")
    seen.cluster.refuse = lambda verb, asked: (
        Forbidden("networkpolicies: no") if asked == ref and verb == "apply" else None
    )
    for _ in range(6):
        await seen._pass()
    assert conditions(seen)["Programmed"] == ("False", "Forbidden")
    assert conditions(seen)["Stalled"] == ("True", "Forbidden")
    assert seen.cluster.exists(kinds.DEPLOYMENT, NS, "corp-sts")
    seen.cluster.refuse = lambda _verb, _ref: None
    await seen.run_for(60)
    assert_ready(seen)
