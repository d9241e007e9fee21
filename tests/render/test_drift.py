"""Drift: what counts as a difference, what must go, and what the API server adds by itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tailseal.domain.render import bundle, drift
from tailseal.domain.render.common import Provider
from tailseal.domain.render.deployment import Workload, deployment
from tailseal.domain.render.service import service

PROVIDER = Provider("identity", "corp", "uid-1")
WANTED = deployment(PROVIDER, Workload("sts", "x", replicas=2, resources={"requests": {"cpu": "1000m"}}))


def defaulted() -> dict[str, Any]:
    """As an API server gives it back."""
    present = copy.deepcopy(WANTED)
    present["metadata"] |= {"uid": "u", "resourceVersion": "1", "generation": 1}
    present["status"] = {"replicas": 2}
    present["spec"]["progressDeadlineSeconds"] = 600
    pod = present["spec"]["template"]["spec"]
    pod |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    pod["serviceAccount"] = pod["serviceAccountName"]
    pod["containers"][0] |= {
        "terminationMessagePath": "/dev/termination-log",
        "resources": {"requests": {"cpu": "1"}},
    }
    pod["containers"][0]["readinessProbe"]["successThreshold"] = 1
    return present


def test_what_the_api_server_adds_is_no_difference() -> None:
    assert not drift.differs(WANTED, defaulted())
    assert drift.foreign(WANTED, defaulted()) is None
    assert not drift.must_be_replaced(WANTED, defaulted())


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("1000m", "1", True),
        ("0.5", "500m", True),
        ("1Gi", "1024Mi", True),
        ("1e3", "1k", True),
        ("128Mi", "128M", False),
        ("1", "2", False),
        ("x", "1", False),
        ("x", "y", False),
        ("1", None, False),
    ],
)
def test_amounts_are_compared_as_numbers(left: str, right: str | None, same: bool) -> None:  # noqa: FBT001
    present = {} if right is None else {"cpu": right}
    assert drift.differs({"resources": {"limits": {"cpu": left}}}, {"resources": {"limits": present}}) is not same


@pytest.mark.parametrize(
    ("wanted", "present", "differs"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1}, {"a": 2}, True),
        ({"a": {"b": 1}}, {"a": None}, True),
        ({"a": {}}, {}, False),
        ({"a": []}, {}, False),
        ({"a": [1]}, {}, True),
        ({"a": [1, 2]}, {"a": [1, 2]}, False),
        ({"a": [1]}, {"a": [1, 2]}, True),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "B"}, {"name": "A", "value": "1"}]}, False),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "A", "value": "2"}]}, True),
        ({"env": [{"name": "A"}]}, {"env": []}, True),
        ({"a": True}, {"a": 1}, False),
    ],
)
def test_only_what_is_wanted_is_compared(wanted: Any, present: Any, differs: bool) -> None:  # noqa: ANN401, FBT001
    assert drift.differs(wanted, present) is differs


def test_a_variable_that_is_empty_is_one_without_a_value() -> None:
    wanted = {"env": [{"name": "TS_KUBE_SECRET", "value": ""}]}
    assert not drift.differs(wanted, {"env": [{"name": "TS_KUBE_SECRET"}]})
    assert drift.differs(wanted, {"env": [{"name": "TS_KUBE_SECRET", "value": "theirs"}]})
    assert drift.differs({"data": {"empty": ""}}, {"data": {}}), "an empty file is a file"


def test_a_variable_that_is_empty_is_read_from_nowhere_else() -> None:
    """An apply would leave it: only where a value is not empty, the API server refuses to have it from two places."""
    wanted, present = copy.deepcopy(WANTED), defaulted()
    for obj, more in ((wanted, {"value": ""}), (present, {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}})):
        obj["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "TS_KUBE_SECRET", **more})
    patch = drift.foreign(wanted, present)
    assert patch is not None
    changed = patch["spec"]["template"]["spec"]
    assert changed["containers"] == wanted["spec"]["template"]["spec"]["containers"]


def test_the_patch_removes_what_is_foreign_and_keeps_what_is_ours() -> None:
    present = defaulted()
    pod = present["spec"]["template"]["spec"]
    pod["hostNetwork"] = True
    pod["containers"].append({"name": "spy", "image": "evil"})
    patch = drift.foreign(WANTED, present)
    assert patch is not None
    changed = patch["spec"]["template"]["spec"]
    assert changed["hostNetwork"] is None
    assert changed["containers"] == WANTED["spec"]["template"]["spec"]["containers"]


def test_foreign_files_are_removed_by_name() -> None:
    wanted = bundle.signing(PROVIDER, {"a": b"1"})
    present = copy.deepcopy(wanted)
    present["data"] |= {"z": "eA==", "y": "eA=="}
    assert drift.foreign(wanted, present) == {"data": {"y": None, "z": None}}


def test_a_file_without_data_is_a_difference_and_nothing_foreign() -> None:
    wanted = bundle.shard(PROVIDER, 3, b"x")
    present = {name: value for name, value in wanted.items() if name != "binaryData"}
    assert drift.differs(wanted, present)
    assert drift.foreign(wanted, present) is None


def test_what_cannot_be_changed_is_replaced() -> None:
    stiff = bundle.shard(PROVIDER, 3, b"x") | {"immutable": True}
    assert drift.must_be_replaced(bundle.shard(PROVIDER, 3, b"y"), stiff)
    other = bundle.tls(PROVIDER, {}) | {"type": "kubernetes.io/tls"}
    assert drift.must_be_replaced(bundle.tls(PROVIDER, {}), other)
    selecting = defaulted()
    selecting["spec"]["selector"] = {"matchLabels": {"app": "x"}}
    assert drift.must_be_replaced(WANTED, selecting)
    assert not drift.must_be_replaced(service(PROVIDER, "sts", tls=False), service(PROVIDER, "sts", tls=True))


ALLOWED = (("mesh", "registry.example/mesh/"), ("first", "registry.example/first:"))
CERTS = {"name": "certs", "emptyDir": {}}
MESH = {
    "name": "mesh",
    "image": "registry.example/mesh/proxy:1",
    "volumeMounts": [{"name": "certs", "mountPath": "/certs"}],
}


def with_sidecar(container: dict[str, Any], *volumes: dict[str, Any]) -> dict[str, Any]:
    present = defaulted()
    pod = present["spec"]["template"]["spec"]
    pod["containers"].append(container)
    pod["volumes"].extend(volumes)
    return present


def test_an_allowed_sidecar_stays_with_its_volumes_and_any_other_goes() -> None:
    present = with_sidecar(MESH, CERTS)
    assert drift.foreign(WANTED, present, ALLOWED) is None
    assert drift.foreign(WANTED, present, (("other", "registry.example/mesh/"),)) is not None
    assert drift.foreign(WANTED, present) is not None
    present["spec"]["template"]["spec"]["containers"].append({"name": "spy", "image": "s"})
    assert drift.foreign(WANTED, present, ALLOWED) is not None


LENT = {
    "another image": (MESH | {"image": "evil:1"}, CERTS),
    "an image that only ends so": (MESH | {"image": "evil.example/registry.example/mesh/proxy"}, CERTS),
    "privileges": (MESH | {"securityContext": {"privileged": True}}, CERTS),
    "our keys": (MESH | {"volumeMounts": [{"name": "signing", "mountPath": "/keys"}]}, CERTS),
    "our socket": (MESH | {"volumeMounts": [{"name": "run", "mountPath": "/run"}]}, CERTS),
    "our volume as a device": (MESH | {"volumeDevices": [{"name": "run", "devicePath": "/run"}]}, CERTS),
    "our Secret by a volume of its own": (MESH, {"name": "certs", "secret": {"secretName": "corp-signing"}}),
    "our Secret among others": (
        MESH,
        {
            "name": "certs",
            "projected": {"sources": [{"configMap": {"name": "a"}}, {"secret": {"name": "corp-signing"}}]},
        },
    ),
    "a variable from a Secret": (
        MESH | {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "corp-signing", "key": "a"}}}]},
        CERTS,
    ),
    "all variables from a Secret": (MESH | {"envFrom": [{"secretRef": {"name": "corp-signing"}}]}, CERTS),
    "the claim of a node": (MESH, {"name": "certs", "persistentVolumeClaim": {"claimName": "corp-idp-0-tailnet"}}),
    "the machine": (MESH, {"name": "certs", "hostPath": {"path": "/"}}),
}


@pytest.mark.parametrize("what", LENT)
def test_what_is_only_called_like_an_allowed_sidecar_or_is_lent_too_much_goes_with_its_volumes(what: str) -> None:
    container, volume = LENT[what]
    patch = drift.foreign(WANTED, with_sidecar(container, volume), ALLOWED)
    assert patch is not None
    ours, left = WANTED["spec"]["template"]["spec"], patch["spec"]["template"]["spec"]
    assert (left["containers"], left["volumes"]) == (ours["containers"], ours["volumes"])


@pytest.mark.parametrize(
    "harmless",
    [
        {"securityContext": None, "volumeMounts": None, "env": None},
        {"securityContext": {"privileged": False}},
        {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}]},
        {"image": "registry.example/mesh/"},
    ],
)
def test_what_an_allowed_sidecar_may_have(harmless: dict[str, Any]) -> None:
    assert drift.foreign(WANTED, with_sidecar(MESH | harmless), ALLOWED) is None


def test_an_allowed_sidecar_stays_when_another_goes_and_keeps_its_volume() -> None:
    present = with_sidecar(MESH, CERTS, {"name": "host", "hostPath": {"path": "/"}})
    pod = present["spec"]["template"]["spec"]
    first = {"name": "first", "image": "registry.example/first:2"}
    pod["containers"].append({"name": "spy", "image": "s", "volumeMounts": MESH["volumeMounts"]})
    pod["initContainers"] = [first, {"name": "spy-first", "image": "s"}]
    patch = drift.foreign(WANTED, present, ALLOWED)
    assert patch is not None
    ours, left = WANTED["spec"]["template"]["spec"], patch["spec"]["template"]["spec"]
    assert left["containers"] == [*ours["containers"], MESH]
    assert left["initContainers"] == [first]
    assert left["volumes"] == [*ours["volumes"], CERTS], "else no API server took the patch"


def test_a_name_of_ours_on_the_list_opens_nothing() -> None:
    present = defaulted()
    pod = present["spec"]["template"]["spec"]
    worker = pod["containers"][0]
    worker |= {"command": ["sh"], "volumeMounts": []}
    patch = drift.foreign(WANTED, present, ((worker["name"], worker["image"]),))
    assert patch is not None
    assert patch["spec"]["template"]["spec"]["containers"] == WANTED["spec"]["template"]["spec"]["containers"]


def test_what_a_sidecar_shares_with_a_worker_is_taken_from_the_worker() -> None:
    present = with_sidecar(MESH, CERTS)
    present["spec"]["template"]["spec"]["containers"][0]["volumeMounts"].extend(MESH["volumeMounts"])
    patch = drift.foreign(WANTED, present, ALLOWED)
    assert patch is not None
    ours, left = WANTED["spec"]["template"]["spec"], patch["spec"]["template"]["spec"]
    assert left["containers"] == [*ours["containers"], MESH]
    assert left["volumes"] == [*ours["volumes"], CERTS]
