"""CustomResourceDefinitions around the structural schemas."""

from __future__ import annotations

from typing import Any

from tailseal.api.crd.schema import Schema, default_members, structural, validation
from tailseal.api.kinds import KindInfo
from tailseal.api.meta import GROUP, VERSION

_READY = '.status.conditions[?(@.type=="Ready")]'


def custom_resource_definition(info: KindInfo) -> dict[str, Any]:
    """The CRD of a kind, as `kubectl apply` takes it."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{info.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": info.kind,
                "listKind": f"{info.kind}List",
                "plural": info.plural,
                "singular": info.kind.lower(),
                "shortNames": [info.short],
                "categories": ["tailseal"],
            },
            "versions": [_version(info)],
        },
    }


def _version(info: KindInfo) -> dict[str, Any]:
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": _columns(info),
        "schema": {"openAPIV3Schema": _root(info)},
    }
    if info.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in info.selectable]
    return version


def _columns(info: KindInfo) -> list[dict[str, Any]]:
    title, path = info.column
    return [
        {"name": "Ready", "type": "string", "jsonPath": f"{_READY}.status"},
        {"name": title, "type": "string", "jsonPath": path},
        {"name": "Reason", "type": "string", "jsonPath": f"{_READY}.reason"},
        {"name": "Message", "type": "string", "jsonPath": f"{_READY}.message", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]


def _root(info: KindInfo) -> Schema:
    # What has no status passes for done with kstatus, and so with Flux: nobody need have looked at it.
    spec, status = structural(info.spec), structural(info.status) | {"default": {"observedGeneration": -1}}
    root: Schema = {
        "type": "object",
        "description": info.summary,
        "properties": {
            "apiVersion": {"type": "string", "description": f"Version of this form of the object: {GROUP}/{VERSION}."},
            "kind": {"type": "string", "description": f"Kind of the object: {info.kind}."},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }
    if spec.get("required"):
        root["required"] = ["spec"]
    else:
        spec["default"] = default_members(spec)
    if info.rules:
        root["x-kubernetes-validations"] = [validation(rule) for rule in info.rules]
    return root
