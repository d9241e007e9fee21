"""What a reconciler is given: ports to look through, never a client, a clock or a random source of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tailseal.cluster.port import Cluster, Kind, Object, Ref
from tailseal.domain.evidence import Replica
from tailseal.domain.publishing.store import Nowhere, Outside
from tailseal.runtime.key import Key

__all__ = [
    "Clock",
    "Context",
    "Done",
    "Enqueue",
    "Entropy",
    "Key",
    "Objects",
    "OperatorSettings",
    "Recorder",
    "Replicas",
]


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing more to do until something changes, or until `after` seconds have passed."""

    after: float | None = None


class Objects(Protocol):
    """The primed store: all custom objects, everything we own, labelled Secrets, worker pods."""

    def get(self, ref: Ref) -> Object | None:
        """The object as last seen, without managedFields; never to be changed in place."""
        ...

    def select(self, kind: Kind, namespace: str = "", labels: Mapping[str, str] | None = None) -> Iterable[Object]:
        """All objects of the kind (in the namespace, with these labels), ordered by namespace and name."""
        ...

    def namespaces(self) -> Mapping[str, Mapping[str, str]] | None:
        """Labels of every namespace, eldest first: the same mapping until one changes. None: they may not be read."""
        ...

    def put(self, obj: Object) -> None:
        """Remember what a write returned, so that the next reconcile does not plan from older state."""
        ...


class Replicas(Protocol):
    """What the probe knows of a provider's worker pods."""

    def of(self, namespace: str, provider: str) -> Sequence[Replica]:
        """All pods that exist, or that were ever Ready and are not yet known to be gone."""
        ...

    def want(self, namespace: str, provider: str, digests: Mapping[str, str]) -> None:
        """Tell the probe which digests are wanted: it polls fast, and tells them to the workers, until seen."""
        ...


class Clock(Protocol):
    """Time as reconcilers see it."""

    def now(self) -> float:
        """Unix seconds."""
        ...


class Entropy(Protocol):
    """Randomness as reconcilers see it."""

    def token(self, size: int) -> bytes:
        """That many random bytes."""
        ...

    async def private_key(self, algorithm: str, rsa_bits: int) -> bytes:
        """A new private key as PKCS#8 PEM, made off the event loop."""
        ...


class Recorder(Protocol):
    """Events for people."""

    async def event(self, obj: Object, *, warning: bool, reason: str, message: str) -> None:
        """Record an event about the object; repeated ones are dropped, failures are not the caller's business."""
        ...


class Enqueue(Protocol):
    """How one controller wakes another."""

    def __call__(self, key: Key, *, after: float = 0.0) -> None:
        """Put the key into the queue, at once or after some seconds."""
        ...


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """What the installation decides for all providers; no object can loosen it.

    Args:
        worker_image: image of the worker pods.
        worker_pull_secrets: names of Secrets, in each provider's namespace, that open that image's registry.
        worker_priority_class: PriorityClass of the worker pods; empty means the cluster's default. No provider's spec
            can ask for one: by it pods of others are preempted.
        tailscale_image: image of the nodes beside identity providers that are on a tailnet.
        sidecars: containers that others may put into workers' pods, each by name and what its image begins with.
        open_hosts: hosts or CIDRs beyond the public internet that workers may fetch from.
        extra_ca: PEM certificates that workers trust for egress besides the system's.
        fast_propagation: whether pods may be stamped (probed at start).
        ambient_credentials: namespaces whose providers may publish under the operator's own cloud identity.
    """

    worker_image: str = "tailseal:dev"
    worker_pull_secrets: tuple[str, ...] = ()
    worker_priority_class: str = ""
    tailscale_image: str = "tailscale/tailscale:v1.102.5"
    sidecars: tuple[tuple[str, str], ...] = ()
    open_hosts: tuple[str, ...] = ()
    extra_ca: str = ""
    fast_propagation: bool = True
    ambient_credentials: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """All ports of a reconciler."""

    cluster: Cluster
    objects: Objects
    replicas: Replicas
    clock: Clock
    entropy: Entropy
    recorder: Recorder
    enqueue: Enqueue
    settings: OperatorSettings
    outside: Outside = field(default_factory=Nowhere)
    memory: dict[Key, Any] = field(default_factory=dict)
    """What a controller remembers of a key between runs, one entry each: losing it costs work, never correctness."""
