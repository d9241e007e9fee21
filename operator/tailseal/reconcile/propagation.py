"""Makes what was written arrive: tells the probe what is wanted, and wakes the kubelets of replicas that lag.

A kubelet left alone takes up to 90 s to project a changed Secret or ConfigMap; a changed annotation on the pod makes
it look at once. Where we may not annotate, everything works at the kubelet's pace.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.errors import ClusterError, Conflict, Forbidden, NotFound
from tailseal.cluster.port import Object, Ref
from tailseal.domain.bundle import digest
from tailseal.domain.evidence import Replica
from tailseal.domain.rotation import IssuerLedger, LedgerError
from tailseal.domain.rotation.ledger import FILE
from tailseal.reconcile.context import Context, Done, Key
from tailseal.reconcile.measured import GRACE, UNREACHABLE, PropagationMemory, memory_of, serves, wanted_digests

RETRIES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds after a change at which replicas that do not report it are stamped again: a kubelet that was without its API
server looks for what is new there up to half a minute later, and what it shows until then is of before.
"""

STUCK: Final = 10.0
"""Seconds after which a replica that still has a revoked key is deleted."""

HOPELESS: Final = 60.0
"""Seconds after which it is deleted although others are not ready: trust goes before zero downtime."""


async def reconcile(ctx: Context, namespace: str, name: str) -> Done:
    """Follow the present bundle of one provider to its replicas."""
    if ctx.objects.get(Ref(kinds.IDENTITY_PROVIDER, namespace, name)) is None:
        ctx.memory.pop(Key("Propagation", namespace, name), None)
        return Done()
    memory, now = memory_of(ctx, namespace, name), ctx.clock.now()
    wanted = wanted_digests(ctx.objects, namespace, name)
    if wanted != memory.wanted:
        memory.wanted, memory.since = wanted, now
    ctx.replicas.want(namespace, name, wanted)
    replicas = {replica.uid: replica for replica in ctx.replicas.of(namespace, name)}
    pods = list(ctx.objects.select(kinds.POD, namespace, {meta.PROVIDER_LABEL: name}))
    lagging = [pod for pod in pods if _runs(pod) and not _serves(replicas.get(pod["metadata"]["uid"]), wanted)]
    behind = {replica.uid for replica in replicas.values() if not serves(replica, wanted)}
    memory.lag = {uid: memory.lag.get(uid, now) for uid in behind | {pod["metadata"]["uid"] for pod in lagging}}
    waited = now - memory.since
    await _stamp(ctx, lagging, memory, sum(waited >= offset for offset in RETRIES))
    await _delete_stuck(ctx, namespace, name, list(replicas.values()))
    return Done(after=_next(waited) if memory.lag else None)


async def _stamp(ctx: Context, pods: Iterable[Object], memory: PropagationMemory, attempt: int) -> None:
    """Annotate each pod; a value that a pod carries already is not written again."""
    if not ctx.settings.fast_propagation:
        return
    value = digest.stamp(memory.wanted, attempt)
    due = [pod for pod in pods if pod["metadata"].get("annotations", {}).get(meta.BUNDLE_ANNOTATION) != value]
    refused: list[ClusterError] = []
    for pod in due:
        metadata = pod["metadata"]
        try:
            await ctx.cluster.annotate(
                Ref(kinds.POD, metadata["namespace"], metadata["name"]), {meta.BUNDLE_ANNOTATION: value}
            )
        except NotFound:
            continue  # it is gone, and so is the need
        except ClusterError as error:
            refused.append(error)  # one pod's trouble holds up no other's
    if due:
        memory.forbidden = any(isinstance(error, Forbidden) for error in refused)
    for reason in refused:
        if not isinstance(reason, Forbidden):
            raise reason


async def _delete_stuck(ctx: Context, namespace: str, name: str, replicas: Sequence[Replica]) -> None:
    """Delete one replica that still has a revoked key; the next only when its component's others are ready again.

    Others that come back no more, as on a node that is down, protect a revoked key for `HOPELESS` at most.
    """
    revoked, overdue = _long_revoked(ctx, namespace, name, STUCK), _long_revoked(ctx, namespace, name, HOPELESS)
    stuck = [replica for replica in replicas if _has(replica, revoked)]
    # A pod of another component that is not ready has nothing to do with it.
    waiting = {replica.component for replica in replicas if replica not in stuck and not replica.ready}
    leaving = any(replica.terminating for replica in replicas)
    due = [
        replica
        for replica in stuck
        if not replica.terminating and (_has(replica, overdue) or not (leaving or replica.component in waiting))
    ]
    if not due:
        return
    first = due[0]
    try:
        await ctx.cluster.delete(Ref(kinds.POD, namespace, first.name), uid=first.uid)
    except Conflict:
        return  # another pod has that name by now
    except Forbidden:
        memory_of(ctx, namespace, name).forbidden = True


def _has(replica: Replica, kids: frozenset[str]) -> bool:
    report = replica.report
    return report is not None and not kids.isdisjoint((*report.held, *report.served, *report.signing.values()))


def _long_revoked(ctx: Context, namespace: str, name: str, seconds: float) -> frozenset[str]:
    """Ids of keys whose revocation is known for longer than that."""
    secret = ctx.objects.get(Ref(kinds.SECRET, namespace, meta.issuer_secret(name)))
    content = ((secret or {}).get("data") or {}).get(FILE)
    if content is None:
        return frozenset()
    try:
        revoked = IssuerLedger.from_json(base64.b64decode(content)).revoked
    except LedgerError:
        return frozenset()
    return frozenset(kid for kid, since in revoked.items() if ctx.clock.now() - since > seconds)


def _runs(pod: Object) -> bool:
    """Whether a kubelet keeps volumes for it."""
    status = pod.get("status", {})
    return bool(status.get("podIP")) and "deletionTimestamp" not in pod["metadata"]


def _serves(replica: Replica | None, wanted: Mapping[str, str]) -> bool:
    return replica is not None and serves(replica, wanted)


def _next(waited: float) -> float | None:
    """Seconds until a lagging replica is to be looked at again: stamped, named, or deleted."""
    dues = (*RETRIES, GRACE, STUCK + 0.1, UNREACHABLE + 0.1)
    return min((due - waited for due in dues if due > waited), default=STUCK)
