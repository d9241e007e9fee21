"""The workloads of an IdentityProvider: which there are to be, by what its spec says of storage and tailnet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Literal
from urllib.parse import urlsplit

from tailseal.api import meta
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.identityprovider.storage import Volume
from tailseal.api.identityprovider.tailnet import Tailnet
from tailseal.cluster import kinds
from tailseal.cluster.port import Object, Ref
from tailseal.domain.render import applied
from tailseal.domain.render.claim import claim
from tailseal.domain.render.common import COMPONENTS, Component, Provider
from tailseal.domain.render.deployment import Own, Workload, deployment
from tailseal.domain.render.networkpolicy import network_policy
from tailseal.domain.render.nodestate import account, role, role_binding, state
from tailseal.domain.render.pdb import pod_disruption_budget
from tailseal.domain.render.service import service
from tailseal.domain.render.serviceaccount import service_account
from tailseal.domain.render.sidecar import Sidecar, serve_config
from tailseal.reconcile.context import Objects, OperatorSettings
from tailseal.reconcile.identityprovider.nodes import Identity

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


def wanted(
    provider: Provider,
    component: Component,
    spec: IdentityProviderSpec,
    by: OperatorSettings,
    nodes: Mapping[int, Identity],
) -> list[Object]:
    """The objects of one component, in order; none where it is switched off.

    Args:
        provider: whose.
        component: `sts` or `idp`.
        spec: the one that holds.
        by: what the installation says.
        nodes: who they are, by number, as far as a claim is to remember it.
    """
    service_spec = spec.sts if component == "sts" else spec.idp
    if not service_spec.enabled:
        return []
    tls, numbered = spec.serving.tls is not None, is_numbered(component, spec)
    owns = _owns(provider, spec, by) if numbered else []
    replicas = len(owns) or service_spec.replicas
    workload = _workload(component, spec, by)
    objects = [
        service_account(provider, component),
        network_policy(provider, component),
        service(provider, component, tls=tls),
        *filter(None, [pod_disruption_budget(provider, component, replicas)]),
        *(_kept(provider, spec, owns, nodes) if numbered else ()),
        *(_pods(provider, workload, owns) if numbered else (deployment(provider, workload),)),
    ]
    return [applied.stamped(obj) for obj in objects]


def unwanted(
    provider: Provider,
    component: Component,
    objects: Objects,
    keep: list[Object],
    differs: Callable[[Object, Object], bool],
    in_vain: Callable[[Object, Object], bool],
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


def _is_settled(
    wanted: Object,
    present: Object | None,
    differs: Callable[[Object, Object], bool],
    in_vain: Callable[[Object, Object], bool],
) -> bool:
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
    objects: Objects,
    wanted: list[Object],
    differs: Callable[[Object, Object], bool],
    made: Callable[[Object], bool],
    in_vain: Callable[[Object, Object], bool],
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


def is_numbered(component: Component, spec: IdentityProviderSpec) -> bool:
    """Whether each replica has a file or an identity of its own, so that none can stand in for another."""
    return component == "idp" and (spec.tailnet is not None or keeps_files(spec))


def keeps_files(spec: IdentityProviderSpec) -> bool:
    """Whether its replicas keep logins in a file each: also where nothing is said of storage, and people come."""
    return spec.tailnet is not None if spec.storage is None else spec.storage.type == "SQLite"


def _owns(provider: Provider, spec: IdentityProviderSpec, by: OperatorSettings) -> list[Own]:
    """What each numbered replica has to itself; the numbers stay when all of them are to stand still."""
    sidecar = None if spec.tailnet is None else _sidecar(spec.tailnet, spec.issuer, provider.name, by)
    claimed = _volume(spec) is not None
    return [Own(number, keeps_files(spec), claimed, sidecar) for number in range(spec.idp.replicas or 1)]


def _kept(
    provider: Provider, spec: IdentityProviderSpec, owns: list[Own], nodes: Mapping[int, Identity]
) -> Iterator[Object]:
    """What the pods need to be there."""
    sidecar = owns[0].sidecar
    if sidecar is not None and sidecar.mode == "Serve":
        yield serve_config(provider, sidecar)
    logins, node = _volume(spec), spec.tailnet.volume if spec.tailnet is not None else None
    for own in owns:
        yield from _identity(provider, own)
        if logins is not None:
            yield _claim(provider, meta.state_claim(provider.name, own.number), logins)
        if node is not None:
            said = nodes.get(own.number, Identity()).annotations()
            yield _claim(provider, meta.tailnet_state(provider.name, own.number), node, said)


def _claim(provider: Provider, name: str, volume: Volume, said: Mapping[str, str] | None = None) -> Object:
    return claim(provider, name, size=volume.size, storage_class=volume.storage_class_name, annotations=said)


def _identity(provider: Provider, own: Own) -> Iterator[Object]:
    """Who a replica's node is for those who ask for a token, and where it keeps its identity if no volume does."""
    if own.sidecar is None or not own.sidecar.has_account:
        return
    yield account(provider, own.number)
    if not own.sidecar.claimed:
        # The role well before what binds it, which is refused until the API server's own caches know the role.
        yield role(provider, own.number)
        yield state(provider, own.number)
        yield role_binding(provider, own.number)


def _pods(provider: Provider, workload: Workload, owns: list[Own]) -> Iterator[Object]:
    replicas = 0 if workload.replicas == 0 else 1
    for own in owns:
        yield deployment(provider, replace(workload, replicas=replicas, own=own))


def _volume(spec: IdentityProviderSpec) -> Volume | None:
    if spec.storage is None or spec.storage.sqlite is None:
        return None
    return spec.storage.sqlite.volume


def _sidecar(tailnet: Tailnet, issuer: str, provider: str, by: OperatorSettings) -> Sidecar:
    identity = tailnet.auth.workload_identity
    return Sidecar(
        image=by.tailscale_image,
        mode=tailnet.mode,
        hostname=tailnet.hostname or provider,
        by=_joins_by(tailnet),
        login_server=tailnet.login_server or "",
        tags=tailnet.tags,
        port=tailnet.port or 0,
        funnel=tailnet.funnel.enabled,
        claimed=tailnet.volume is not None,
        client_id=identity.client_id if identity is not None else "",
        audience=(identity.audience or f"api.tailscale.com/{identity.client_id}") if identity is not None else "",
        service=tailnet.service or "",
        host=urlsplit(issuer).hostname or "",
        resources=tailnet.resources.document(),
    )


def _joins_by(tailnet: Tailnet) -> Literal["authkey", "client-secret", "id-token"]:
    if tailnet.auth.auth_key_secret_ref is not None:
        return "authkey"
    return "client-secret" if tailnet.auth.oauth_client_secret_ref is not None else "id-token"


def _workload(component: Component, spec: IdentityProviderSpec, by: OperatorSettings) -> Workload:
    pods = spec.workload
    return Workload(
        component=component,
        image=by.worker_image,
        replicas=(spec.sts if component == "sts" else spec.idp).replicas,
        tls=spec.serving.tls is not None,
        labels=pods.labels,
        node_selector=pods.node_selector,
        tolerations=[toleration.document() for toleration in pods.tolerations],
        resources=pods.resources.document(),
        log_level=pods.log_level.lower(),
        pull_secrets=by.worker_pull_secrets,
        priority_class=by.worker_priority_class,
    )
