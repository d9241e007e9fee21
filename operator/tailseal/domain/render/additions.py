"""Finds what others added to what is ours, so that nothing foreign stays.

Server-side apply restores the fields that we name and leaves those that others added. Where such an addition would
run code, leak keys, lead callers elsewhere or change a bundle, it is named here, to be removed by a merge patch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from tailseal.domain.render.drift import Value

_Defaults = Mapping[str, Value]
"""Fields that others may not add, each with what the API server says where nobody does."""

_SPEC_FIELDS: Final[_Defaults] = {"paused": False, "minReadySeconds": 0}
_POD_FIELDS: Final[_Defaults] = {
    **dict.fromkeys(("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"), False),
    **dict.fromkeys(("initContainers", "hostAliases", "dnsConfig", "nodeName", "nodeSelector", "affinity")),
    **dict.fromkeys(("tolerations", "priorityClassName", "runtimeClassName", "imagePullSecrets", "resourceClaims")),
    **dict.fromkeys(("readinessGates", "schedulingGates", "activeDeadlineSeconds")),
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "hostUsers": True,
}
_SERVICE_FIELDS: Final[_Defaults] = {
    "externalIPs": None,
    "publishNotReadyAddresses": False,
    "internalTrafficPolicy": "Cluster",
}
_NOTHING: Final[tuple[Value, ...]] = (None, "", [], {})
_CONTAINERS: Final = ("initContainers", "containers")
_NEVER_LENT: Final = {"secret", "secretKeyRef", "secretRef", "persistentVolumeClaim", "hostPath"}
"""What leads to keys, to a node's identity or to the machine: an allowed sidecar has none of it, by whatever name."""

_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_CONTAINER_FIELDS: Final = ("command", "envFrom", "volumeDevices", "workingDir", *_PROBES)


def foreign(
    wanted: Mapping[str, Value], present: Mapping[str, Value], sidecars: Collection[tuple[str, str]] = ()
) -> dict[str, Value] | None:
    """The merge patch that removes what others added and must not stay, or None if there is nothing of that kind.

    Args:
        wanted: what we want.
        present: what is there.
        sidecars: containers that others may put into pods, each by name and what its image begins with: they stay,
            with the volumes that they bring, unless they are privileged or reach for what is ours.
    """
    match wanted["kind"]:
        case "Secret" | "ConfigMap":
            return _foreign_files(wanted, present)
        case "Deployment":
            return _foreign_in_template(wanted, present, sidecars)
        case "Service":
            return _foreign_in_service(wanted, present)
        case "NetworkPolicy" | "PodDisruptionBudget":
            return _spec(_surplus(wanted["spec"], present["spec"]))
        case _:
            return None


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


def _foreign_in_template(
    wanted: Mapping[str, Value], present: Mapping[str, Value], sidecars: Collection[tuple[str, str]]
) -> dict[str, Value] | None:
    patch = _added(_SPEC_FIELDS, wanted["spec"], present["spec"])
    pod = _foreign_in_pod(wanted["spec"]["template"]["spec"], present["spec"]["template"]["spec"], sidecars)
    return _spec({**patch, **({"template": {"spec": pod}} if pod else {})})


def _foreign_in_pod(
    ours: Mapping[str, Value], present: Mapping[str, Value], sidecars: Collection[tuple[str, str]]
) -> dict[str, Value]:
    theirs, allowed = _apart(ours, present, sidecars)
    fields = {**_added(_POD_FIELDS, ours, theirs), **_surplus_in("nodeSelector", ours, theirs)}
    if not (fields or _foreign_lists(ours, theirs)):
        return {}
    security = {field: None for field in theirs.get("securityContext") or {} if field not in ours["securityContext"]}
    return {
        **fields,
        **{field: [*ours.get(field, ()), *entries] for field, entries in allowed.items() if field in ours or entries},
        "securityContext": {**security, **ours["securityContext"]},
    }


def _apart(
    ours: Mapping[str, Value], present: Mapping[str, Value], sidecars: Collection[tuple[str, str]]
) -> tuple[Mapping[str, Value], Mapping[str, list[Value]]]:
    """The pod's spec without what allowed sidecars brought, and that: containers, and the volumes that they mount."""
    taken = {container["name"] for field in _CONTAINERS for container in ours.get(field, ())}
    allowed = [
        container
        for field in _CONTAINERS
        for container in present.get(field) or ()
        if container["name"] not in taken and _is_allowed(container, ours, present, sidecars)
    ]
    names = {container["name"] for container in allowed}
    brought = {**dict.fromkeys(_CONTAINERS, names), "volumes": set().union(*map(_mounted, allowed))}
    rest, theirs = (
        {
            field: [entry for entry in present.get(field) or () if (entry["name"] in those) is stays]
            for field, those in brought.items()
        }
        for stays in (False, True)
    )
    return {**present, **rest}, theirs


def _is_allowed(
    container: Mapping[str, Value],
    ours: Mapping[str, Value],
    present: Mapping[str, Value],
    sidecars: Collection[tuple[str, str]],
) -> bool:
    """Whether it is what the installation allows, and not only called so."""
    mounted = _mounted(container)
    volumes = [volume for volume in present.get("volumes") or () if volume["name"] in mounted]
    return (
        any(container["name"] == name and container["image"].startswith(image) for name, image in sidecars)
        and mounted.isdisjoint(volume["name"] for volume in ours["volumes"])
        and not (container.get("securityContext") or {}).get("privileged")
        and _NEVER_LENT.isdisjoint(_members([container, volumes]))
    )


def _mounted(container: Mapping[str, Value]) -> set[str]:
    """Names of the volumes that it sees."""
    return {each["name"] for field in ("volumeMounts", "volumeDevices") for each in container.get(field) or ()}


def _members(value: Value) -> Iterator[str]:
    """Names of all members that say anything, at any depth."""
    if isinstance(value, Mapping):
        yield from (name for name, entry in value.items() if entry is not None)
    if isinstance(value, Mapping | list):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _members(entry)


def _foreign_lists(ours: Mapping[str, Value], theirs: Mapping[str, Value]) -> bool:
    if (theirs.get("securityContext") or {}).keys() - ours["securityContext"].keys():
        return True
    return _extra("name", ours["volumes"], theirs.get("volumes")) or any(
        _foreign_containers(ours[field], theirs.get(field) or []) for field in _CONTAINERS if field in ours
    )


def _foreign_containers(ours: list[Value], theirs: list[Value]) -> bool:
    by_name = {container["name"]: container for container in theirs}
    return _extra("name", ours, theirs) or any(
        _foreign_in_container(container, by_name[container["name"]])
        for container in ours
        if container["name"] in by_name
    )


def _foreign_in_container(ours: Mapping[str, Value], theirs: Mapping[str, Value]) -> bool:
    return (
        any(theirs.get(field) and field not in ours for field in _CONTAINER_FIELDS)
        or _extra("name", ours["env"], theirs.get("env"))
        or _extra("name", _referring(ours["env"]), _referring(theirs.get("env") or []))
        or _extra("mountPath", ours["volumeMounts"], theirs.get("volumeMounts"))
        or bool((theirs.get("lifecycle") or {}).keys() - ours.get("lifecycle", {}).keys())
        or any(_more(ours[field], theirs.get(field) or {}) for field in ("securityContext", "resources"))
        or any(_more(ours[field], _probe(theirs.get(field) or {})) for field in _PROBES if field in ours)
        or any(port.get("hostPort") or port.get("hostIP") for port in theirs.get("ports") or ())
    )


def _probe(theirs: Mapping[str, Value]) -> Mapping[str, Value]:
    """Without what the API server says by default."""
    return {name: entry for name, entry in theirs.items() if (name, entry) != ("successThreshold", 1)}


def _extra(key: str, ours: list[Value], theirs: list[Value] | None) -> bool:
    return bool({entry[key] for entry in theirs or ()} - {entry[key] for entry in ours})


def _referring(env: list[Value]) -> list[Value]:
    """The variables that come from elsewhere."""
    return [entry for entry in env if entry.get("valueFrom")]


def _more(ours: Mapping[str, Value], theirs: Mapping[str, Value]) -> bool:
    """Whether `theirs` has a member, at any depth, that ours lacks."""
    return any(
        name not in ours or (isinstance(entry, Mapping) and _more(ours[name], entry)) for name, entry in theirs.items()
    )
