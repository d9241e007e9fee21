"""Says which containers of others may stay in a worker's pod: what the chart's fence around Deployments says of them.

Each must answer alike (charts/tailseal/templates/fence-deployments.yaml): where the fence is the stricter one, what
stays here is in the way of every repair; where it is the milder one, what it lets pass is fought here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from tailseal.domain.render.drift import Value

Sidecar = tuple[str, str]
"""A container by its name and what its image begins with, up to a `/`, `:` or `@`."""

_ENDS: Final = ("/", ":", "@")
"""Where a part of an image's name ends."""

_REFUSED: Final = {
    *("privileged", "allowPrivilegeEscalation", "add", "procMount", "seLinuxOptions", "windowsOptions"),
    *("secretKeyRef", "secretRef", "fileKeyRef", "volumeDevices", "claims", "hostPort", "host"),
}
"""Members that nothing may be said in: what makes it more than others, or leads to keys, devices or other machines."""

_AMOUNTS: Final = {"cpu", "memory", "ephemeral-storage"}
"""What there may be some of; all else that a node has to give is devices."""

_PROFILES: Final = ("seccompProfile", "appArmorProfile")


def is_allowed(
    container: Mapping[str, Value],
    ours: Mapping[str, Value],
    present: Mapping[str, Value],
    sidecars: Collection[Sidecar],
) -> bool:
    """Whether it is what the installation allows, and not only called so.

    Args:
        container: somebody else's.
        ours: the pod's spec as we want it: what it says holds for containers that say nothing.
        present: as it is there, with the volumes that the container brought.
        sidecars: what the installation allows.
    """
    seen = mounted(container)
    said = {name: entry for name, entry in (container.get("securityContext") or {}).items() if entry is not None}
    security = {**ours["securityContext"], **said}
    return (
        any(container["name"] == name and _begins(container["image"], image) for name, image in sidecars)
        and seen.isdisjoint(volume["name"] for volume in ours["volumes"])
        and all(_is_lent(volume) for volume in present.get("volumes") or () if volume["name"] in seen)
        and _REFUSED.isdisjoint(_members(container))
        and _AMOUNTS.issuperset(_amounts(container))
        and security["runAsNonRoot"] is True
        and security.get("runAsUser") != 0
        and all((security.get(name) or {}).get("type", "RuntimeDefault") == "RuntimeDefault" for name in _PROFILES)
    )


def _begins(image: str, prefix: str) -> bool:
    """Whether the image is what the prefix says or below it, and not one whose name only goes on where that ends."""
    return image.startswith(prefix) and any(
        prefix.endswith(end) or f"{image}/".startswith(f"{prefix}{end}") for end in _ENDS
    )


def mounted(container: Mapping[str, Value]) -> set[str]:
    """Names of the volumes that it sees."""
    return {mount["name"] for mount in container.get("volumeMounts") or ()}


def _amounts(container: Mapping[str, Value]) -> set[str]:
    """Names of what it asks for or may use of a node."""
    said = container.get("resources") or {}
    return {name for field in ("requests", "limits") for name in said.get(field) or ()}


def _is_lent(volume: Mapping[str, Value]) -> bool:
    """Whether it holds what is nobody's secret: nothing, or ConfigMaps."""
    if "projected" in volume:
        return all(source.keys() == {"configMap"} for source in volume["projected"].get("sources") or ())
    return not volume.keys().isdisjoint({"emptyDir", "configMap"})


def _members(value: Value) -> Iterator[str]:
    """Names of all members that say anything, at any depth."""
    if isinstance(value, Mapping):
        yield from (name for name, entry in value.items() if entry)
    if isinstance(value, Mapping | list):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _members(entry)
