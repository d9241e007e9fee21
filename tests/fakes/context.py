"""Everything else a reconciler looks through, in memory, and a world that holds it together.

world = World(CONTROLLERS)
world.cluster.user_apply(...)
await world.converge()
assert world.cluster.writes ...
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from fakes.cluster import FakeCluster, ref_of
from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.port import Kind, Object, Ref
from tailseal.domain.bundle import digest, model
from tailseal.domain.evidence import Replica, Report
from tailseal.reconcile.context import Context, Key, OperatorSettings


class FakeClock:
    """Unix seconds that stand still until told otherwise."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.value = now

    def now(self) -> float:
        return self.value

    def advance(self, seconds: float) -> None:
        self.value += seconds


class FakeEntropy:
    """Random-looking, the same in every run; RSA keys come from a pool that the test process makes once.

    Args:
        seed: another seed, other keys; a restarted operator never repeats the former one's.
    """

    def __init__(self, seed: str = "") -> None:
        self.seed = seed
        self.drawn = 0

    def token(self, size: int) -> bytes:
        self.drawn += 1
        return hashlib.shake_256(f"{self.seed}/{self.drawn}".encode()).digest(size)

    async def private_key(self, algorithm: str, rsa_bits: int) -> bytes:
        number = int.from_bytes(self.token(32), "big")
        key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
        if algorithm == "EdDSA":
            key = ed25519.Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))
        elif algorithm.startswith("ES"):
            curve = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}[algorithm]
            key = ec.derive_private_key(number >> 1 or 1, curve)
        else:
            key = _rsa(self.seed, self.drawn)
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


@functools.cache
def _rsa(_seed: str, _number: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


class FakeRecorder:
    """Keeps what would have been posted, as (kind/namespace/name, warning, reason, message)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, bool, str, str]] = []

    async def event(self, obj: Object, *, warning: bool, reason: str, message: str) -> None:
        metadata = obj["metadata"]
        about = f"{obj['kind']}/{metadata.get('namespace', '')}/{metadata['name']}"
        if (about, warning, reason, message) not in self.events:
            self.events.append((about, warning, reason, message))

    def reasons(self) -> list[str]:
        """Only the reasons, in order."""
        return [reason for _, _, reason, _ in self.events]


class FakeObjects:
    """The store over the fake cluster: fresh at every look, unless frozen at what it was.

    Only Secrets that are ours or labelled as allowed are seen, as in the real one.
    """

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster
        self._frozen: dict[Ref, Object] | None = None
        self.reads_namespaces = True

    def namespaces(self) -> Mapping[str, Mapping[str, str]] | None:
        if not self.reads_namespaces:
            return None
        found = [obj["metadata"] for _, obj in self._cluster.uncopied(kinds.NAMESPACE)]
        found.sort(key=lambda metadata: (metadata["creationTimestamp"], metadata["name"]))
        return {metadata["name"]: dict(metadata.get("labels", {})) for metadata in found}

    def freeze(self) -> None:
        """From now on show the present state, whatever happens (a dead watch); own writes are still seen."""
        self._frozen = {
            ref: self._copy(ref) for kind in (*kinds.CUSTOM, *kinds.OWNED, kinds.POD) for ref, _ in self._all(kind)
        }

    def thaw(self) -> None:
        """Show what is again."""
        self._frozen = None

    def get(self, ref: Ref) -> Object | None:
        if self._frozen is not None:
            return self._frozen.get(ref)
        if not self._cluster.exists(ref.kind, ref.namespace, ref.name):
            return None
        obj = self._cluster.peek(ref.kind, ref.namespace, ref.name)
        return obj if ref.kind in kinds.CUSTOM or _seen(obj) else None

    def select(self, kind: Kind, namespace: str = "", labels: Mapping[str, str] | None = None) -> Iterable[Object]:
        wanted = (labels or {}).items()
        found = [
            (ref, obj)
            for ref, obj in self._look(kind)
            if namespace in ("", ref.namespace) and wanted <= obj["metadata"].get("labels", {}).items()
        ]
        return [self._copy(ref) for ref, _ in found] if self._frozen is None else [obj for _, obj in found]

    def put(self, obj: Object) -> None:
        if self._frozen is not None:
            self._frozen[ref_of(obj)] = obj

    def _look(self, kind: Kind) -> list[tuple[Ref, Object]]:
        if self._frozen is None:
            return self._all(kind)
        refs = sorted((ref for ref in self._frozen if ref.kind == kind), key=lambda ref: (ref.namespace, ref.name))
        return [(ref, self._frozen[ref]) for ref in refs]

    def _all(self, kind: Kind) -> list[tuple[Ref, Object]]:
        return [(ref, obj) for ref, obj in self._cluster.uncopied(kind) if kind in kinds.CUSTOM or _seen(obj)]

    def _copy(self, ref: Ref) -> Object:
        return self._cluster.peek(ref.kind, ref.namespace, ref.name)


def _seen(obj: Object) -> bool:
    labels = obj["metadata"].get("labels", {})
    if labels.get(meta.MANAGED_BY) == "tailseal":
        return True
    return bool(obj["kind"] == "Secret" and labels.get(meta.ALLOW_LABEL) == "true")


class FakeReplicas:
    """Worker pods as the probe would know them.

    Until told otherwise they are *obedient*: each Deployment of the provider has `spec.replicas` Ready pods, each of
    which serves, holds and reports exactly what the bundle objects in the cluster say now.
    """

    def __init__(self, cluster: FakeCluster, clock: FakeClock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._told: dict[tuple[str, str], Sequence[Replica]] = {}
        self._reports: dict[tuple[str, str], tuple[tuple[str | None, ...], Report | None]] = {}
        self.wanted: dict[tuple[str, str], dict[str, str]] = {}

    def of(self, namespace: str, provider: str) -> Sequence[Replica]:
        if (namespace, provider) in self._told:
            return self._told[namespace, provider]
        return self.obedient(namespace, provider)

    def want(self, namespace: str, provider: str, digests: Mapping[str, str]) -> None:
        self.wanted[namespace, provider] = dict(digests)

    def tell(self, namespace: str, provider: str, replicas: Sequence[Replica] | None) -> None:
        """Fix what is known; None makes them obedient again."""
        if replicas is None:
            self._told.pop((namespace, provider), None)
        else:
            self._told[namespace, provider] = tuple(replicas)

    def obedient(self, namespace: str, provider: str) -> Sequence[Replica]:
        """What pods that follow at once would be and report; a base for tests that let some of them lag."""
        report = self.report(namespace, provider)
        if report is None:
            return ()
        found = []
        for _, deployment in self._cluster.uncopied(kinds.DEPLOYMENT, namespace):
            labels = deployment["metadata"].get("labels", {})
            if labels.get(meta.PROVIDER_LABEL) == provider:
                found += [
                    _pod(deployment, index, report) for index in range(deployment.get("spec", {}).get("replicas", 1))
                ]
        return tuple(found)

    def report(self, namespace: str, provider: str) -> Report | None:
        """The report of a worker that has just loaded the present bundle; None if there is no signing file yet."""
        volumes = (
            (kinds.SECRET, meta.signing_secret(provider)),
            (kinds.CONFIG_MAP, meta.policies_config_map(provider)),
            (kinds.SECRET, meta.credentials_secret(provider)),
        )
        versions = tuple(self._cluster.version(kind, namespace, name) for kind, name in volumes)
        known, report = self._reports.get((namespace, provider), ((), None))
        if known != versions:
            report = self._loaded(namespace, provider)
            self._reports[namespace, provider] = versions, report
        now = self._clock.now()
        return report and replace(report, sent_at=now, heard_at=now, clock=now)

    def _loaded(self, namespace: str, provider: str) -> Report | None:
        signing_files = self._files(kinds.SECRET, namespace, meta.signing_secret(provider))
        if model.SIGNING_FILE not in signing_files:
            return None
        signing = json.loads(signing_files[model.SIGNING_FILE])
        policies = self._files(kinds.CONFIG_MAP, namespace, meta.policies_config_map(provider))
        credentials = self._files(kinds.SECRET, namespace, meta.credentials_secret(provider))
        digests = {
            "signing": digest.volume_digest(signing_files),
            "policies": digest.policies_digest(policies.get(model.MANIFEST_FILE, b"")),
            "credentials": digest.volume_digest(credentials),
        }
        return Report(
            sent_at=0,
            heard_at=0,
            clock=0,
            digests=digests,
            served=frozenset(key["kid"] for key in signing["jwks"]["keys"]),
            held=frozenset(key["kid"] for key in signing.get("held", [])),
            signing=signing.get("active", {}),
            revision=signing.get("revision", 0),
            reads=model.VERSION,
        )

    def _files(self, kind: Kind, namespace: str, name: str) -> dict[str, bytes]:
        if not self._cluster.exists(kind, namespace, name):
            return {}
        obj = self._cluster.peek(kind, namespace, name)
        encoded = obj.get("data" if kind == kinds.SECRET else "binaryData", {})
        plain = {} if kind == kinds.SECRET else obj.get("data", {})
        return {file: base64.b64decode(text) for file, text in encoded.items()} | {
            file: text.encode() for file, text in plain.items()
        }


def _pod(deployment: Object, index: int, report: Report) -> Replica:
    metadata = deployment["metadata"]
    return Replica(
        uid=f"{metadata['uid']}-{index}",
        name=f"{metadata['name']}-{index}",
        component=metadata["labels"].get(meta.COMPONENT_LABEL, ""),
        ever_ready=True,
        ready=True,
        terminating=False,
        report=report,
        labels=dict(metadata["labels"]),
    )


@dataclass
class FakeQueue:
    """What reconcilers asked to be woken, as (key, after)."""

    asked: list[tuple[Key, float]]

    def __call__(self, key: Key, *, after: float = 0.0) -> None:
        self.asked.append((key, after))


def make_context(
    cluster: FakeCluster | None = None,
    clock: FakeClock | None = None,
    settings: OperatorSettings | None = None,
    **ports: Any,  # noqa: ANN401 - whatever port it is
) -> Context:
    """A context of fakes; any port may be given by its name."""
    cluster = cluster or FakeCluster()
    clock = clock or FakeClock()
    defaults: dict[str, Any] = {
        "cluster": cluster,
        "objects": FakeObjects(cluster),
        "replicas": FakeReplicas(cluster, clock),
        "clock": clock,
        "entropy": FakeEntropy(),
        "recorder": FakeRecorder(),
        "enqueue": FakeQueue([]),
        "settings": settings or OperatorSettings(),
    }
    return Context(**(defaults | ports))
