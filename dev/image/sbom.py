"""Writes the bill of materials of the Python environment that runs it, as CycloneDX 1.6 JSON on standard output.

Told is what is installed, not what a lock file would allow: some packages are for some platforms only. Equal
environments give equal bytes. The packages of the base image's system are not among them.
"""  # noqa: INP001 - run by path in the Dockerfile

from __future__ import annotations

import json
import re
import sys
import uuid
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from typing import Any

PRODUCT = "tailseal"
_NAME = re.compile(r"^[A-Za-z0-9][-A-Za-z0-9._]*")


def bill(installed: Iterable[Distribution]) -> dict[str, Any]:
    """The bill of materials: the product as its subject, everything else as components, who needs whom."""
    found = dict(sorted((_normal(each.name), each) for each in installed))
    components = {name: _component(name, each) for name, each in found.items()}
    edges = [
        {
            "ref": components[name]["bom-ref"],
            "dependsOn": sorted(_purl(need, found[need]) for need in _needs(each, found)),
        }
        for name, each in found.items()
    ]
    subject = {**components.pop(PRODUCT), "type": "application"}
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": subject},
        "components": list(components.values()),
        "dependencies": edges,
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "serialNumber": f"urn:uuid:{serial}",
        **content,
    }


def _component(name: str, each: Distribution) -> dict[str, Any]:
    purl = _purl(name, each)
    text = next(
        (said for field in ("License-Expression", "License") for said in each.metadata.get_all(field) or ()), ""
    )
    # The older field holds whole texts at times.
    told = {"licenses": [{"license": {"name": text}}]} if text and len(text) < 100 else {}  # noqa: PLR2004
    return {"type": "library", "bom-ref": purl, "name": each.name, "version": each.version, "purl": purl, **told}


def _needs(each: Distribution, found: dict[str, Distribution]) -> set[str]:
    names = (_NAME.match(line) for line in each.requires or () if "extra ==" not in line)
    return {_normal(name[0]) for name in names if name} & found.keys()


def _purl(name: str, each: Distribution) -> str:
    return f"pkg:pypi/{name}@{each.version}"


def _normal(name: str) -> str:
    """As PEP 503 compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    json.dump(bill(distributions()), sys.stdout, indent=1)
    sys.stdout.write("\n")
