"""The objects that a provider owns, as tests look at them, and what others make of them."""

from __future__ import annotations

from typing import Any

from fakes.provider import NS
from fakes.world import World
from tailseal.cluster.port import Kind, Object


def essence(seen: World, kind: Kind, name: str) -> Object:
    """The object without what a new one has anew."""
    obj = seen.cluster.peek(kind, NS, name)
    for field in ("uid", "resourceVersion", "generation", "creationTimestamp"):
        obj["metadata"].pop(field, None)
    return obj


def template(obj: Object) -> dict[str, Any]:
    found: dict[str, Any] = obj["spec"]["template"]["spec"]
    return found


def container(obj: Object) -> dict[str, Any]:
    found: dict[str, Any] = template(obj)["containers"][0]
    return found


def repairs(seen: World) -> list[str]:
    return [message for _, _, reason, message in seen.recorder.events if reason == "Repaired"]


def mirrored(obj: Object) -> None:
    """As a webhook that has images come from a mirror."""
    if obj["kind"] == "Deployment":
        for each in (*template(obj).get("initContainers", ()), *template(obj)["containers"]):
            each["image"] = f"mirror.example/{each['image'].removeprefix('mirror.example/')}"
