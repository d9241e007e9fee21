"""The protocol through which reconcilers reach the Kubernetes API, so that they can be tested without one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Object = dict[str, Any]
"""A Kubernetes object as its JSON says it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource type: what a request's path and an object's `apiVersion` and `kind` are made of."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects, e.g. `v1` or `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True, slots=True)
class Ref:
    """One object's address; `namespace` is empty for cluster-scoped kinds."""

    kind: Kind
    namespace: str
    name: str


class Cluster(Protocol):
    """What we ask of an API server. Every call has a timeout and raises only `ClusterError`s."""

    async def get(self, ref: Ref) -> Object | None:
        """The object, or None if there is none."""
        ...

    def list(self, kind: Kind, namespace: str = "", *, label_selector: str = "") -> AsyncIterator[Object]:
        """All objects of a kind, page by page; an empty namespace means all of them."""
        ...

    async def apply(self, obj: Object, *, manager: str) -> Object:
        """Server-side apply with force; creates a missing object.

        With `metadata.resourceVersion` set it applies to exactly that version of an object that exists; where
        there is none, the server creates one all the same (measured), unless `metadata.uid` is set, too.

        Raises:
            Conflict: the object is at another version, or is another object, by now.
        """
        ...

    async def apply_status(self, obj: Object, *, manager: str) -> Object:
        """Server-side apply of the status subresource, with force."""
        ...

    async def delete(self, ref: Ref, *, uid: str = "") -> None:
        """Delete the object (only if it has that uid, where one is given); a missing object is fine."""
        ...

    async def annotate(self, ref: Ref, annotations: Mapping[str, str]) -> None:
        """Set annotations by a merge patch: how worker pods are stamped."""
        ...

    async def merge(self, ref: Ref, patch: Mapping[str, Any]) -> Object:
        """Merge patch (RFC 7386) of an existing object: how fields that others added to what we own are removed.

        With `metadata.resourceVersion` in the patch it applies to exactly that version.

        Raises:
            Conflict: the object is at another version by now.
            NotFound: there is no such object.
        """
        ...

    async def admits(self, ref: Ref, patch: Mapping[str, Any]) -> bool:
        """Whether rights and admission would let this merge patch pass: a dry run, nothing is stored.

        Raises:
            NotFound: there is no such object.
        """
        ...

    async def create_event(self, namespace: str, event: Object) -> None:
        """Post an `events.k8s.io/v1` Event."""
        ...

    async def pod_proxy(self, pod: Ref, port: int, path: str, body: bytes) -> bytes:
        """POST to a pod's port through the API server's `pods/proxy`, for where pod IPs are out of reach."""
        ...

    async def serves(self, kind: Kind) -> bool:
        """Whether the API server knows the kind (its CRD is installed)."""
        ...

    async def whoami(self) -> Mapping[str, Any]:
        """Who the API server takes us for: `status.userInfo` of a SelfSubjectReview."""
        ...
