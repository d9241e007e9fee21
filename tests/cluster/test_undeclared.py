"""What is left of a status that older CRDs do not declare as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pytest

from tailseal.api.meta import API_VERSION
from tailseal.cluster.kube import KubeCluster
from tailseal.cluster.undeclared import declared


class ControlPlane(Protocol):
    kubeconfig: Path


OBJ = {"kind": "SigningKey", "status": {"a": 1, "keys": [{"keyID": "k", "state": "x"}, {"keyID": "l", "state": "x"}]}}
SAID = "500 : failed to create typed patch object (ns/corp; tailseal.dev/v1alpha1, Kind=SigningKey): "
LACKS = "field not declared in schema"


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (f".status.a: {LACKS}", {"keys": OBJ["status"]["keys"]}),  # type: ignore[index]
        (f'.status.keys[keyID="k"].state: {LACKS}', {"a": 1, "keys": [{"keyID": "k"}, {"keyID": "l"}]}),
        (f"errors:\n  .status.a: {LACKS}\n  .status.keys: {LACKS}", {}),
        (f".status.other: {LACKS}", OBJ["status"]),
        ("status.keys: Too many: 2: must have at most 1 items", OBJ["status"]),
        ("status.others: Too many: 2: must have at most 1 items", OBJ["status"]),
        ("spec.keys: Too many: 2: must have at most 1 items", OBJ["status"]),
        (f".spec.a: {LACKS}", OBJ["status"]),
        (f".status: {LACKS}", OBJ["status"]),
        ("etcdserver: request timed out", OBJ["status"]),
    ],
)
def test_what_the_server_does_not_know_goes_and_nothing_else(refusal: str, status: object) -> None:
    assert declared(OBJ, SAID + refusal) == {"kind": "SigningKey", "status": status}


def test_of_a_list_that_is_too_long_the_last_go() -> None:
    obj = OBJ | {"status": {"conditions": [{"type": "Ready"}, {"type": "New"}]}}
    after = declared(obj, f"{SAID}status.conditions: Too many: 2: must have at most 1 items")
    assert after["status"] == {"conditions": [{"type": "Ready"}]}


@pytest.mark.cluster
@pytest.mark.usefixtures("crds")
async def test_of_more_conditions_than_the_crds_take_the_last_go_and_the_rest_is_written(
    control_plane: ControlPlane, namespace: str
) -> None:
    me = {"apiVersion": API_VERSION, "kind": "SigningKey", "metadata": {"name": "corp", "namespace": namespace}}
    said: dict[str, Any] = {
        "status": "True",
        "reason": "R",
        "message": "",
        "lastTransitionTime": "2027-01-01T00:00:00Z",
    }
    many = [{"type": f"T{number}", **said} for number in range(34)]
    async with KubeCluster(kubeconfig=str(control_plane.kubeconfig)) as cluster:
        await cluster.apply(me | {"spec": {"algorithm": "ES256"}}, manager="m")
        after = await cluster.apply_status(me | {"status": {"observedGeneration": 1, "conditions": many}}, manager="m")
    assert after["status"] == {"observedGeneration": 1, "conditions": many[:32]}
