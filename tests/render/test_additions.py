"""Additions: what others put into what is ours goes, but for what the installation allows."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from render.present import PROVIDER, WANTED, defaulted
from tailseal.domain.render import additions, bundle
from tailseal.domain.render.service import service


def test_a_variable_that_is_empty_is_read_from_nowhere_else() -> None:
    """An apply would leave it: only where a value is not empty, the API server refuses to have it from two places."""
    wanted, present = copy.deepcopy(WANTED), defaulted()
    for obj, more in ((wanted, {"value": ""}), (present, {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}})):
        obj["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "TS_KUBE_SECRET", **more})
    patch = additions.foreign(wanted, present)
    assert patch is not None
    changed = patch["spec"]["template"]["spec"]
    assert changed["containers"] == wanted["spec"]["template"]["spec"]["containers"]


def test_the_patch_removes_what_is_foreign_and_keeps_what_is_ours() -> None:
    present = defaulted()
    pod = present["spec"]["template"]["spec"]
    pod["hostNetwork"] = True
    pod["containers"].append({"name": "spy", "image": "evil"})
    patch = additions.foreign(WANTED, present)
    assert patch is not None
    changed = patch["spec"]["template"]["spec"]
    assert changed["hostNetwork"] is None
    assert changed["containers"] == WANTED["spec"]["template"]["spec"]["containers"]


def test_a_service_is_patched_to_all_that_is_ours() -> None:
    """Else what somebody made of it stands between that patch and the apply, and the chart's fence refuses it."""
    wanted = service(PROVIDER, "sts", tls=True)
    present = copy.deepcopy(wanted)
    present["spec"] |= {"type": "LoadBalancer", "externalIPs": ["192.0.2.1"]}
    present["spec"]["selector"]["more"] = "x"
    selector = {**wanted["spec"]["selector"], "more": None}
    assert additions.foreign(wanted, present) == {"spec": {**wanted["spec"], "externalIPs": None, "selector": selector}}


@pytest.mark.parametrize(
    ("path", "more"),
    [
        (("volumes", 0, "projected", "sources", 0, "secret"), {"items": [{"key": "a", "path": "a"}]}),
        (("containers", 0, "volumeMounts", 0), {"subPath": "x"}),
        (("containers", 0, "volumeMounts", 4), {"readOnly": True}),
        (("containers", 0, "volumeMounts", 4), {"mountPropagation": "HostToContainer"}),
        (("containers", 0, "securityContext"), {"procMount": "Default"}),
        (("topologySpreadConstraints", 0), {"minDomains": 2}),
    ],
)
def test_what_is_added_at_any_depth_of_the_pod_is_seen(path: tuple[str | int, ...], more: dict[str, Any]) -> None:
    present = defaulted()
    place: Any = present["spec"]["template"]["spec"]
    for step in path:
        place = place[step]
    place.update(more)
    patch = additions.foreign(WANTED, present)
    assert patch is not None
    field = str(path[0])
    assert patch["spec"]["template"]["spec"][field] == WANTED["spec"]["template"]["spec"][field]


def test_foreign_files_are_removed_by_name() -> None:
    wanted = bundle.signing(PROVIDER, {"a": b"1"})
    present = copy.deepcopy(wanted)
    present["data"] |= {"z": "eA==", "y": "eA=="}
    assert additions.foreign(wanted, present) == {"data": {"y": None, "z": None}}


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
    assert additions.foreign(WANTED, present, ALLOWED) is None
    assert additions.foreign(WANTED, present, (("other", "registry.example/mesh/"),)) is not None
    assert additions.foreign(WANTED, present) is not None
    present["spec"]["template"]["spec"]["containers"].append({"name": "spy", "image": "s"})
    assert additions.foreign(WANTED, present, ALLOWED) is not None


@pytest.mark.parametrize(
    ("image", "allowed"),
    [
        *((f"first{more}", True) for more in ("", ":1", "@sha256:0", "/proxy:1")),
        *((f"first{more}", False) for more in ("evil/x", "-evil:1", ".evil")),
    ],
)
def test_an_image_counts_as_what_is_allowed_where_a_part_of_its_name_ends(image: str, *, allowed: bool) -> None:
    present = with_sidecar({"name": "first", "image": f"registry.example/{image}"})
    assert (additions.foreign(WANTED, present, [("first", "registry.example/first")]) is None) is allowed


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
    "a driver": (MESH, {"name": "certs", "csi": {"driver": "secrets.example"}}),
    "a share": (MESH, {"name": "certs", "azureFile": {"secretName": "corp-signing", "shareName": "a"}}),
    "a token": (MESH, {"name": "certs", "projected": {"sources": [{"serviceAccountToken": {"path": "a"}}]}}),
    "a variable from a file": (
        MESH | {"env": [{"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "run", "path": "a", "key": "b"}}}]},
        CERTS,
    ),
    "a device": (MESH | {"resources": {"claims": [{"name": "gpu"}]}}, CERTS),
    "root": (MESH | {"securityContext": {"runAsUser": 0}}, CERTS),
    "whoever its image says": (MESH | {"securityContext": {"runAsNonRoot": False}}, CERTS),
    "no seccomp": (MESH | {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, CERTS),
    "a port of the machine": (MESH | {"ports": [{"containerPort": 80, "hostPort": 80}]}, CERTS),
}


@pytest.mark.parametrize("what", LENT)
def test_what_is_only_called_like_an_allowed_sidecar_or_is_lent_too_much_goes_with_its_volumes(what: str) -> None:
    container, volume = LENT[what]
    patch = additions.foreign(WANTED, with_sidecar(container, volume), ALLOWED)
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
    assert additions.foreign(WANTED, with_sidecar(MESH | harmless), ALLOWED) is None


def test_an_allowed_sidecar_stays_when_another_goes_and_keeps_its_volume() -> None:
    present = with_sidecar(MESH, CERTS, {"name": "host", "hostPath": {"path": "/"}})
    pod = present["spec"]["template"]["spec"]
    first = {"name": "first", "image": "registry.example/first:2"}
    pod["containers"].append({"name": "spy", "image": "s", "volumeMounts": MESH["volumeMounts"]})
    pod["initContainers"] = [first, {"name": "spy-first", "image": "s"}]
    patch = additions.foreign(WANTED, present, ALLOWED)
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
    patch = additions.foreign(WANTED, present, ((worker["name"], worker["image"]),))
    assert patch is not None
    assert patch["spec"]["template"]["spec"]["containers"] == WANTED["spec"]["template"]["spec"]["containers"]


def test_what_a_sidecar_shares_with_a_worker_is_taken_from_the_worker() -> None:
    present = with_sidecar(MESH, CERTS)
    present["spec"]["template"]["spec"]["containers"][0]["volumeMounts"].extend(MESH["volumeMounts"])
    patch = additions.foreign(WANTED, present, ALLOWED)
    assert patch is not None
    ours, left = WANTED["spec"]["template"]["spec"], patch["spec"]["template"]["spec"]
    assert left["containers"] == [*ours["containers"], MESH]
    assert left["volumes"] == [*ours["volumes"], CERTS]
