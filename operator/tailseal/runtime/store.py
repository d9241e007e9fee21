"""What the operator knows of the cluster: the last seen version of every watched object, in memory."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.port import Kind, Object, Ref

_GRAVES = 4096
_OURS = f"{meta.GROUP}/"

MOST_CONTENT: Final = 16 * 1024
"""Characters of a Secret's or ConfigMap's data beyond which only its names are kept, where no provider is: a client's
own have less than that, and whoever may edit there could else fill our memory with labelled ones of a megabyte each."""

_MOST_NAMES: Final = 64
_CONTENT: Final = ("data", "binaryData")

Changed = Callable[[Object | None, Object | None], None]
"""Called with the object before and after a change; None where there is none."""


class Store:
    """Implements `reconcile.context.Objects`. Older versions never replace newer ones, and the dead stay dead.

    Args:
        changed: told of every change, whether it was seen by a watch, by a list, or returned by a write of ours.
        reads_namespaces: whether namespaces are watched.
        lacking: called when large objects that were not kept whole are needed: list them again.

    Attributes:
        primed: whether everything that exists was put in; before, nothing that sums up may be rendered.
    """

    def __init__(
        self, changed: Changed, *, reads_namespaces: bool = False, lacking: Callable[[], None] = lambda: None
    ) -> None:
        self.primed = False
        self._lacking = lacking
        self._thin: set[Ref] = set()
        self._providing: set[str] = set()
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
        if version <= self._graves.get(ref, 0) or (before is not None and version <= self._known(ref, before)):
            return
        if before is None:
            self._order.pop(ref.kind, None)
        known[address] = after = self._kept(ref, obj)
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
            self._thin.discard(ref)
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

    def _known(self, ref: Ref, before: Object) -> int:
        """The version up to which another look brings nothing new."""
        return version_of(before) - (ref in self._thin and ref.namespace in self._providing)

    def _kept(self, ref: Ref, obj: Object) -> Object:
        """The object as it is kept; where a provider comes to be, what was not kept whole is asked for."""
        if ref.kind == kinds.NAMESPACE:
            return _labelled(obj)
        if ref.kind in kinds.PLATFORM and ref.namespace not in self._providing:
            self._providing.add(ref.namespace)
            if any(thin.namespace == ref.namespace for thin in self._thin):
                self._lacking()
        if ref.kind not in (kinds.SECRET, kinds.CONFIG_MAP):
            return slim(obj)
        if ref.namespace in self._providing or _size(obj) <= MOST_CONTENT:
            self._thin.discard(ref)
            return slim(obj)
        self._thin.add(ref)
        return slim(_thinned(obj))

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
    """A copy of the outer layers without what nobody here reads: managedFields, annotations that are not of ours."""
    metadata = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    annotations = metadata.get("annotations")
    if annotations:
        metadata["annotations"] = {name: annotations[name] for name in annotations if name.startswith(_OURS)}
    status = obj.get("status")
    if isinstance(status, dict) and isinstance(status.get("conditions"), list):
        status = {**status, "conditions": [_shared(condition) for condition in status["conditions"]]}
        return {**obj, "metadata": metadata, "status": status}
    return {**obj, "metadata": metadata}


def _size(obj: Object) -> int:
    return sum(len(name) + len(value) for part in _CONTENT for name, value in (obj.get(part) or {}).items())


def _thinned(obj: Object) -> Object:
    """Without its content: that there is something under a name may have to be told, what it is nobody asks."""
    names = {part: sorted(obj[part])[:_MOST_NAMES] for part in _CONTENT if obj.get(part)}
    return {**obj, **{part: dict.fromkeys(found, "") for part, found in names.items()}}


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
