"""JSON schemas for kubeconform, made of what an API server and CRDs publish: it would fetch others from the internet.

They are strict: a field that is not declared is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

Schema = Mapping[str, Any]

LOCATION: Final = "{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json"
"""Where kubeconform finds the schema of an object, below the directory."""

_DEFINITIONS: Final = "definitions.json"
_OPEN: Final = "x-kubernetes-preserve-unknown-fields"
_QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_KEPT: Final = ("type", "enum", "required", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems")


def write(directory: Path, openapi: Mapping[str, Any], crds: Iterable[Mapping[str, Any]] = ()) -> None:
    """Write a schema for every kind into the directory.

    Args:
        directory: it is there.
        openapi: what the API server answers at `/openapi/v2`.
        crds: CustomResourceDefinitions that it does not have.
    """
    definitions = {name: strict(schema) for name, schema in openapi["definitions"].items()}
    definitions[_QUANTITY] = {"type": ["string", "number"]}
    _put(directory, _DEFINITIONS, {"definitions": definitions})
    for name, schema in openapi["definitions"].items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            reference = {"$ref": f"{_DEFINITIONS}#/definitions/{name}"}
            _put(directory, _file(kind["kind"], kind["group"], kind["version"]), reference)
    for file, schema in _of_crds(crds):
        _put(directory, file, schema)


def strict(schema: Schema) -> dict[str, Any]:
    """The schema without what only Kubernetes understands, and closed where it names properties."""
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
        return {"type": ["string", "integer"]}
    if "$ref" in schema:
        return {"$ref": schema["$ref"].replace("#/", f"{_DEFINITIONS}#/")}
    made: dict[str, Any] = {name: schema[name] for name in _KEPT if name in schema}
    if "properties" in schema:
        made["properties"] = {name: strict(inner) for name, inner in schema["properties"].items()}
        made["additionalProperties"] = bool(schema.get(_OPEN))
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), Mapping):
            made[name] = strict(schema[name])
    return made


def _of_crds(crds: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Schema]]:
    for crd in crds:
        spec = crd["spec"]
        for version in spec["versions"]:
            file = _file(spec["names"]["kind"], spec["group"], version["name"])
            yield file, strict(version["schema"]["openAPIV3Schema"])


def _file(kind: str, group: str, version: str) -> str:
    return f"{kind.lower()}-{group or version}-{version}.json"  # as kubeconform has it


def _put(directory: Path, name: str, schema: Schema) -> None:
    (directory / name).write_text(json.dumps(schema))
