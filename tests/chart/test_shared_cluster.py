"""What an installation does beside another one, and when a namespace of its providers is deleted under it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chart.installed import FLAGS, OBJECTS, OPEN, PROVIDERS, Kubectl, eventually
from tailseal_dev import chart, process
from tailseal_dev.controlplane import ControlPlane, ControlPlaneError
from tailseal_dev.ports import free_ports

pytestmark = [pytest.mark.cluster, pytest.mark.helm, pytest.mark.usefixtures("helm")]

SECOND = "second-installation"
ELSEWHERE = OBJECTS.replace(PROVIDERS, OPEN).replace("idp.corp.example", "open.corp.example")
KINDS = ("signingkey/corp", "identityprovider/corp", "trustpolicy/deploy")


@pytest.fixture
def second(operator: Path, control_plane: ControlPlane, tmp_path: Path) -> Iterator[Path]:
    """An operator that looks after all namespaces, and may; its log."""
    config = control_plane.kubeconfig_for(SECOND, ["system:masters"])
    (health,) = free_ports(1)
    log = tmp_path / "second.log"
    arguments = ["operator", f"--kubeconfig={config}", f"--health=127.0.0.1:{health}"]
    started = process.start([sys.executable, "-m", "tailseal", *arguments], log, dict(os.environ))
    yield log
    process.stop(started, grace=5)


def test_of_two_installations_one_acts_and_the_other_says_that_it_does_not(
    second: Path, operator: Path, control_plane: ControlPlane, kubectl: Kubectl
) -> None:
    eventually(lambda: second.exists() and '"primed"' in second.read_text())
    kubectl("apply", "-f", "-", stdin=OBJECTS)
    (alone,) = (text for text in ELSEWHERE.split("---\n") if "kind: IdentityProvider\n" in text)
    try:
        _await_ready(kubectl, PROVIDERS, operator)
        eventually(lambda: _claimed(kubectl, PROVIDERS) > 0)
        kubectl("annotate", "identityprovider/corp", "look=again", f"--namespace={PROVIDERS}")
        kubectl("apply", "-f", "-", stdin=alone)  # told of after the other one was looked at again
        eventually(lambda: _claimed(kubectl, OPEN) > 0)
        assert (_claimed(kubectl, PROVIDERS), _claimed(kubectl, OPEN)) == (1, 1)
    finally:
        kubectl("delete", "--ignore-not-found", "-f", "-", stdin=f"{OBJECTS}---\n{alone}")
    written = [line for line in control_plane.writes_by(SECOND) if "/events" not in line and "dryRun" not in line]
    assert [line for line in written if PROVIDERS in line or OPEN in line] == []
    assert "namespace is another installation's" in second.read_text()


def test_a_namespace_that_is_deleted_midway_takes_nothing_else_along(operator: Path, kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=ELSEWHERE)
    _await_ready(kubectl, OPEN, operator)
    try:
        kubectl("delete", "namespace", OPEN, "--timeout=120s")
        kubectl("apply", "-f", "-", stdin=OBJECTS)
        _await_ready(kubectl, PROVIDERS, operator)
    finally:
        kubectl("create", "namespace", OPEN, check=False)
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=chart.render(*FLAGS))
    try:
        kubectl("apply", "-f", "-", stdin=ELSEWHERE)
        _await_ready(kubectl, OPEN, operator)
    finally:
        kubectl("delete", "--ignore-not-found", "-f", "-", stdin=f"{OBJECTS}---\n{ELSEWHERE}")
    failures = [line for line in operator.read_text().splitlines() if "reconcile failed" in line]
    assert len(failures) < 50, "what is being deleted is not asked for again and again"


def _claimed(kubectl: Kubectl, namespace: str) -> int:
    """How many events say, at the provider that is there now, that its namespace is another installation's."""
    uid = kubectl("get", "identityprovider/corp", f"--namespace={namespace}", "-o=jsonpath={.metadata.uid}")
    path = "-o=jsonpath={range .items[?(@.reason=='NamespaceClaimed')]}{.involvedObject.uid} {end}"
    return kubectl("get", "events", f"--namespace={namespace}", path).split().count(uid)


def _await_ready(kubectl: Kubectl, namespace: str, log: Path) -> None:
    try:
        for name in KINDS:
            kubectl("wait", name, "--for=condition=Ready", f"--namespace={namespace}", "--timeout=120s")
    except ControlPlaneError as error:
        seen = kubectl("get", "tailseal", f"--namespace={namespace}", "-o=wide", check=False)
        pytest.fail(f"{error}\n{seen}\n{process.tail(log, 30)}")
