"""On the real API server: what it defaults and rewrites is no drift to us, what others inject goes, nothing fights."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from operator import ne
from pathlib import Path
from typing import Any

import pytest

from fakes.context import FakeClock, FakeReplicas, make_context
from fakes.provider import CONTROLLERS, NS, policy, provider, secret, signing_key
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.errors import Conflict
from tailseal.cluster.kube import KubeCluster
from tailseal.cluster.port import Object, Ref
from tailseal.domain.evidence import Replica
from tailseal.reconcile.context import Context
from tailseal.runtime.store import Store
from tailseal_dev.controlplane import ControlPlane

pytestmark = pytest.mark.cluster


class Counting(KubeCluster):
    """Counts what is asked to be written, even if it changes nothing."""

    asked = 0

    async def apply(self, obj: Object, *, manager: str) -> Object:
        self.asked += 1
        return await super().apply(obj, manager=manager)

    async def apply_status(self, obj: Object, *, manager: str) -> Object:
        self.asked += 1
        return await super().apply_status(obj, manager=manager)

    async def merge(self, ref: Ref, patch: Mapping[str, Any]) -> Object:
        self.asked += 1
        return await super().merge(ref, patch)


class Operator:
    """The controllers on a real cluster, run by hand: a store that is listed anew before each pass, no workers."""

    def __init__(self, cluster: Counting, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.versions: list[dict[Ref, int]] = []
        self.memory: dict[Any, Any] = {}

    async def context(self) -> Context:
        store = Store(lambda _before, _after: None)
        for kind in (*kinds.CUSTOM, *kinds.OWNED):
            async for obj in self.cluster.list(kind, self.namespace):
                labels = obj["metadata"].get("labels", {})
                if kind in kinds.CUSTOM or {meta.MANAGED_BY, meta.ALLOW_LABEL} & labels.keys():
                    store.put(obj)
        clock = FakeClock()
        replicas = FakeReplicas(None, clock)  # type: ignore[arg-type]  # told below, so never looked up
        stranger = Replica("u", "p", "sts", ever_ready=False, ready=False, terminating=False)
        replicas.tell(self.namespace, "corp", [stranger])
        self.versions.append({ref: version for kind in kinds.OWNED for ref, version in store.versions(kind).items()})
        return make_context(self.cluster, clock, objects=store, replicas=replicas, memory=self.memory)  # type: ignore[arg-type]

    async def run(self, passes: int = 4) -> None:
        for _ in range(passes):
            await self._once()
        await self.context()

    async def _once(self) -> None:
        while True:
            ctx = await self.context()
            with contextlib.suppress(Conflict):  # with a controller that writes a status: the queue tries again, too
                for reconcile in CONTROLLERS.values():
                    await reconcile(ctx, self.namespace, "corp")
                return

    async def get(self, kind: kinds.Kind, name: str) -> Object:
        found = await self.cluster.get(Ref(kind, self.namespace, name))
        assert found is not None
        return found


def placed(obj: Object, namespace: str) -> str:
    return json.dumps(obj).replace(f'"{NS}"', f'"{namespace}"')


@pytest.fixture
async def operator(
    crds: Path, control_plane: ControlPlane, kubectl: Callable[..., str], namespace: str
) -> AsyncIterator[Operator]:
    rich = provider(
        serving={"tls": {"secretRef": {"name": "cert"}}},
        workload={
            "labels": {"team": "x"},
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
            "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": {"memory": "1.5Gi"}},
        },
        upstreams=[{"name": "prod", "tailscale": {"oauthClientSecretRef": {"name": "ts"}}}],
    )
    given = (
        signing_key(),
        rich,
        policy(),
        secret("cert", **{"tls.crt": "C", "tls.key": "K"}),
        secret("ts", client_id="i", client_secret="s"),
    )
    for obj in given:
        kubectl("apply", "--namespace", namespace, "-f", "-", stdin=placed(obj, namespace))
    async with Counting(kubeconfig=str(control_plane.kubeconfig)) as cluster:
        yield Operator(cluster, namespace)


async def at_rest(operator: Operator) -> None:
    """See that one more run writes nothing."""
    asked = operator.cluster.asked
    await operator.run(1)
    assert operator.cluster.asked == asked


async def test_everything_is_accepted_and_the_next_runs_write_nothing(operator: Operator) -> None:
    await operator.run()
    asked = operator.cluster.asked
    await operator.run()
    assert operator.cluster.asked == asked
    assert len(operator.versions[-1]) >= 18
    others = {ref for ref in operator.versions[-1] if ref.kind in (kinds.DEPLOYMENT, kinds.POD_DISRUPTION_BUDGET)}
    settled = [{ref: seen[ref] for ref in seen if ref not in others} for seen in operator.versions[-2:]]
    assert settled[0] == settled[1], "but for those of which controllers write the status, whenever they come to it"
    assert {(await operator.get(ref.kind, ref.name))["metadata"]["generation"] for ref in others} == {1}
    assert len([ref for ref in others if ref.kind == kinds.DEPLOYMENT]) == 2
    status = (await operator.get(kinds.IDENTITY_PROVIDER, "corp"))["status"]
    conditions = {entry["type"]: (entry["status"], entry["reason"]) for entry in status["conditions"]}
    assert conditions["Accepted"] == ("True", "Accepted")
    assert conditions["ResolvedRefs"] == ("True", "Resolved")
    assert conditions["Programmed"] == ("False", "NoReplicas")


async def test_nodes_of_a_tailnet_rest_as_well(operator: Operator, kubectl: Callable[..., str]) -> None:
    there = ("--namespace", operator.namespace)
    auth = {"oauthClientSecretRef": {"name": "ts"}}
    direct = {"mode": "Direct", "port": 8444, "auth": auth, "tags": ["tag:idp"]}
    serve = {"mode": "Serve", "port": None, "volume": {"size": "64Mi"}}
    for tailnet in (direct, serve):
        patch = json.dumps({"spec": {"tailnet": tailnet}})
        kubectl("patch", "identityprovider", "corp", *there, "--type=merge", "-p", patch)
        await operator.run(3)
        pod = (await operator.get(kinds.DEPLOYMENT, "corp-idp-0"))["spec"]["template"]["spec"]
        assert [entry["name"] for entry in pod["initContainers"]] == ["tailscale"]
        await at_rest(operator)


async def test_what_others_inject_goes_and_stays_away(operator: Operator, kubectl: Callable[..., str]) -> None:
    await operator.run()
    evil = {
        "spec": {
            "template": {
                "spec": {
                    "hostNetwork": True,
                    "initContainers": [{"name": "first", "image": "evil"}],
                    "containers": [
                        {"name": "sts", "env": [{"name": "EVIL", "value": "1"}], "command": ["sh"]},
                        {"name": "spy", "image": "evil"},
                    ],
                    "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
                }
            }
        }
    }
    before = (await operator.get(kinds.DEPLOYMENT, "corp-sts"))["spec"]
    kubectl("patch", "deployment", "corp-sts", "--namespace", operator.namespace, "--patch", json.dumps(evil))
    evil_file = json.dumps({"data": {"evil.pem": "eA=="}})
    kubectl("patch", "secret", "corp-signing", "--namespace", operator.namespace, "--type=merge", "-p", evil_file)
    await operator.run(2)
    after = await operator.get(kinds.DEPLOYMENT, "corp-sts")
    assert after["spec"] == before
    assert "evil.pem" not in (await operator.get(kinds.SECRET, "corp-signing"))["data"]
    await operator.run(1)
    again = await operator.get(kinds.DEPLOYMENT, "corp-sts")
    assert again["metadata"]["generation"] == after["metadata"]["generation"], "no fight"


async def test_what_others_change_beside_what_we_say_goes_and_stays_away(
    operator: Operator, kubectl: Callable[..., str]
) -> None:
    await operator.run()
    kinds_of = (kinds.DEPLOYMENT, kinds.SERVICE, kinds.NETWORK_POLICY)
    before = [(await operator.get(kind, "corp-sts"))["spec"] for kind in kinds_of]
    container = {
        "name": "sts",
        "startupProbe": {"exec": {"command": ["false"]}},
        "livenessProbe": {"httpGet": {"host": "192.0.2.1"}},
        "ports": [{"containerPort": 8443, "protocol": "TCP", "hostPort": 443}],
        "resources": {"limits": {"cpu": "1"}},
    }
    pod = {
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["192.0.2.1"]},
        "nodeName": "x",
        "nodeSelector": {"x": "y"},
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "runtimeClassName": "x",
        "schedulerName": "x",
        "hostUsers": False,
        "imagePullSecrets": [{"name": "x"}],
        "readinessGates": [{"conditionType": "x.example/y"}],
        "containers": [container],
    }
    selector = {"matchLabels": {"x": "y"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}
    patches: dict[str, Any] = {
        "deployment": {"paused": True, "minReadySeconds": 60, "template": {"spec": pod}},
        "service": {"selector": {"x": "y"}, "publishNotReadyAddresses": True, "internalTrafficPolicy": "Local"},
        "networkpolicy": {"podSelector": selector},
    }
    for kind, spec in patches.items():
        patch = json.dumps({"spec": spec})
        kubectl("patch", kind, "corp-sts", "--namespace", operator.namespace, "--patch", patch)
    changed = [(await operator.get(kind, "corp-sts"))["spec"] for kind in kinds_of]
    assert all(map(ne, changed, before))
    await operator.run(2)
    assert [(await operator.get(kind, "corp-sts"))["spec"] for kind in kinds_of] == before
    await at_rest(operator)


async def test_what_a_spec_no_longer_says_is_gone_after_one_write(
    operator: Operator, kubectl: Callable[..., str]
) -> None:
    await operator.run()
    rich = (await operator.get(kinds.DEPLOYMENT, "corp-sts"))["spec"]["template"]
    assert {"nodeSelector", "tolerations"} <= rich["spec"].keys()
    asked = operator.cluster.asked
    patch = json.dumps([{"op": "remove", "path": "/spec/workload"}])
    kubectl("patch", "identityprovider", "corp", "--namespace", operator.namespace, "--type=json", "-p", patch)
    await operator.run()
    made = await operator.get(kinds.DEPLOYMENT, "corp-sts")
    plain = made["spec"]["template"]
    assert "team" in rich["metadata"]["labels"]
    assert "team" not in plain["metadata"]["labels"]
    assert {"nodeSelector", "tolerations"}.isdisjoint(plain["spec"])
    assert plain["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"memory": "512Mi"},
    }
    assert made["metadata"]["generation"] == 2, "one rollout"
    assert operator.cluster.asked > asked
    await at_rest(operator)


async def test_what_makes_no_valid_object_with_what_a_spec_says_anew_goes_first(
    operator: Operator, kubectl: Callable[..., str]
) -> None:
    there = ("--namespace", operator.namespace)
    await operator.run()
    container = (await operator.get(kinds.DEPLOYMENT, "corp-sts"))["spec"]["template"]["spec"]["containers"][0]
    number = [entry["name"] for entry in container["env"]].index("TAILSEAL_LOG_LEVEL")
    elsewhere = {"name": "TAILSEAL_LOG_LEVEL", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    path = f"/spec/template/spec/containers/0/env/{number}"
    theirs = json.dumps([{"op": "replace", "path": path, "value": elsewhere}])
    kubectl("patch", "deployment", "corp-sts", *there, "--type=json", "-p", theirs)
    removed = json.dumps([{"op": "remove", "path": "/spec/workload/nodeSelector"}])
    kubectl("patch", "identityprovider", "corp", *there, "--type=json", "-p", removed)
    await operator.run(2)
    pod = (await operator.get(kinds.DEPLOYMENT, "corp-sts"))["spec"]["template"]["spec"]
    assert pod["containers"][0]["env"] == container["env"]
    assert "nodeSelector" not in pod
    await at_rest(operator)


async def test_whoever_scales_takes_over_as_many_replicas_as_there_are(
    operator: Operator, kubectl: Callable[..., str]
) -> None:
    there = ("--namespace", operator.namespace)
    for replicas in (3, None):
        patch = json.dumps({"spec": {"sts": {"replicas": replicas}}})
        kubectl("patch", "identityprovider", "corp", *there, "--type=merge", "-p", patch)
        await operator.run(2)
        assert (await operator.get(kinds.DEPLOYMENT, "corp-sts"))["spec"]["replicas"] == 3
    kubectl("scale", "deployment", "corp-sts", *there, "--replicas=5")
    await at_rest(operator)
    assert (await operator.get(kinds.DEPLOYMENT, "corp-sts"))["spec"]["replicas"] == 5


async def test_a_foreign_object_is_not_adopted(operator: Operator, kubectl: Callable[..., str]) -> None:
    kubectl("create", "service", "clusterip", "corp-sts", "--tcp=80", "--namespace", operator.namespace)
    await operator.run(2)
    theirs = await operator.get(kinds.SERVICE, "corp-sts")
    assert theirs["spec"]["selector"] == {"app": "corp-sts"}
    assert meta.MANAGED_BY not in theirs["metadata"]["labels"]


async def test_a_replica_that_is_to_go_stays_until_the_deployment_controller_has_the_other_one_up(
    operator: Operator, kubectl: Callable[..., str]
) -> None:
    storage = {"type": "Postgres", "postgres": {"urlSecretRef": {"name": "db"}}}
    tailnet = {"mode": "Serve", "auth": {"authKeySecretRef": {"name": "join"}}}
    _change(operator, kubectl, storage=storage, tailnet=tailnet, idp={"replicas": 2})
    await operator.run(2)
    for number in range(2):
        await _rolled_out(operator, kubectl, number)
    await operator.run(2)
    _change(operator, kubectl, idp={"replicas": 1}, workload={"labels": {"team": "y"}})
    await operator.run(3)
    going = Ref(kinds.DEPLOYMENT, operator.namespace, "corp-idp-1")
    assert await operator.cluster.get(going) is not None
    await _rolled_out(operator, kubectl, 0, team="y")
    await operator.run(1)
    assert await operator.cluster.get(going) is None


def _change(operator: Operator, kubectl: Callable[..., str], **spec: Any) -> None:  # noqa: ANN401 - any field
    patch = json.dumps({"spec": spec})
    kubectl("patch", "identityprovider", "corp", "--namespace", operator.namespace, "--type=merge", "-p", patch)


async def _rolled_out(operator: Operator, kubectl: Callable[..., str], number: int, team: str = "x") -> None:
    """No kubelet is there: its pod is said to be ready, for long enough, and the controller has seen that."""
    there, deadline = ("--namespace", operator.namespace), time.monotonic() + 120
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}
    patch = json.dumps({"status": {"phase": "Running", "conditions": [ready]}})
    while True:
        pods = kubectl("get", "pods", *there, f"--selector={meta.ORDINAL_LABEL}={number},team={team}", "-o=name")
        for pod in pods.split():
            kubectl("patch", pod, *there, "--subresource=status", "--type=merge", "-p", patch, check=False)
        found = await operator.get(kinds.DEPLOYMENT, f"corp-idp-{number}")
        status, generation = found.get("status", {}), found["metadata"]["generation"]
        counted = [status.get(name) for name in ("replicas", "updatedReplicas", "availableReplicas")]
        if counted == [1, 1, 1] and status.get("observedGeneration") == generation:
            return
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.2)
