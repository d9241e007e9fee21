"""Finds what others added to what is ours, so that nothing foreign stays.

Server-side apply restores the fields that we name and leaves those that others added. Where such an addition would
run code, leak keys, lead callers elsewhere or change a bundle, it is named here, to be removed by a merge patch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Final

from tailseal.domain.render import drift, lending
from tailseal.domain.render.drift import Value
from tailseal.domain.render.lending import Sidecar

_Defaults = Mapping[str, Value]
"""Fields that others may not add, each with what the API server says where nobody does."""

_SPEC_FIELDS: Final[_Defaults] = {"paused": False, "minReadySeconds": 0}
_POD_DEFAULTS: Final[_Defaults] = {
    **dict.fromkeys(("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"), False),
    "hostUsers": True,
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "successThreshold": 1,
    "defaultMode": 0o644,
    "apiVersion": "v1",
}
"""At any depth of a pod. Kubernetes adds none to what there is: Deployments would roll everywhere by its upgrade."""

_SERVICE_FIELDS: Final[_Defaults] = {
    "externalIPs": None,
    "publishNotReadyAddresses": False,
    "internalTrafficPolicy": "Cluster",
}
_NOTHING: Final[tuple[Value, ...]] = (None, "", [], {})
_APPARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"
"""The one annotation of others that is none: it says what a container's `appArmorProfile` would."""

_CONTAINERS: Final = ("initContainers", "containers")


def foreign(
    wanted: Mapping[str, Value], present: Mapping[str, Value], sidecars: Collection[Sidecar] = ()
) -> dict[str, Value] | None:
    """The merge patch that removes what others added and must not stay, or None if there is nothing of that kind.

    Args:
        wanted: what we want.
        present: what is there.
        sidecars: containers that others may put into pods, each by name and what its image begins with: they stay,
            with the volumes that they bring, if the fence lets them.
    """
    match wanted["kind"]:
        case "Secret" | "ConfigMap":
            return _foreign_files(wanted, present)
        case "Deployment":
            return _foreign_in_deployment(wanted, present, sidecars)
        case "Service":
            return _foreign_in_service(wanted, present)
        case "NetworkPolicy" | "PodDisruptionBudget":
            return _spec(_surplus(wanted["spec"], present["spec"]))
        case _:
            return None


def strangers(
    wanted: Mapping[str, Value], present: Mapping[str, Value], sidecars: Collection[Sidecar] = ()
) -> list[str]:
    """Containers of a Deployment that are neither ours nor allowed, each with its image; for the rest as `foreign`."""
    if wanted["kind"] != "Deployment":
        return []
    ours, seen = (obj["spec"]["template"]["spec"] for obj in (wanted, present))
    known, there = (
        {f"{container['name']} (image {container['image']})": None for container in _containers(pod)}
        for pod in ({**ours, **_with_lent(ours, seen, sidecars)}, seen)
    )
    return [container for container in there if container not in known]


def _containers(pod: Mapping[str, Value]) -> list[Value]:
    return [container for field in _CONTAINERS for container in pod.get(field) or ()]


def _foreign_files(wanted: Mapping[str, Value], present: Mapping[str, Value]) -> dict[str, Value] | None:
    if wanted.keys().isdisjoint({"data", "binaryData"}):
        return None  # its content is another's
    patch = {
        section: dict.fromkeys(extra)
        for section in ("data", "binaryData")
        if (extra := sorted((present.get(section) or {}).keys() - wanted.get(section, {}).keys()))
    }
    return patch or None


def _foreign_in_service(wanted: Mapping[str, Value], present: Mapping[str, Value]) -> dict[str, Value] | None:
    """The patch says all that is ours: what stands between it and the apply must be what the fence lets us write."""
    ours, theirs = wanted["spec"], present["spec"]
    added = _added(_SERVICE_FIELDS, ours, theirs)
    selector = _surplus(ours["selector"], theirs.get("selector") or {})
    if not (added or selector or len(theirs.get("ports", ())) > len(ours["ports"])):
        return None
    return _spec({**ours, **added, "selector": {**selector, **ours["selector"]}})


def _spec(patch: dict[str, Value]) -> dict[str, Value] | None:
    return {"spec": patch} if patch else None


def _added(fields: _Defaults, ours: Mapping[str, Value], theirs: Mapping[str, Value]) -> dict[str, Value]:
    """The merge patch without those of the fields that only `theirs` has, unless by default."""
    added = (name for name, default in fields.items() if theirs.get(name) not in (*_NOTHING, default))
    return {name: None for name in added if name not in ours}


def _surplus_in(field: str, ours: Mapping[str, Value], theirs: Mapping[str, Value]) -> dict[str, Value]:
    """As `_surplus`, of that field alone, if both have it."""
    patch = _surplus(ours.get(field) or {}, theirs.get(field) or {}) if field in ours else {}
    return {field: patch} if patch else {}


def _surplus(ours: Mapping[str, Value], theirs: Mapping[str, Value]) -> dict[str, Value]:
    """The merge patch without what only `theirs` has, at any depth; a list is replaced as one."""
    patch: dict[str, Value] = {}
    for name, entry in theirs.items():
        wanted = ours.get(name)
        if wanted is None:
            patch[name] = None
        elif isinstance(wanted, Mapping) and isinstance(entry, Mapping):
            patch |= _surplus_in(name, ours, theirs)
        elif isinstance(wanted, list) and isinstance(entry, list) and any(map(_is_more, wanted, entry)):
            patch[name] = wanted
    return patch


def _is_more(ours: Value, theirs: Value) -> bool:
    return isinstance(ours, Mapping) and isinstance(theirs, Mapping) and bool(_surplus(ours, theirs))


def _foreign_in_deployment(
    wanted: Mapping[str, Value], present: Mapping[str, Value], sidecars: Collection[Sidecar]
) -> dict[str, Value] | None:
    """As of a Service, the patch says all that is ours: so the fence judges one write, by what that ends in.

    But for the pods' labels: what a merge has written no apply takes out again, and of a label nobody sees whose it is.
    """
    ours, theirs = wanted["spec"], present["spec"]
    pod, seen = ours["template"]["spec"], theirs["template"]["spec"]
    pod = {**pod, **_with_lent(pod, seen, sidecars)}
    added = _added(_SPEC_FIELDS, ours, theirs)
    strategy, strategy_seen = ours["strategy"], theirs.get("strategy", {})
    said = {**pod, "serviceAccount": None}  # another name of what is ours
    noted = theirs["template"].get("metadata", {}).get("annotations") or {}
    unconfined = {name: None for name in noted if name.startswith(_APPARMOR)}
    if not (added or unconfined or _says_more("", strategy, strategy_seen) or _says_more("", said, seen)):
        return None
    template = {"spec": _instead(pod, seen), **({"metadata": {"annotations": unconfined}} if unconfined else {})}
    spec = {**ours, **added, "strategy": _instead(strategy, strategy_seen), "template": template}
    return {"metadata": {"labels": wanted["metadata"]["labels"]}, "spec": spec}


def _says_more(field: str, ours: Value, theirs: Value) -> bool:
    """Whether `theirs` says anything, at any depth, of which ours is silent; another value is no addition."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return any(
            _says_more(name, ours[name], entry) if name in ours else entry not in (*_NOTHING, _POD_DEFAULTS.get(name))
            for name, entry in theirs.items()
        )
    if not (isinstance(ours, list) and isinstance(theirs, list)):
        return False
    keys = drift.LIST_KEYS.get(field)
    if keys is None:
        return any(map(partial(_says_more, ""), ours, theirs))
    known = {drift.key_of(entry, keys): entry for entry in ours}
    return len(theirs) > len(ours) or any(
        _says_more("", known.get(drift.key_of(entry, keys), {}), entry) for entry in theirs
    )


def _instead(ours: Mapping[str, Value], theirs: Mapping[str, Value]) -> dict[str, Value]:
    """The merge patch that makes `theirs` into ours; a list is replaced as one."""
    return dict.fromkeys(theirs.keys() - ours.keys()) | {
        name: _instead(entry, theirs.get(name) or {}) if isinstance(entry, Mapping) else entry
        for name, entry in ours.items()
    }


def _with_lent(
    ours: Mapping[str, Value], present: Mapping[str, Value], sidecars: Collection[Sidecar]
) -> dict[str, list[Value]]:
    """Our lists with what allowed sidecars brought: these themselves, and the volumes that they mount."""
    taken = {container["name"] for container in _containers(ours)}
    lent = {
        field: [
            container
            for container in present.get(field) or ()
            if container["name"] not in taken and lending.is_allowed(container, ours, present, sidecars)
        ]
        for field in _CONTAINERS
    }
    mounted = {name for containers in lent.values() for container in containers for name in lending.mounted(container)}
    lent["volumes"] = [volume for volume in present.get("volumes") or () if volume["name"] in mounted]
    return {field: [*ours.get(field, ()), *entries] for field, entries in lent.items() if entries}
