"""What is served, as seen: the written bundle's digests beside what every replica last reported."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tailseal.api import meta
from tailseal.api.reasons import Reason
from tailseal.cluster import kinds
from tailseal.cluster.port import Ref
from tailseal.domain.bundle import digest, model
from tailseal.domain.evidence import Replica, listed
from tailseal.reconcile.conditions import Fact
from tailseal.reconcile.context import Context, Key, Objects
from tailseal.reconcile.identityprovider.refs import files_of

UNREACHABLE = 30.0
"""Seconds without an answer after which what a replica serves is unknown."""

GRACE = 10.0
"""Seconds for which a provider that was programmed stays so while a change is under way."""

_CAUSES = (
    "a NetworkPolicy between operator and workers, a node that is down, an operator outside of the pod network, "
    "or clocks that are minutes apart (see ClockSkew)"
)


@dataclass(frozen=True, slots=True)
class Measured:
    """The replicas of one provider, by what they were seen to serve. Names of pods.

    Args:
        wanted: digest of each volume as written; a volume that was never written is not among them.
        serving: serve exactly that.
        behind: serve something else.
        unreachable: did not answer for 30 s.
        components: which components have a replica that counts.
        late: those of `behind` that are so for longer than `GRACE`.
        problems: reason words of what a replica could not load, by pod.
    """

    wanted: Mapping[str, str]
    serving: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    components: frozenset[str] = frozenset()
    problems: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def replicas(self) -> int:
        """How many replicas count."""
        return len(self.serving) + len(self.behind) + len(self.unreachable)

    @property
    def everywhere(self) -> bool:
        """Whether all that count, and at least one, serve all volumes as written."""
        return bool(self.serving) and not self.behind and not self.unreachable and set(self.wanted) == {*model.VOLUMES}


@dataclass(slots=True)
class PropagationMemory:
    """What the controller `Propagation` keeps between runs.

    Args:
        wanted: the digests that it last told the probe.
        since: since when they are wanted (Unix seconds).
        lag: since when a replica was not seen to serve what is wanted, by uid.
        forbidden: annotating a pod was refused.
        fences: by resource, when it was asked whether its fence stands, and the answer.
    """

    wanted: Mapping[str, str] = field(default_factory=dict)
    since: float = 0.0
    lag: dict[str, float] = field(default_factory=dict)
    forbidden: bool = False
    fences: dict[str, tuple[float, bool]] = field(default_factory=dict)


def memory_of(ctx: Context, namespace: str, provider: str) -> PropagationMemory:
    """What the controller `Propagation` remembers of the provider."""
    memory: PropagationMemory = ctx.memory.setdefault(Key("Propagation", namespace, provider), PropagationMemory())
    return memory


def wanted_digests(objects: Objects, namespace: str, provider: str) -> dict[str, str]:
    """Digest by volume of the bundle as it was written."""
    found = {"credentials": digest.volume_digest(files_of(objects, namespace, meta.credentials_secret(provider)))}
    if signing := files_of(objects, namespace, meta.signing_secret(provider)):
        found["signing"] = digest.volume_digest(signing)
    policies = objects.get(Ref(kinds.CONFIG_MAP, namespace, meta.policies_config_map(provider)))
    if manifest := ((policies or {}).get("data") or {}).get(model.MANIFEST_FILE):
        found["policies"] = digest.policies_digest(manifest.encode())
    return found


def measure(ctx: Context, namespace: str, provider: str) -> Measured:
    """What is wanted of a provider's replicas, and which of them serve it.

    Counted are replicas that were ever Ready and are not on their way out.
    """
    wanted = wanted_digests(ctx.objects, namespace, provider)
    now = ctx.clock.now()
    memory: PropagationMemory | None = ctx.memory.get(Key("Propagation", namespace, provider))
    lag = memory.lag if memory else {}
    found: dict[str, list[str]] = {"serving": [], "behind": [], "unreachable": [], "late": []}
    problems = {}
    replicas = counted(ctx.replicas.of(namespace, provider))
    for replica in replicas:
        waited = now - lag.get(replica.uid, now)
        standing = _standing(replica, wanted, now, waited)
        found[standing].append(replica.name)
        if standing == "behind" and waited >= GRACE:
            found["late"].append(replica.name)
        if replica.report is not None and replica.report.problems:
            problems[replica.name] = replica.report.problems
    names = {standing: tuple(sorted(pods)) for standing, pods in found.items()}
    return Measured(wanted, components=frozenset(map(_component, replicas)), problems=problems, **names)


def counted(replicas: Iterable[Replica]) -> list[Replica]:
    """The replicas that callers are led to, or were and may be again."""
    return [replica for replica in replicas if replica.ever_ready and not replica.terminating]


def serves(replica: Replica, wanted: Mapping[str, str]) -> bool:
    """Whether the replica reported every wanted digest."""
    return replica.report is not None and all(
        replica.report.digests.get(volume) == digest_ for volume, digest_ in wanted.items()
    )


def programmed(measured: Measured, *, needed: Collection[str], latched: bool) -> Fact:
    """The condition `Programmed` of a provider.

    Args:
        measured: the replicas.
        needed: the components that must have a replica.
        latched: it was True already for this generation, so that a change under way shows only after a while.
    """
    if missing := sorted(set(needed) - measured.components):
        return _fact(False, Reason.NO_REPLICAS, f"no pod of {', '.join(missing)} was ready yet")
    if measured.unreachable:
        text = f"no answer from {listed(measured.unreachable)} for 30 s; usual causes: {_CAUSES}"
        return _fact(None, Reason.REPLICA_UNREACHABLE, text)
    if measured.everywhere or (latched and not measured.late):
        return _fact(True, Reason.PROGRAMMED, "every replica serves the present configuration")
    return _lagging(measured)


def _lagging(measured: Measured) -> Fact:
    pods = listed(measured.late or measured.behind)
    words = sorted({word for found in measured.problems.values() for word in found})
    if words:
        return _fact(False, Reason.BUNDLE_INVALID, f"{pods} cannot load: {', '.join(words)}")
    if measured.late:
        return _fact(False, Reason.REPLICA_BEHIND, f"an older configuration is served by {pods}")
    return _fact(False, Reason.WAITING_FOR_REPLICAS, f"waiting for {pods}" if pods else "not written yet")


def _component(replica: Replica) -> str:
    return replica.component


def _standing(replica: Replica, wanted: Mapping[str, str], now: float, waited: float) -> str:
    silent = waited if replica.report is None else now - replica.report.heard_at
    if silent > UNREACHABLE:
        return "unreachable"
    return "serving" if serves(replica, wanted) else "behind"


def _fact(status: bool | None, reason: Reason, message: str) -> Fact:  # noqa: FBT001 - as in Fact
    return Fact("Programmed", status=status, reason=reason, message=message)
