"""The workloads of an IdentityProvider: which there are to be, by what its spec says of storage and tailnet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal
from urllib.parse import urlsplit

from tailseal.api import meta
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.identityprovider.storage import Volume
from tailseal.api.identityprovider.tailnet import Tailnet
from tailseal.cluster.port import Object
from tailseal.domain.render import applied
from tailseal.domain.render.claim import claim
from tailseal.domain.render.common import Component, Provider
from tailseal.domain.render.deployment import Own, Workload, deployment
from tailseal.domain.render.networkpolicy import network_policy
from tailseal.domain.render.nodestate import account, role, role_binding, state
from tailseal.domain.render.pdb import pod_disruption_budget
from tailseal.domain.render.service import service
from tailseal.domain.render.serviceaccount import service_account
from tailseal.domain.render.sidecar import Sidecar, serve_config
from tailseal.reconcile.context import OperatorSettings
from tailseal.reconcile.identityprovider.nodes import Identity


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
