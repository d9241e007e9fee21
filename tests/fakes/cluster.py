"""An API server in memory that knows server-side apply: what reconcilers are tested against.

It keeps what the real one keeps (uid, resourceVersion, generation, field ownership, the status subresource apart) and
refuses what the real one refuses on our paths. It neither defaults nor runs controllers: `collect_garbage` and the
`user_*` methods are how a test plays the rest of the cluster.
"""

from __future__ import annotations

import base64
import binascii
import pickle
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from fakes import ssa
from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError, Conflict, Invalid, NotFound, Transient
from tailseal.cluster.port import Kind, Object, Ref

KINDS = {
    (kind.api_version, kind.kind): kind
    for kind in (*kinds.CUSTOM, *kinds.OWNED, kinds.POD, kinds.LEASE, kinds.NAMESPACE)
}
STATUS_APART = {*kinds.CUSTOM, kinds.DEPLOYMENT, kinds.POD, kinds.SERVICE, kinds.POD_DISRUPTION_BUDGET}
GENERATION = {*kinds.CUSTOM, kinds.DEPLOYMENT, kinds.NETWORK_POLICY, kinds.POD_DISRUPTION_BUDGET}
MAX_DATA = 1_048_576
_SERVER_OWNED = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "deletionTimestamp")

T = TypeVar("T")
Objects = list[Object]
Listener = Callable[[str, Object], None]
"""Called with ADDED, MODIFIED or DELETED and the object, as a watch would be."""


class Killed(BaseException):
    """The process ends here, as by kill -9: nothing in the code under test may catch it."""


@dataclass(frozen=True, slots=True)
class Write:
    """A request that could write; `changed` says whether it did."""

    verb: str
    ref: Ref
    manager: str
    changed: bool


def copied(content: T) -> T:
    """As `copy.deepcopy` does, in a fifth of the time: whatever is looked at is copied."""
    found: T = pickle.loads(pickle.dumps(content, pickle.HIGHEST_PROTOCOL))
    return found


def ref_of(obj: Mapping[str, Any]) -> Ref:
    """The address of an object."""
    metadata = obj["metadata"]
    try:
        kind = KINDS[obj["apiVersion"], obj["kind"]]
    except KeyError as error:
        raise NotFound(f"no such kind: {obj.get('apiVersion')} {obj.get('kind')}") from error
    return Ref(kind, metadata.get("namespace", ""), metadata["name"])


def matches(obj: Mapping[str, Any], selector: str) -> bool:
    """Whether the labels satisfy a selector of `key=value`, `key!=value` and `key` terms."""
    labels = obj["metadata"].get("labels", {})
    for term in filter(None, selector.split(",")):
        name, found, value = term.partition("!=")
        if found and labels.get(name) == value:
            return False
        if not found:
            name, found, value = term.replace("==", "=").partition("=")
            if name not in labels or (found and labels[name] != value):
                return False
    return True


class FakeCluster:
    """Implements `tailseal.cluster.port.Cluster`.

    Args:
        crash_after: after that many writing requests were done, `Killed` is raised; None never.

    Attributes:
        writes: every request that could write, in order.
        events: Events that were posted, as (namespace, object).
        refuse: an error for the request (verb, ref), to play outages and missing rights; None lets it pass.
        proxied: answers `pod_proxy`.
        unfenced: kinds of which every patch would be admitted.
        mutate: changes what is written, as an admission policy or webhook may.
        asked: every patch that was only asked about.
    """

    def __init__(self, *, crash_after: int | None = None) -> None:
        self.crash_after = crash_after
        self.writes: list[Write] = []
        self.events: list[tuple[str, Object]] = []
        self.refuse: Callable[[str, Ref], ClusterError | None] = lambda _verb, _ref: None
        self.proxied: Callable[[Ref, int, str, bytes], bytes] | None = None
        self.listeners: list[Listener] = []
        self.unfenced: set[Kind] = set()
        self.mutate: Callable[[Object], None] = lambda _obj: None
        self.asked: list[tuple[Ref, Mapping[str, Any]]] = []
        self.kinds = set(KINDS.values())
        self.now = 1_800_000_000.0
        self._objects: dict[Ref, Object] = {}
        self._pickled: dict[Ref, bytes] = {}
        self._order: dict[Kind, list[Ref]] = {}
        self._owners: dict[tuple[Ref, str], dict[str, set[ssa.Path]]] = defaultdict(dict)
        self._version = 100
        self._uids = 0

    # the port

    async def get(self, ref: Ref) -> Object | None:
        self._check("get", ref)
        return self._copy(ref) if ref in self._objects else None

    async def list(self, kind: Kind, namespace: str = "", *, label_selector: str = "") -> AsyncIterator[Object]:
        self._check("list", Ref(kind, namespace, ""))
        for obj in self.all(kind, namespace):
            if matches(obj, label_selector):
                yield obj

    async def apply(self, obj: Object, *, manager: str) -> Object:
        ref = ref_of(obj)
        self._check("apply", ref)
        wanted = copied(obj)
        if ref.kind in STATUS_APART:
            wanted.pop("status", None)
        return self._apply(ref, wanted, "", manager)

    async def apply_status(self, obj: Object, *, manager: str) -> Object:
        ref = ref_of(obj)
        self._check("apply_status", ref)
        if ref not in self._objects:
            raise NotFound(f"{ref.kind.plural} {ref.name!r} not found")
        names = {name: obj["metadata"][name] for name in ("uid", "resourceVersion") if name in obj["metadata"]}
        return self._apply(ref, {"metadata": names, "status": copied(obj.get("status", {}))}, "status", manager)

    async def delete(self, ref: Ref, *, uid: str = "") -> None:
        self._check("delete", ref)
        present = self._objects.get(ref)
        if present is not None and uid and present["metadata"]["uid"] != uid:
            raise Conflict(f"the uid of {ref.name!r} is another one")
        if present is not None:
            self._delete(ref)
        self._wrote("delete", ref, "", changed=present is not None)

    async def annotate(self, ref: Ref, annotations: Mapping[str, str]) -> None:
        self._check("annotate", ref)
        if ref not in self._objects:
            raise NotFound(f"{ref.kind.plural} {ref.name!r} not found")
        changed = self._store(ref, lambda obj: obj["metadata"].setdefault("annotations", {}).update(annotations))
        self._wrote("annotate", ref, "", changed=changed)

    async def merge(self, ref: Ref, patch: Mapping[str, Any]) -> Object:
        self._check("merge", ref)
        if ref not in self._objects:
            raise NotFound(f"{ref.kind.plural} {ref.name!r} not found")
        wanted = copied(dict(patch))
        metadata = wanted.get("metadata", {})
        self._precondition(ref, metadata)
        for name in _SERVER_OWNED:
            metadata.pop(name, None)
        if ref.kind in STATUS_APART:
            wanted.pop("status", None)
        changed = self._store(ref, lambda obj: _merge(obj, wanted))
        self._wrote("merge", ref, "", changed=changed)
        return self._copy(ref)

    async def admits(self, ref: Ref, patch: Mapping[str, Any]) -> bool:
        self._check("admits", ref)
        if ref not in self._objects:
            raise NotFound(f"{ref.kind.plural} {ref.name!r} not found")
        self.asked.append((ref, patch))
        return ref.kind in self.unfenced

    async def create_event(self, namespace: str, event: Object) -> None:
        self._check("create_event", Ref(kinds.POD, namespace, ""))
        self.events.append((namespace, copied(event)))

    async def pod_proxy(self, pod: Ref, port: int, path: str, body: bytes) -> bytes:
        self._check("pod_proxy", pod)
        if self.proxied is None:
            raise Transient("no pod answers")
        return self.proxied(pod, port, path, body)

    async def serves(self, kind: Kind) -> bool:
        return kind in self.kinds

    async def whoami(self) -> Mapping[str, Any]:
        return {"username": "somebody", "groups": ["system:authenticated"]}

    # what a test sees and does

    def all(self, kind: Kind, namespace: str = "") -> Objects:
        """Copies of all objects of the kind, ordered by namespace and name."""
        return [self._copy(ref) for ref, _ in self.uncopied(kind, namespace)]

    def uncopied(self, kind: Kind, namespace: str = "") -> Sequence[tuple[Ref, Object]]:
        """As `all`, for other fakes, which only look: nothing of it may be changed or handed on."""
        if kind not in self._order:
            refs = (ref for ref in self._objects if ref.kind == kind)
            self._order[kind] = sorted(refs, key=lambda ref: (ref.namespace, ref.name))
        return [(ref, self._objects[ref]) for ref in self._order[kind] if namespace in ("", ref.namespace)]

    def peek(self, kind: Kind, namespace: str, name: str) -> Object:
        """A copy of the object, which must be there."""
        return self._copy(Ref(kind, namespace, name))

    def version(self, kind: Kind, namespace: str, name: str) -> str | None:
        """The object's resourceVersion, or None where it is not: as long as that is the same, so is the object."""
        obj = self._objects.get(Ref(kind, namespace, name))
        return None if obj is None else str(obj["metadata"]["resourceVersion"])

    def exists(self, kind: Kind, namespace: str, name: str) -> bool:
        """Whether the object is there."""
        return Ref(kind, namespace, name) in self._objects

    def snapshot(self) -> dict[Ref, Object]:
        """Everything, without resourceVersions: equal snapshots are equal clusters."""
        objects = copied(self._objects)
        for obj in objects.values():
            del obj["metadata"]["resourceVersion"]
        return objects

    def user_apply(self, obj: Object) -> Object:
        """What `kubectl apply` does for a user, status included; not counted among the writes."""
        ref = ref_of(obj)
        return self._apply(ref, copied(obj), "", "kubectl", count=False)

    def user_edit(self, kind: Kind, namespace: str, name: str, change: Callable[[Object], None]) -> None:
        """Change the object in place, as `kubectl edit` or a controller of Kubernetes would."""
        self._store(Ref(kind, namespace, name), change)

    def user_delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete the object and what it owns."""
        self._delete(Ref(kind, namespace, name))
        self.collect_garbage()

    def collect_garbage(self) -> None:
        """Delete what has owners, all of which are gone, until nothing more goes."""
        while dangling := [ref for ref, obj in self._objects.items() if self._orphaned(obj)]:
            for ref in dangling:
                self._delete(ref)

    # the machinery

    def _copy(self, ref: Ref) -> Object:
        """Of an object that is there; what is stored is never changed, only replaced."""
        if ref not in self._pickled:
            self._pickled[ref] = pickle.dumps(self._objects[ref], pickle.HIGHEST_PROTOCOL)
        found: Object = pickle.loads(self._pickled[ref])
        return found

    def _orphaned(self, obj: Object) -> bool:
        uids = {other["metadata"]["uid"] for other in self._objects.values()}
        owners = obj["metadata"].get("ownerReferences", [])
        return bool(owners) and not any(owner["uid"] in uids for owner in owners)

    def _check(self, verb: str, ref: Ref) -> None:
        if ref.kind not in self.kinds:
            raise NotFound(f"the server could not find {ref.kind.plural}")
        error = self.refuse(verb, ref)
        if error is not None:
            raise error

    def _apply(self, ref: Ref, wanted: Object, subresource: str, manager: str, *, count: bool = True) -> Object:
        self._precondition(ref, wanted["metadata"])
        for name in _SERVER_OWNED:
            wanted["metadata"].pop(name, None)
        fields = {name: value for name, value in wanted.items() if name not in ("apiVersion", "kind")}
        for name in ("name", "namespace"):
            fields["metadata"].pop(name, None)
        if not fields["metadata"]:
            del fields["metadata"]
        owners = copied(self._owners[ref, subresource])

        def change(obj: Object) -> None:
            ssa.apply(obj, owners, fields, manager)

        changed = self._store(ref, change, force=owners_differ(self._owners[ref, subresource], owners))
        self._owners[ref, subresource] = owners
        if count:
            self._wrote("apply_status" if subresource else "apply", ref, manager, changed=changed)
        return self._copy(ref)

    def _precondition(self, ref: Ref, metadata: Mapping[str, Any]) -> None:
        present = self._objects.get(ref, {}).get("metadata", {})
        for name in ("resourceVersion", "uid") if present else ("uid",):
            if name in metadata and metadata[name] != present.get(name):
                raise Conflict(f"{ref.kind.plural} {ref.name!r}: {name} is no longer {metadata[name]}")

    def _store(self, ref: Ref, change: Callable[[Object], None], *, force: bool = False) -> bool:
        before = self._objects.get(ref)
        after = self._copy(ref) if before else self._new(ref)
        change(after)
        self.mutate(after)
        _validate(ref, after)
        if before is not None and after == before and not force:
            return False
        if before is not None and ref.kind in GENERATION and after.get("spec") != before.get("spec"):
            after["metadata"]["generation"] += 1
        self._version += 1
        after["metadata"]["resourceVersion"] = str(self._version)
        self._objects[ref] = after
        self._pickled.pop(ref, None)
        if before is None:
            self._order.pop(ref.kind, None)
        self._tell("MODIFIED" if before else "ADDED", after)
        return True

    def _new(self, ref: Ref) -> Object:
        self._uids += 1
        metadata: dict[str, Any] = {"name": ref.name, "uid": f"uid-{self._uids}"}
        metadata["creationTimestamp"] = rfc3339(self.now)
        if ref.namespace:
            metadata["namespace"] = ref.namespace
        if ref.kind in GENERATION:
            metadata["generation"] = 1
        return {"apiVersion": ref.kind.api_version, "kind": ref.kind.kind, "metadata": metadata}

    def _delete(self, ref: Ref) -> None:
        obj = self._objects[ref]
        if obj["metadata"].get("finalizers"):
            self._store(ref, lambda live: live["metadata"].setdefault("deletionTimestamp", rfc3339(self.now)))
            return
        del self._objects[ref]
        self._pickled.pop(ref, None)
        self._order.pop(ref.kind, None)
        self._version += 1
        for key in [key for key in self._owners if key[0] == ref]:
            del self._owners[key]
        self._tell("DELETED", obj)

    def _tell(self, change: str, obj: Object) -> None:
        for listener in self.listeners:
            listener(change, copied(obj))

    def _wrote(self, verb: str, ref: Ref, manager: str, *, changed: bool) -> None:
        self.writes.append(Write(verb, ref, manager, changed))
        if self.crash_after is not None:
            self.crash_after -= 1
            if self.crash_after <= 0:
                self.crash_after = None
                raise Killed(f"after {verb} of {ref.kind.plural} {ref.namespace}/{ref.name}")


def _merge(value: dict[str, Any], patch: Mapping[str, Any]) -> None:
    """RFC 7386, in place."""
    for name, wanted in patch.items():
        if wanted is None:
            value.pop(name, None)
        elif isinstance(wanted, dict):
            if not isinstance(value.get(name), dict):
                value[name] = {}
            _merge(value[name], wanted)
        else:
            value[name] = wanted


def owners_differ(before: Mapping[str, Iterable[Any]], after: Mapping[str, Iterable[Any]]) -> bool:
    """Whether managedFields would differ: that alone is a new resourceVersion."""
    return {name: set(paths) for name, paths in before.items()} != {name: set(paths) for name, paths in after.items()}


def rfc3339(instant: float) -> str:
    """Unix seconds as Kubernetes writes them."""
    return datetime.fromtimestamp(int(instant), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _validate(ref: Ref, obj: Object) -> None:
    """What the real server refuses on kinds that carry our content."""
    if ref.kind not in (kinds.SECRET, kinds.CONFIG_MAP):
        return
    if "stringData" in obj:
        raise Invalid("stringData has no place in an apply: the server would not know whose it is")
    encoded = dict(obj.get("data" if ref.kind == kinds.SECRET else "binaryData", {}))
    plain = {} if ref.kind == kinds.SECRET else dict(obj.get("data", {}))
    try:
        size = sum(len(base64.b64decode(value, validate=True)) for value in encoded.values())
        size += sum(len(value.encode()) for value in plain.values())
    except (TypeError, AttributeError, binascii.Error) as error:
        raise Invalid(f"{ref.kind.kind} {ref.name!r}: data is not a map of the right kind of strings") from error
    if size > MAX_DATA:
        raise Invalid(f"{ref.kind.kind} {ref.name!r}: must have at most {MAX_DATA} bytes")
