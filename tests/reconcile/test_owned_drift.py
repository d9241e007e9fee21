"""What somebody changed in an object that an IdentityProvider owns: put back and said, or left where it may stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fakes.owned import container, essence, repairs, template
from fakes.provider import NS, assert_ready, standard
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.port import Kind, Object

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
