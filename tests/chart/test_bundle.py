"""The plain bundle, really installed by kubectl on an API server of its own: once is enough, and its operator works."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from chart.installed import OBJECTS, PROVIDERS, eventually, operator_as_deployed, refused
from fakes.pages import Reader, blocks
from tailseal_dev import chart, process
from tailseal_dev.controlplane import ControlPlane, ControlPlaneError
from tailseal_dev.kstatus import kstatus
from tailseal_dev.localnode.start import running

pytestmark = pytest.mark.cluster

DEPLOY = f"--kustomize={chart.ROOT / 'deploy'}"
INSTALLING = "Installation, and what it says when something is wrong"
SPACE = f"--namespace={chart.PROVIDERS}"


@pytest.fixture
def reader(plane: ControlPlane, tmp_path: Path) -> Reader:
    own = "registry.corp.example/tailseal"
    return Reader(plane, tmp_path / "clone", {"YOUR/tailseal:TAG": f"{own}:9.9.9", "YOUR/tailseal": own})


def _there(plane: ControlPlane) -> list[Any]:
    """All of the bundle's objects, without what controllers say of them."""
    objects = json.loads(plane.kubectl("get", DEPLOY, "--output=json"))["items"]
    for obj in objects:
        obj.pop("status", None)
        obj["metadata"].pop("resourceVersion")
        obj["metadata"].get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
    return list(objects)


def _judged(plane: ControlPlane) -> list[str]:
    """What Flux would say of all our objects."""
    return kstatus(*json.loads(plane.kubectl("get", "tailseal", SPACE, "--output=json"))["items"])


def test_applied_as_the_documentation_says_it_runs_an_operator_that_reconciles_and_applied_again_nothing_changes(
    plane: ControlPlane, reader: Reader, tmp_path: Path
) -> None:
    kubectl = plane.kubectl
    (documented,) = [
        block for block in blocks("docs/installation.md", INSTALLING, "console") if "kubectl kustomize" in block
    ]
    reader.follows(documented)
    plane.await_crds()
    known = "--for=jsonpath={.status.observedGeneration}=1"  # else it may find no fence, and say so for long
    kubectl("wait", "validatingadmissionpolicies", "--all", known, "--timeout=120s")
    kubectl("apply", "-f", "-", stdin=OBJECTS.replace(PROVIDERS, chart.PROVIDERS))
    assert _judged(plane) == ["InProgress"] * 3, "nobody has looked at them yet"
    with (
        running(plane.kubeconfig, tmp_path / "node"),
        operator_as_deployed(plane, tmp_path / "operator.log") as log,
    ):
        try:
            for name in ("signingkey/corp", "identityprovider/corp", "trustpolicy/deploy"):
                kubectl("wait", name, "--for=condition=Ready", SPACE, "--timeout=120s")
        except ControlPlaneError as error:
            pytest.fail(f"{error}\n{process.tail(log, 40)}")
        assert _judged(plane) == ["Current"] * 3
        assert refused(plane, log) == []
        path = "--output=jsonpath={.status.conditions[*].type}"
        assert "Fenced" not in kubectl("get", "identityprovider/corp", SPACE, path).split()
        before = _there(plane)
        reader.follows(documented)
        assert _there(plane) == before
        images = re.findall(r"[\w./-]*tailseal:\d[\w.]*", json.dumps(before))
        assert set(images) == {"registry.corp.example/tailseal:9.9.9"}, "operator, workers and fence"
        reserved = '{"spec":{"grants":[{"name":"api","jwt":{"audiences":["https://idp.corp.example"]}}]}}'
        kubectl("patch", "trustpolicy/deploy", SPACE, "--type=merge", f"--patch={reserved}")
        eventually(lambda: "Failed" in _judged(plane))


def test_applied_from_the_client_a_second_time_finds_nothing_to_change_and_the_chart_takes_over_as_documented(
    plane: ControlPlane, reader: Reader, tmp_path: Path
) -> None:
    first, second = (plane.kubectl("apply", DEPLOY).splitlines() for _ in range(2))
    assert [line for line in first if not line.endswith(" created")] == []
    assert [line for line in second if not line.endswith(" unchanged")] == []
    assert len(first) == len(second)
    key = ("signingkey/corp", SPACE, "--output=jsonpath={.metadata.uid}")
    plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    plane.kubectl("create", "-f", "-", stdin=OBJECTS.replace(PROVIDERS, chart.PROVIDERS))
    before = plane.kubectl("get", *key)
    (documented,) = blocks("docs/installation.md", "With and without Helm", "console")
    removed, installed = reader.follows(documented)
    left = [line for line in first if line.startswith(("namespace/", "customresourcedefinition"))]
    assert len(removed.splitlines()) == len(first) - len(left), "all but these"
    assert "STATUS: deployed" in installed
    assert plane.kubectl("get", *key) == before
    _upgrades_with_other_crds_as_documented(reader, tmp_path / "next")


def _upgrades_with_other_crds_as_documented(reader: Reader, later: Path) -> None:
    """Refused with what the page says, by whom `kubectl` has a say in them; with its flag it works."""
    shutil.copytree(chart.ROOT / "charts" / "tailseal", later)
    for path in later.rglob("*tailseal.dev_*.yaml"):
        path.write_text(path.read_text().replace("description: ", "description: Later. ", 1))
    upgrade = f"helm upgrade tailseal {later} --namespace tailseal-system --reuse-values"
    page = (chart.ROOT / "docs" / "installation.md").read_text()
    said = reader.types(f"{upgrade} 2>&1 || true")
    assert re.search(r'conflict with \\?"kubectl', said), said
    assert 'conflict with "kubectl…": .spec.versions' in page
    assert "STATUS: deployed" in reader.types(f"{upgrade} --force-conflicts")
