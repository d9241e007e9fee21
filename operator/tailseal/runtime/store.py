"""What the operator knows of the cluster: the last seen version of every watched object, in memory."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tailseal.cluster import kinds
from tailseal.cluster.port import Kind, Object, Ref

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_GRAVES = 4096

Changed = Callable[[Object | None, Object | None], None]
"""Called with the object before and after a change; None where there is none."""


class Store:
    """Implements `reconcile.context.Objects`. Older versions never replace newer ones, and the dead stay dead.

    Args:
        changed: told of every change, whether it was seen by a watch, by a list, or returned by a write of ours.
        reads_namespaces: whether namespaces are watched.

    Attributes:
        primed: whether everything that exists was put in; before, nothing that sums up may be rendered.
    """

    def __init__(self, changed: Changed, *, reads_namespaces: bool = False) -> None:
        self.primed = False
        self._reads_namespaces = reads_namespaces
        self._namespaces: Mapping[str, Mapping[str, str]] | None = None
        self._changed = changed
        self._objects: dict[Kind, dict[tuple[str, str], Object]] = defaultdict(dict)
        self._order: dict[Kind, list[tuple[str, str]]] = {}
        self._graves: OrderedDict[Ref, int] = OrderedDict()

    def get(self, ref: Ref) -> Object | None:
        """See `Objects.get`."""
        return self._objects[ref.kind].get((ref.namespace, ref.name))

    def select(self, kind: Kind, namespace: str = "", labels: Mapping[str, str] | None = None) -> Iterator[Object]:
        """See `Objects.select`."""
        wanted = (labels or {}).items()
        known = self._objects[kind]
        for address in self._addresses(kind, namespace):
            obj = known.get(address)
            if obj is not None and (not wanted or wanted <= obj["metadata"].get("labels", {}).items()):
                yield obj

    def namespaces(self) -> Mapping[str, Mapping[str, str]] | None:
        """See `Objects.namespaces`."""
        if self._namespaces is None and self._reads_namespaces:
            found = sorted((obj["metadata"] for obj in self._objects[kinds.NAMESPACE].values()), key=_seniority)
            self._namespaces = {metadata["name"]: metadata.get("labels", {}) for metadata in found}
        return self._namespaces

    def put(self, obj: Object) -> None:
        """See `Objects.put`; also for what watches and lists show."""
        ref = kinds.ref(obj)
        known, address = self._objects[ref.kind], (ref.namespace, ref.name)
        before, version = known.get(address), version_of(obj)
        if version <= self._graves.get(ref, 0) or (before is not None and version <= version_of(before)):
            return
        if before is None:
            self._order.pop(ref.kind, None)
        known[address] = after = slim(obj) if ref.kind != kinds.NAMESPACE else _labelled(obj)
        self._forget_namespaces(before, after)
        self._changed(before, after)

    def remove(self, ref: Ref, version: int = 0) -> None:
        """Forget an object that was deleted at that version (0: at the one we know)."""
        known, address = self._objects[ref.kind], (ref.namespace, ref.name)
        before = known.get(address)
        if before is not None and 0 < version < version_of(before):
            return
        self._bury(ref, version or (version_of(before) if before is not None else 0))
        if before is not None:
            del known[address]
            self._order.pop(ref.kind, None)
            self._forget_namespaces(before, None)
            self._changed(before, None)

    def versions(self, kind: Kind) -> dict[Ref, int]:
        """The known version of every object of the kind."""
        return {Ref(kind, *address): version_of(obj) for address, obj in self._objects[kind].items()}

    def count(self, kind: Kind) -> int:
        """How many objects of the kind are known."""
        return len(self._objects[kind])

    def _forget_namespaces(self, before: Object | None, after: Object | None) -> None:
        """Of a namespace only the labels count: whoever remembers what these led to need not look at other changes."""
        obj = after or before
        if obj is not None and obj["kind"] == kinds.NAMESPACE.kind and _labels(before) != _labels(after):
            self._namespaces = None

    def _addresses(self, kind: Kind, namespace: str) -> list[tuple[str, str]]:
        if kind not in self._order:
            self._order[kind] = sorted(self._objects[kind])
        order = self._order[kind]
        if not namespace:
            return list(order)
        return order[bisect_left(order, (namespace, "")) : bisect_left(order, (namespace + "\0", ""))]

    def _bury(self, ref: Ref, version: int) -> None:
        """Remember the death for a while: the answer to a write made before it may still be on its way."""
        self._graves[ref] = version
        self._graves.move_to_end(ref)
        if len(self._graves) > _GRAVES:
            self._graves.popitem(last=False)


def version_of(obj: Mapping[str, Any]) -> int:
    """The resourceVersion, which grows with every write (Kubernetes promises that since 1.35, and always did it)."""
    return int(obj["metadata"]["resourceVersion"])


def slim(obj: Object) -> Object:
    """A copy of the outer layers without what nobody here reads: managedFields, kubectl's copy of the manifest."""
    metadata = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    annotations = metadata.get("annotations", {})
    if _LAST_APPLIED in annotations:
        metadata["annotations"] = {name: value for name, value in annotations.items() if name != _LAST_APPLIED}
    status = obj.get("status")
    if isinstance(status, dict) and isinstance(status.get("conditions"), list):
        status = {**status, "conditions": [_shared(condition) for condition in status["conditions"]]}
        return {**obj, "metadata": metadata, "status": status}
    return {**obj, "metadata": metadata}


def _labelled(obj: Object) -> Object:
    """A namespace as far as anybody here reads it: by its labels."""
    names = ("name", "uid", "resourceVersion", "creationTimestamp", "labels")
    metadata = {name: obj["metadata"][name] for name in names if name in obj["metadata"]}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": metadata}


def _labels(obj: Object | None) -> Mapping[str, str] | None:
    return None if obj is None else obj["metadata"].get("labels", {})


def _seniority(metadata: Mapping[str, Any]) -> tuple[str, str]:
    return metadata.get("creationTimestamp", ""), metadata["name"]


_conditions: dict[tuple[Any, ...], Any] = {}


def _shared(condition: Any) -> Any:  # noqa: ANN401 - what JSON held
    """One dict for all equal conditions: ten thousand policies say the same of themselves, in half of their memory."""
    if len(_conditions) > _GRAVES:
        _conditions.clear()
    try:
        return _conditions.setdefault(tuple(condition.items()), condition)
    except (AttributeError, TypeError):
        return condition
