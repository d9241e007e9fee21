"""Whether an API server has the CRDs of this version: which fields it lacks, and which it has besides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tailseal.api.crd.schema import structural
from tailseal.api.kinds import KINDS
from tailseal.api.meta import GROUP, VERSION

Schema = Mapping[str, Any]

OPENAPI_PATH: Final = f"/openapi/v3/apis/{GROUP}/{VERSION}"
"""Where an API server describes our kinds to everybody who is logged in: reading CRDs themselves takes more rights."""

_SHOWN: Final = 5


def skew(document: Mapping[str, Any]) -> list[str]:
    """What is to be said of the CRDs, a sentence each; nothing if they are ours.

    Args:
        document: the API server's answer at `OPENAPI_PATH`.
    """
    served = {
        entry.get("kind", ""): schema
        for schema in (document.get("components") or {}).get("schemas", {}).values()
        for entry in schema.get("x-kubernetes-group-version-kind", ())
    }
    missing: list[str] = []
    unknown: list[str] = []
    for kind, info in KINDS.items():
        theirs = (served.get(kind) or {}).get("properties", {})
        for part, model in (("spec", info.spec), ("status", info.status)):
            ours, there = set(_paths(structural(model), part)), set(_paths(theirs.get(part, {}), part))
            missing += [f"{kind}.{path}" for path in sorted(ours - there)]
            unknown += [f"{kind}.{path}" for path in sorted(there - ours)]
    older = "the CRDs are older than this operator: the API server forgets {}; apply those of this version"
    newer = "the CRDs are newer than this operator: it does nothing about {}; upgrade it"
    return [text.format(_some(paths)) for text, paths in ((older, missing), (newer, unknown)) if paths]


def _paths(schema: Schema, path: str) -> Iterator[str]:
    for name, member in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from _paths(member, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), Mapping):
            yield from _paths(schema[name], f"{path}[]")


def _some(paths: list[str]) -> str:
    """The shortest few, because what is below a missing field is missing, too."""
    first = sorted(paths, key=lambda path: (path.count("."), path))[:_SHOWN]
    return ", ".join(first) + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")
