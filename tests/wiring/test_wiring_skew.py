"""CRDs that are older or newer than the operator, on a real API server: it says so as it starts, and works on."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tailseal.api.crd.skew import OPENAPI_PATH, skew
from tailseal_dev import process
from tailseal_dev.controlplane import ControlPlane
from wiring.conftest import CRDS
from wiring.waiting import PATIENCE

pytestmark = pytest.mark.cluster

Spoil = Callable[[dict[str, Any]], None]


def _eventually(condition: Callable[[], object], said: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {said()}"
        time.sleep(0.2)


def _served(plane: ControlPlane) -> list[str]:
    """What an operator would say of the CRDs, as the API server describes them just now."""
    document: Mapping[str, Any] = json.loads(plane.kubectl("get", f"--raw={OPENAPI_PATH}"))
    return skew(document)


@pytest.fixture
def change(plane: ControlPlane) -> Iterator[Callable[[Spoil], None]]:
    """Puts in a CRD of SigningKeys that is not this version's, and takes care that the right one comes back."""
    path = CRDS / "tailseal.dev_signingkeys.yaml"

    def change(spoil: Spoil) -> None:
        crd = yaml.safe_load(path.read_text())
        spoil(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"])
        plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(crd))
        _eventually(lambda: _served(plane))

    yield change
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(path))
    _eventually(lambda: not _served(plane))


def _older(properties: dict[str, Any]) -> None:
    del properties["spec"]["properties"]["revokedKeyIDs"]
    del properties["status"]["properties"]["nextRotationTime"]  # which the operator writes, as it does the next
    key = properties["status"]["properties"]["keys"]["items"]
    del key["properties"]["state"]
    key["required"].remove("state")


def _newer(properties: dict[str, Any]) -> None:
    properties["spec"]["properties"]["later"] = {"type": "string"}
    properties["status"]["properties"]["later"] = {"type": "string"}


OLDER = (
    "the CRDs are older than this operator: the API server forgets SigningKey.spec.revokedKeyIDs, "
    "SigningKey.status.nextRotationTime, SigningKey.status.keys[].state; apply those of this version"
)
NEWER = (
    "the CRDs are newer than this operator: it does nothing about SigningKey.spec.later, SigningKey.status.later; "
    "upgrade it"
)


@pytest.mark.parametrize(("spoil", "said"), [(_older, OLDER), (_newer, NEWER)], ids=["older", "newer"])
def test_an_operator_that_meets_other_crds_says_so_and_works_with_what_both_know(
    change: Callable[[Spoil], None], plane: ControlPlane, kubeconfig: str, tmp_path: Path, spoil: Spoil, said: str
) -> None:
    namespace, log = f"skew-{spoil.__name__.strip('_')}", tmp_path / "operator.log"
    plane.kubectl("create", "namespace", namespace)
    change(spoil)
    arguments = ["operator", f"--kubeconfig={kubeconfig}", "--health=127.0.0.1:0", f"--namespace={namespace}"]
    started = process.start([sys.executable, "-m", "tailseal", *arguments], log, dict(os.environ))
    try:
        _eventually(lambda: "primed" in log.read_text(), log.read_text)
        (line,) = (json.loads(line) for line in log.read_text().splitlines() if said in line)
        assert line["level"] == "warning"
        key = {"apiVersion": "tailseal.dev/v1alpha1", "kind": "SigningKey", "spec": {}}
        manifest = key | {"metadata": {"name": "corp", "namespace": namespace}}
        plane.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
        shown = ("get", "signingkey/corp", "-n", namespace, "-o=jsonpath={.status.activeKeyID}{.status.keys[0].keyID}")
        _eventually(lambda: plane.kubectl(*shown), log.read_text)
    finally:
        process.stop(started, grace=5)
