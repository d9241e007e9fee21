"""What others put into workers' Deployments, on the real API server: allowed containers stay, others are no fight."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chart.installed import ACCOUNT, OBJECTS, PROVIDERS, Kubectl, eventually
from tailseal.reconcile.repairs import IN_VAIN
from tailseal_dev import process
from tailseal_dev.controlplane import ControlPlane, ControlPlaneError

pytestmark = [pytest.mark.cluster, pytest.mark.helm, pytest.mark.usefixtures("helm")]

SPACE = f"--namespace={PROVIDERS}"
NAME = "deployment/corp-sts"
MESH, SPY = ("mesh", "registry.corp.example/mesh/proxy:1"), ("spy", "evil:1")
MIRROR = ("sts", "mirror.example/tailseal:1")
"""For our own image."""

INJECTOR = """\
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: injector}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: >-
        Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
        containers: [Object.spec.template.spec.containers{name: "NAME", image: "IMAGE"}]}}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: injector}
spec:
  policyName: injector
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: SPACE}}}
"""


class Seen:
    """A provider whose operator runs, and what happens to one of its Deployments."""

    def __init__(self, plane: ControlPlane) -> None:
        self.kubectl, self._plane = plane.kubectl, plane

    def containers(self) -> set[str]:
        path = "--output=jsonpath={.spec.template.spec.containers[*].name}"
        return set(self.kubectl("get", NAME, SPACE, "--ignore-not-found", path).split())

    def writes(self) -> int:
        """How often the operator wrote the Deployment, whether that changed anything or not, but for who scales it."""
        return sum(
            event["user"]["username"] == ACCOUNT
            and f"/{PROVIDERS}/deployments/corp-sts" in event["requestURI"]
            and not re.search("dryRun|-scale", event["requestURI"])
            and event["responseStatus"].get("code") in (200, 201)
            for event in self._plane.audit()
        )

    def said(self, reason: str) -> int:
        """How many events of that reason there are about the Deployment."""
        events = json.loads(self.kubectl("get", "events", SPACE, "--output=json"))["items"]
        return sum(event["reason"] == reason and "Deployment corp-sts" in event["message"] for event in events)

    def condition(self, kind: str) -> str:
        """What it says of the provider."""
        path = f'--output=jsonpath={{.status.conditions[?(@.type=="{kind}")].message}}'
        return self.kubectl("get", "identityprovider/corp", SPACE, path)

    def put_in(self, *containers: tuple[str, str]) -> None:
        """As another field manager, with a volume each."""
        pod = {
            "containers": [
                {"name": name, "image": image, "volumeMounts": [{"name": name, "mountPath": "/theirs"}]}
                for name, image in containers
            ],
            "volumes": [{"name": name, "emptyDir": {}} for name, _ in containers],
        }
        patch = json.dumps({"spec": {"template": {"spec": pod}}})
        self.kubectl("patch", NAME, SPACE, "--field-manager=injector", "--patch", patch)

    def inject(self, container: tuple[str, str]) -> None:
        """Into every write from now on."""
        name, image = container
        manifest = INJECTOR.replace("NAME", name).replace("IMAGE", image).replace("SPACE", PROVIDERS)
        self.kubectl("apply", "-f", "-", stdin=manifest)
        eventually(lambda: name in self._injected())

    def inject_nothing(self) -> None:
        """From now on."""
        for kind in ("mutatingadmissionpolicybinding", "mutatingadmissionpolicy"):
            self.kubectl("delete", kind, "injector", "--ignore-not-found")
        eventually(lambda: self._injected() == ["probe"])

    def _injected(self) -> list[str]:
        path = "--output=jsonpath={.spec.template.spec.containers[*].name}"
        asked = ("create", "deployment", "probe", "--image=probe", "--dry-run=server", SPACE, path)
        return self.kubectl(*asked).split()

    def looked_at(self) -> None:
        """The operator has looked at everything since: twice it made a Service anew that was deleted."""
        get = ("get", "service/corp-sts", SPACE, "--ignore-not-found", "--output=jsonpath={.metadata.uid}")
        for _ in range(2):
            uid = self.kubectl(*get)
            self.kubectl("delete", "service/corp-sts", SPACE)
            eventually(lambda uid=uid: self.kubectl(*get) not in ("", uid))  # type: ignore[misc]


@pytest.fixture(scope="module")
def provider(operator_alone: Path, control_plane: ControlPlane) -> Iterator[Seen]:
    made = Seen(control_plane)
    made.kubectl("apply", "-f", "-", stdin=OBJECTS)
    yield made
    made.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=OBJECTS)


@pytest.fixture
def seen(provider: Seen, operator_alone: Path, kubectl: Kubectl) -> Iterator[Seen]:
    try:
        eventually(lambda: provider.containers() == {"sts"})
        provider.looked_at()
        kubectl("delete", "events", "--all", SPACE)
        yield provider
    except (AssertionError, ControlPlaneError) as error:
        pytest.fail(f"{error}\n{process.tail(operator_alone, 40)}")
    finally:
        provider.inject_nothing()
        kubectl("delete", NAME, SPACE, "--ignore-not-found")


def test_what_is_allowed_stays_also_while_what_is_not_is_taken_out_with_one_event(seen: Seen) -> None:
    before = seen.writes()
    seen.put_in(MESH)
    seen.looked_at()
    assert seen.containers() == {"sts", "mesh"}
    assert (seen.writes(), seen.said("Repaired")) == (before, 0)
    seen.put_in(SPY)
    eventually(lambda: seen.containers() == {"sts", "mesh"})
    eventually(lambda: seen.said("Repaired") == 1)
    seen.looked_at()
    assert seen.containers() == {"sts", "mesh"}
    assert (seen.writes(), seen.said("Repaired")) == (before + 1, 1)
    volumes = json.loads(seen.kubectl("get", NAME, SPACE, "--output=jsonpath={.spec.template.spec.volumes}"))
    assert "mesh" in {volume["name"] for volume in volumes}
    assert "spy" not in {volume["name"] for volume in volumes}


def test_what_an_admission_policy_may_put_into_every_write_stays_and_costs_none(seen: Seen) -> None:
    seen.inject(MESH)
    seen.kubectl("delete", NAME, SPACE)
    before = seen.writes()
    eventually(lambda: seen.containers() == {"sts", "mesh"})
    seen.looked_at()
    assert seen.writes() <= before + 1, "made once"
    assert seen.said("NotRepaired") == 0


def test_what_is_only_called_like_an_allowed_container_is_taken_out(seen: Seen) -> None:
    seen.put_in(("mesh", SPY[1]))
    eventually(lambda: seen.containers() == {"sts"})


@pytest.mark.parametrize("container", [SPY, MIRROR], ids=["spy", "mirror"])
def test_what_an_admission_policy_may_not_do_is_said_once_and_tried_once_a_minute(
    seen: Seen, container: tuple[str, str]
) -> None:
    seen.inject(container)
    before, since = seen.writes(), time.monotonic()
    seen.kubectl("annotate", NAME, SPACE, "a=b")
    eventually(lambda: seen.said("NotRepaired") == 1)
    for _ in range(3):
        seen.looked_at()
    tries = seen.writes() - before
    assert 1 <= tries <= 1 + (time.monotonic() - since) / IN_VAIN
    assert (seen.containers(), seen.said("NotRepaired"), seen.said("Repaired")) == ({"sts", container[0]}, 1, 0)
    assert f"{container[0]} (image {container[1]})" in seen.condition("Repaired")
    seen.kubectl("delete", NAME, SPACE)
    eventually(lambda: "may run no image but" in seen.condition("Programmed"))
    assert seen.containers() == set(), "nothing was there before: the fence takes it for the operator's own"
