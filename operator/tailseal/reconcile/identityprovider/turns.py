"""When an IdentityProvider's workloads are written and removed: not so that all that serve are down at once.

Each numbered replica is a Deployment of one pod that ends before its successor starts: they take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.port import Object, Ref
from tailseal.domain.render.common import COMPONENTS, Component, Provider
from tailseal.reconcile.context import Objects

KINDS = (
    kinds.SERVICE_ACCOUNT,
    kinds.NETWORK_POLICY,
    kinds.SERVICE,
    kinds.POD_DISRUPTION_BUDGET,
    kinds.CONFIG_MAP,
    kinds.PERSISTENT_VOLUME_CLAIM,
    kinds.ROLE,
    kinds.ROLE_BINDING,
    kinds.DEPLOYMENT,
)
"""What a component is made of, in the order in which it is written: pods last."""

_REMOVABLE = tuple(kind for kind in reversed(KINDS) if kind != kinds.PERSISTENT_VOLUME_CLAIM)
"""In the order in which it is removed: pods are told to end before their NetworkPolicy goes. Claims stay, and so do
nodes' Secrets: they are for whoever comes back."""

_Compares = Callable[[Object, Object], bool]
"""What is wanted with what is there."""


def unwanted(
    provider: Provider,
    component: Component,
    objects: Objects,
    keep: list[Object],
    differs: _Compares,
    in_vain: _Compares,
) -> Iterator[Ref]:
    """What is there of the component and should not be; of a node that waits for its turn, not yet who it is.

    Numbered replicas that serve go last, when those that stay are as wanted and up: or all could be down together.

    Args:
        provider: whose.
        component: `sts` or `idp`.
        objects: as they are there.
        keep: all that is wanted of the component.
        differs: as for `due`.
        in_vain: as for `due`: what no write changes is waited for no longer.
    """
    kept = {kinds.ref(obj) for obj in keep}
    staying = [(obj, objects.get(kinds.ref(obj))) for obj in keep if _is_replica(obj) and obj["spec"]["replicas"] > 0]
    if not all(_is_settled(obj, present, differs, in_vain) for obj, present in staying):
        kept |= {kinds.ref(obj) for obj in _serving(provider, component, objects)}
    for kind in _REMOVABLE:
        for obj in objects.select(kind, provider.namespace, provider.labels(component)):
            ref = kinds.ref(obj)
            if ref not in kept and not (is_of_a_node(provider, obj) and _runs_as(objects, ref, kept)):
                yield ref


def _is_settled(wanted: Object, present: Object | None, differs: _Compares, in_vain: _Compares) -> bool:
    if present is None or not _is_up(present):
        return False
    return not differs(wanted, present) or in_vain(wanted, present)


def _serving(provider: Provider, component: Component, objects: Objects) -> Iterator[Object]:
    """Numbered replicas that are up, wanted or not."""
    for obj in objects.select(kinds.DEPLOYMENT, provider.namespace, provider.labels(component)):
        if _is_replica(obj) and obj.get("status", {}).get("availableReplicas", 0) > 0:
            yield obj


def _runs_as(objects: Objects, account: Ref, kept: set[Ref]) -> bool:
    """Whether pods that stay run under the account, or by what is called as it is."""
    ref = Ref(kinds.DEPLOYMENT, account.namespace, account.name)
    present = objects.get(ref) if ref in kept else None
    return present is not None and present["spec"]["template"]["spec"].get("serviceAccountName") == account.name


def due(
    objects: Objects, wanted: list[Object], differs: _Compares, made: Callable[[Object], bool], in_vain: _Compares
) -> Iterator[Object]:
    """What may be written now: of numbered replicas that serve, the next one changes when the others are up again.

    Each is a Deployment of one pod that ends before its successor starts: changed together, all would be down together.

    Args:
        objects: as they are there; what is written is to be in them before the next one is asked for.
        wanted: all objects of one component.
        differs: whether it takes a write to have it so.
        made: whether we wrote one so already: what others changed in it is put back at once.
        in_vain: whether that came to what is there, by an admission policy: it takes its turn, and nobody waits for it.
    """
    numbered = {kinds.ref(obj): objects.get(kinds.ref(obj)) for obj in wanted if _is_replica(obj)}
    down = {ref for ref, present in numbered.items() if not _is_up(present)}
    for obj in wanted:
        ref = kinds.ref(obj)
        present = numbered.get(ref)
        if present is None or not (_serves(obj, present) and differs(obj, present)):
            yield obj
            continue
        is_vain = in_vain(obj, present)
        if down - {ref} and (is_vain or not made(obj)):
            continue
        yield obj
        if not is_vain or not _is_up(objects.get(ref)):  # the policy may be gone by now
            down.add(ref)


def _is_replica(obj: Object) -> bool:
    return obj["kind"] == kinds.DEPLOYMENT.kind and meta.ORDINAL_LABEL in obj["metadata"]["labels"]


def _serves(wanted: Object, present: Object) -> bool:
    """Whether writing it ends a pod that serves and is to be replaced."""
    serves: bool = present.get("status", {}).get("availableReplicas", 0) > 0
    return serves and wanted["spec"]["replicas"] > 0


def _is_up(present: Object | None) -> bool:
    """As `kubectl rollout status` has it."""
    if present is None:
        return False
    status, replicas = present.get("status", {}), present["spec"].get("replicas", 1)
    counted = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    return status.get("observedGeneration", 0) >= present["metadata"].get("generation", 0) and counted == [replicas] * 3


def is_of_a_node(provider: Provider, obj: Object) -> bool:
    """Whether it says who a node of the tailnet is, or what that may do."""
    if obj["kind"] == kinds.SERVICE_ACCOUNT.kind:
        return obj["metadata"]["name"] not in {meta.workload(provider.name, component) for component in COMPONENTS}
    return obj["kind"] in {kind.kind for kind in (kinds.ROLE, kinds.SECRET, kinds.ROLE_BINDING)}
