"""Pod fields by path, as `fieldRef` names them."""

from __future__ import annotations

import re
from typing import Any

Object = dict[str, Any]


class UnsupportedError(Exception):
    """The pod asks for something this node does not do: says for what."""


_ENTRY = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_PLAIN = {
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
    "metadata.uid": ("metadata", "uid"),
    "spec.nodeName": ("spec", "nodeName"),
    "spec.serviceAccountName": ("spec", "serviceAccountName"),
    "status.podIP": ("status", "podIP"),
    "status.hostIP": ("status", "hostIP"),
}


def field(pod: Object, path: str) -> str:
    """The value at a field path; empty if the pod has none.

    Raises:
        UnsupportedError: no such path is known here.
    """
    if match := _ENTRY.fullmatch(path):
        return str(pod["metadata"].get(match[1], {}).get(match[2], ""))
    if path in {"metadata.labels", "metadata.annotations"}:
        entries = pod["metadata"].get(path.split(".")[1], {})
        return "\n".join(f'{name}="{value}"' for name, value in sorted(entries.items()))
    if path == "status.podIPs":
        path = "status.podIP"  # pods have one here
    if path not in _PLAIN:
        raise UnsupportedError(f"fieldPath {path!r}")
    section, name = _PLAIN[path]
    return str(pod.get(section, {}).get(name, ""))
