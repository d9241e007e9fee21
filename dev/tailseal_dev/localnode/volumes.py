"""What a volume's files are, from the pod and the objects it names: pure."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tailseal_dev.localnode.fields import Object, UnsupportedError, field

_DEFAULT_MODE = 0o644


class MissingSourceError(Exception):
    """A source that is not optional is not there: the whole volume waits for it, as with a kubelet."""


@dataclass(frozen=True, slots=True)
class File:
    """Content and permission bits of a projected file."""

    content: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class Sources:
    """The Secrets and ConfigMaps of the pod's namespace, by name, and its account's tokens, by audience."""

    secrets: Mapping[str, Object]
    config_maps: Mapping[str, Object]
    tokens: Mapping[str, str]


Files = dict[str, File]


def render(volume: Object, sources: Sources, pod: Object) -> Files | None:
    """The files of a volume by relative path; None for an `emptyDir`, whose content is the pod's own.

    Raises:
        MissingSourceError: an object or key that is not optional is missing.
        UnsupportedError: another kind of volume.
    """
    if "emptyDir" in volume:
        return None
    if "projected" in volume:
        projected = volume["projected"]
        mode = projected.get("defaultMode", _DEFAULT_MODE)
        return {path: file for source in projected["sources"] for path, file in _source(source, sources, pod, mode)}
    if "secret" in volume:
        secret = volume["secret"]
        source = {"secret": {**secret, "name": secret["secretName"]}}
    else:
        source = {kind: volume[kind] for kind in ("configMap", "downwardAPI") if kind in volume}
    if not source:
        raise UnsupportedError(f"volume {volume['name']!r} of this kind")
    (only,) = source.values()
    return dict(_source(source, sources, pod, only.get("defaultMode", _DEFAULT_MODE)))


def _source(source: Object, sources: Sources, pod: Object, mode: int) -> Iterator[tuple[str, File]]:
    if "secret" in source:
        yield from _keys(source["secret"], "Secret", sources.secrets, mode)
    elif "configMap" in source:
        yield from _keys(source["configMap"], "ConfigMap", sources.config_maps, mode)
    elif "downwardAPI" in source:
        for item in source["downwardAPI"].get("items", []):
            content = field(pod, item["fieldRef"]["fieldPath"]).encode()
            yield item["path"], File(content, item.get("mode", mode))
    elif "serviceAccountToken" in source:
        wanted = source["serviceAccountToken"]
        yield wanted["path"], File(sources.tokens[wanted.get("audience", "")].encode(), mode)
    else:
        raise UnsupportedError(f"a projected source {', '.join(source)}")


def audiences(pod: Object) -> set[str]:
    """For whom its containers want tokens of its account; empty: for the API server."""
    projected = [volume["projected"]["sources"] for volume in pod["spec"].get("volumes", []) if "projected" in volume]
    wanted = [source.get("serviceAccountToken") for sources in projected for source in sources]
    return {token.get("audience", "") for token in wanted if token is not None}


def _keys(source: Object, kind: str, objects: Mapping[str, Object], mode: int) -> Iterator[tuple[str, File]]:
    optional = source.get("optional", False)
    found = objects.get(source["name"])
    if found is None:
        if not optional:
            raise MissingSourceError(f"{kind} {source['name']!r} not found")
        return
    content = _content(kind, found)
    for item in source.get("items") or [{"key": key, "path": key} for key in sorted(content)]:
        if item["key"] in content:
            yield item["path"], File(content[item["key"]], item.get("mode", mode))
        elif not optional:
            raise MissingSourceError(f"{kind} {source['name']!r} has no key {item['key']!r}")


def _content(kind: str, obj: Mapping[str, Any]) -> dict[str, bytes]:
    if kind == "Secret":
        return {name: base64.b64decode(value) for name, value in (obj.get("data") or {}).items()}
    text = {name: value.encode() for name, value in (obj.get("data") or {}).items()}
    return text | {name: base64.b64decode(value) for name, value in (obj.get("binaryData") or {}).items()}
