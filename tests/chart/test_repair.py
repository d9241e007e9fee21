"""What somebody made of a worker's Deployment, put right under the chart's fences: all of it, in one write."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import pytest

from chart.installed import IMAGE, OBJECTS, PROVIDERS, Kubectl, fenced
from chart.test_fences_deployments import MESH, POD
from fakes.context import make_context
from tailseal.api.meta import MANAGER
from tailseal.cluster.errors import Conflict, Forbidden, Invalid
from tailseal.cluster.kube import KubeCluster
from tailseal.domain.render.applied import stamped
from tailseal.domain.render.common import Provider
from tailseal.domain.render.deployment import Own, Workload, deployment
from tailseal.domain.render.sidecar import Sidecar
from tailseal.reconcile.context import OperatorSettings
from tailseal.reconcile.owned import ensure
from tailseal_dev import chart
from tailseal_dev.controlplane import ControlPlane, ControlPlaneError

pytestmark = [pytest.mark.cluster, pytest.mark.helm, pytest.mark.usefixtures("helm")]

SETTINGS: Final = OperatorSettings(sidecars=(("mesh", "registry.corp.example/mesh/"),))
SPY: Final = {"name": "spy", "image": "spy"}
NODE: Final = Sidecar(
    image=OperatorSettings().tailscale_image, mode="Serve", hostname="idp", by="id-token", client_id="T", audience="a"
)
Pod = dict[str, Any]


@pytest.fixture(scope="module")
def provider(installed: str, kubectl: Kubectl) -> Iterator[Provider]:
    """In a namespace where the operator's account may do everything but for the fences."""
    with fenced(kubectl, "chart-repair", POD) as namespace:
        kubectl("apply", "-f", "-", stdin=OBJECTS.split("---")[1].replace(PROVIDERS, namespace))
        get = ("get", "identityprovider/corp", f"--namespace={namespace}", "--output=jsonpath={.metadata.uid}")
        yield Provider(namespace, "corp", kubectl(*get))


class Repair:
    """One Deployment as the operator made it, and as somebody made something else of it."""

    def __init__(self, kubectl: Kubectl, cluster: KubeCluster, writes: list[str]) -> None:
        self._kubectl, self._writes = kubectl, writes
        self._ctx = dataclasses.replace(make_context(settings=SETTINGS), cluster=cluster)

    async def writes(self, wanted: Pod) -> list[str]:
        """What it takes to make the Deployment as wanted; refused, it is what the API server said."""
        try:
            while True:
                self._writes.clear()
                with contextlib.suppress(Conflict):  # with the controller that writes its status
                    await ensure(self._ctx, wanted, manager=MANAGER)
                    return list(self._writes)
        except (Forbidden, Invalid) as error:
            return [str(error)]

    def there(self, wanted: Pod) -> Pod:
        found: Pod = json.loads(self._kubectl("get", *self._named(wanted), "--output=json"))
        for name in ("resourceVersion", "generation", "annotations"):
            del found["metadata"][name]
        return {name: found[name] for name in ("metadata", "spec")}

    def spoil(self, wanted: Pod, change: Callable[[Pod], object]) -> None:
        while True:
            found = json.loads(self._kubectl("get", *self._named(wanted), "--output=json"))
            change(found)
            try:
                self._kubectl("replace", "-f", "-", stdin=json.dumps(found))
            except ControlPlaneError as error:
                if "(Conflict)" not in str(error):  # as above
                    raise
            else:
                return

    def end(self, wanted: Pod) -> None:
        self._kubectl("delete", *self._named(wanted))

    @staticmethod
    def _named(wanted: Pod) -> tuple[str, str]:
        return f"deployment/{wanted['metadata']['name']}", f"--namespace={wanted['metadata']['namespace']}"


@pytest.fixture
async def repair(provider: Provider, kubectl: Kubectl, control_plane: ControlPlane) -> AsyncIterator[Repair]:
    token = kubectl("create", "token", "tailseal-operator", f"--namespace={chart.NAMESPACE}").strip()
    config, writes = control_plane.kubeconfig_with_token("chart-repair", token), list[str]()
    async with KubeCluster(kubeconfig=str(config), wrote=writes.append) as cluster:
        yield Repair(kubectl, cluster, writes)


def pod(obj: Pod) -> Pod:
    found: Pod = obj["spec"]["template"]["spec"]
    return found


def named(entries: list[Pod], name: str) -> Pod:
    return next(entry for entry in entries if entry["name"] == name)


def another_account_s_token(obj: Pod) -> None:
    pod(obj)["serviceAccountName"] = pod(obj)["serviceAccount"] = "default"
    (token, *_) = named(pod(obj)["volumes"], "tailscale-token")["projected"]["sources"]
    token["serviceAccountToken"]["audience"] = "vault"
    pod(obj)["containers"].append(SPY)


def a_sidecar_that_is_root_in_a_changed_pod(obj: Pod) -> None:
    pod(obj)["securityContext"] |= {"runAsNonRoot": False, "supplementalGroups": [0]}
    image = MESH.partition("image: ")[2]
    pod(obj)["containers"].append({"name": "mesh", "image": image, "securityContext": {"runAsUser": 0}})


def a_sidecar_that_sees_keys_and_a_spy(obj: Pod) -> None:
    image, seen = MESH.partition("image: ")[2], {"name": "signing", "mountPath": "/keys"}
    pod(obj)["containers"] += [{"name": "mesh", "image": image, "volumeMounts": [seen]}, SPY]
    pod(obj)["securityContext"]["seccompProfile"] = {"type": "Unconfined"}


def no_labels_and_a_spy(obj: Pod) -> None:
    del obj["metadata"]["labels"]
    pod(obj)["containers"].append(SPY)


def two_pods_at_once(obj: Pod) -> None:
    obj["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def changed(path: str, **members: object) -> Callable[[Pod], None]:
    """What adds members to whatever stands at the path, by names and numbers, in the pod."""

    def change(obj: Pod) -> None:
        place: Any = pod(obj)
        for step in path.split():
            place = (
                place[step] if isinstance(place, dict) else place[int(step)] if step.isdigit() else named(place, step)
            )
        place.update(members)

    return change


SPOILED: dict[str, Callable[[Pod], object]] = {
    "another account's token": another_account_s_token,
    "a sidecar that is root in a changed pod": a_sidecar_that_is_root_in_a_changed_pod,
    "a sidecar that sees keys, and a spy": a_sidecar_that_sees_keys_and_a_spy,
    "no labels, and a spy": no_labels_and_a_spy,
    "two pods at once": two_pods_at_once,
    "some of the keys' files": changed(
        "volumes signing projected sources 0 secret", items=[{"key": "signing.json", "path": "signing.json"}]
    ),
    "keys that may not be missing": changed("volumes signing projected sources 0 secret", optional=False),
    "keys for everybody": changed("volumes signing projected", defaultMode=0o444),
    "a part of a volume": changed("containers idp volumeMounts signing", subPath="x"),
    "a part by a variable": changed("containers idp volumeMounts signing", subPathExpr="$(POD_NAME)"),
    "a mount that spreads": changed("containers idp volumeMounts signing", mountPropagation="HostToContainer"),
    "a mount that cannot be written": changed("containers idp volumeMounts run", readOnly=True),
    "what the node's token is for": changed(
        "volumes tailscale-token projected sources 0 serviceAccountToken", audience="vault"
    ),
    "no AppArmor": changed("containers idp securityContext", appArmorProfile={"type": "Unconfined"}),
    "what is waited for after a stop": changed("containers idp", terminationMessagePolicy="FallbackToLogsOnError"),
    "no AppArmor by an annotation": lambda obj: obj["spec"]["template"]["metadata"].update(
        annotations={"container.apparmor.security.beta.kubernetes.io/idp": "unconfined"}
    ),
    "a constraint": lambda obj: pod(obj)["topologySpreadConstraints"].append(
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    ),
    "another registry's credentials": lambda obj: pod(obj)["imagePullSecrets"].append({"name": "theirs"}),
    "a variable twice": lambda obj: pod(obj)["containers"][0]["env"].insert(0, {"name": "POD_IP", "value": "::"}),
}


async def test_what_somebody_made_of_a_node_s_deployment_is_put_right_in_one_write(
    repair: Repair, provider: Provider
) -> None:
    workload = Workload("idp", IMAGE, 0, pull_secrets=["pull"], own=Own(0, file=True, sidecar=NODE))
    wanted = stamped(deployment(provider, workload))
    assert await repair.writes(wanted) == ["PATCH"]
    made, left = repair.there(wanted), dict[str, object]()
    assert await repair.writes(wanted) == [], "what the API server adds is nobody's change"
    for name, spoil in SPOILED.items():
        repair.spoil(wanted, spoil)
        writes = await repair.writes(wanted)
        if (writes, repair.there(wanted)) == (["PATCH"], made):
            continue
        left[name] = writes
        repair.end(wanted)
        await repair.writes(wanted)
        made = repair.there(wanted)
    repair.end(wanted)
    assert left == {}


def labelled_otherwise_and_a_spy(obj: Pod) -> None:
    obj["spec"]["template"]["metadata"]["labels"]["team"] = "theirs"
    pod(obj)["containers"].append(SPY)


async def test_a_label_that_was_put_right_goes_with_the_spec_that_says_it(repair: Repair, provider: Provider) -> None:
    """What a merge has written stays with whoever merged: no apply takes it out again."""
    said = stamped(deployment(provider, Workload("sts", IMAGE, 0, labels={"team": "ours"})))
    await repair.writes(said)
    made = repair.there(said)
    repair.spoil(said, labelled_otherwise_and_a_spy)
    await repair.writes(said)
    assert repair.there(said) == made
    silent = stamped(deployment(provider, Workload("sts", IMAGE, 0)))
    await repair.writes(silent)
    labels = repair.there(silent)["spec"]["template"]["metadata"]["labels"]
    repair.end(silent)
    assert labels == silent["spec"]["template"]["metadata"]["labels"]
