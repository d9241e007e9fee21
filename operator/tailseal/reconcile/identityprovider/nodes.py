"""Who an IdentityProvider's nodes are to their tailnet, and who they were that no replica is any more.

A node's Secret says so itself. Into a claim nobody sees, so what its replica tells of the node is written on it: it is
known for as long as the node may come back. Names change hands, ids do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tailseal.api import meta
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.identityprovider.spec import MAX_NODES
from tailseal.api.reasons import Reason
from tailseal.cluster import kinds
from tailseal.cluster.port import Kind, Object, Ref
from tailseal.domain.evidence import Replica
from tailseal.domain.render.common import Provider, decoded
from tailseal.reconcile.conditions import Fact
from tailseal.reconcile.context import Context, Objects
from tailseal.reconcile.ownership import marked, ours

_ID: Final = re.compile(r"[A-Za-z0-9]{1,64}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,252}")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a node is to its tailnet.

    Args:
        id: stable; empty: not known.
        name: in the tailnet's DNS, by which another node may be called later; empty: not known.
    """

    id: str = ""
    name: str = ""

    def annotations(self) -> dict[str, str]:
        """As they are written on a claim."""
        said = {meta.NODE_ID_ANNOTATION: self.id, meta.NODE_NAME_ANNOTATION: self.name}
        return {name: value for name, value in said.items() if value}


def claimed(ctx: Context, provider: Provider, spec: IdentityProviderSpec) -> dict[int, Identity]:
    """Who the nodes are whose identity a claim keeps, by number: as replicas tell, else as is written on the claim."""
    if spec.tailnet is None or spec.tailnet.volume is None:
        return {}
    told = dict(_told(ctx, provider))
    return {number: _claimed(ctx.objects, provider, number, told.get(number)) for number in range(MAX_NODES)}


def _claimed(objects: Objects, provider: Provider, number: int, told: Identity | None) -> Identity:
    """A replica that has not moved to its claim yet tells of the node whose identity its Secret keeps."""
    claim, secret = (
        Identity() if (obj := objects.get(_place(kind, provider, number))) is None else _identity(obj)
        for kind in (kinds.PERSISTENT_VOLUME_CLAIM, kinds.SECRET)
    )
    return claim if told is None or told.id in {"", secret.id} else told


def replicas_of(ctx: Context, namespace: str, provider: str) -> list[Replica]:
    """The identity provider's replicas that are not about to go, by name."""
    found = (replica for replica in ctx.replicas.of(namespace, provider) if replica.component == "idp")
    return sorted((replica for replica in found if not replica.terminating), key=lambda replica: replica.name)


def left_behind(ctx: Context, provider: Provider, spec: IdentityProviderSpec) -> Iterator[Fact]:
    """What is kept of nodes that no replica is any more: they stay in the tailnet, where only people remove them."""
    used = _used(ctx.objects, provider, spec)
    live = {_identity(obj) for ref in used if (obj := ctx.objects.get(ref)) is not None}
    live |= {found for _, found in _told(ctx, provider)}
    kept = [
        said
        for number in range(MAX_NODES)
        for kind in (kinds.SECRET, kinds.PERSISTENT_VOLUME_CLAIM)
        if (ref := _place(kind, provider, number)) not in used and (said := _said(ctx.objects, ref, provider, live))
    ]
    if kept:
        text = f"no replica is the node {', '.join(kept)} any more; what is named is kept for one that comes back: "
        text += "if none shall, remove the node of that id in the tailnet, and delete that"
        yield Fact("NodesLeft", status=True, reason=Reason.NODES_KEPT, message=text)


def _said(objects: Objects, ref: Ref, provider: Provider, live: set[Identity]) -> str:
    """What is said of a node that may be left behind; empty: nothing is kept of any.

    Whoever removes nodes by these words must not remove one that serves: a name that one has by now is not said.
    """
    obj = objects.get(ref)
    if obj is None or not marked(obj, ours(provider.labels("idp"))) or not _joined(obj):
        return ""
    found = _identity(obj)
    if found.id in {node.id for node in live} - {""}:
        return ""
    known = found.name and found.name not in {node.name for node in live}
    named = f"once called {found.name}" if known else "of a name that is not known"
    return f"{named} ({f'id {found.id}, ' if found.id else ''}{ref.kind.kind} {ref.name})"


def _place(kind: Kind, provider: Provider, number: int) -> Ref:
    return Ref(kind, provider.namespace, meta.tailnet_state(provider.name, number))


def _used(objects: Objects, provider: Provider, spec: IdentityProviderSpec) -> set[Ref]:
    """Where nodes keep their identity that serve, stand still or are about to come.

    Scaled to nothing, all of them stand still: nobody has said yet how many come back. One that is to go is used until
    it goes, however it keeps its identity.
    """
    if spec.tailnet is None or not spec.idp.enabled:
        return set()
    kept = kinds.SECRET if spec.tailnet.volume is None else kinds.PERSISTENT_VOLUME_CLAIM
    wanted = MAX_NODES if spec.idp.replicas == 0 else spec.idp.replicas or 1
    going = (number for number in range(wanted, MAX_NODES) if _runs(objects, provider, number))
    return {_place(kept, provider, number) for number in range(wanted)} | {
        _place(kind, provider, number) for number in going for kind in (kinds.SECRET, kinds.PERSISTENT_VOLUME_CLAIM)
    }


def _runs(objects: Objects, provider: Provider, number: int) -> bool:
    ref = Ref(kinds.DEPLOYMENT, provider.namespace, meta.ordinal(provider.name, number))
    return objects.get(ref) is not None


def _joined(obj: Object) -> bool:
    """Whether the tailnet may know of it: a Secret holds the id that it was given there, a claim nobody sees into."""
    return obj["kind"] != kinds.SECRET.kind or bool(decoded(obj.get("data")).get("device_id"))


def _identity(obj: Object) -> Identity:
    """Of the node whose identity is kept in the object."""
    if obj["kind"] == kinds.SECRET.kind:
        data = {name: text.decode(errors="replace") for name, text in decoded(obj.get("data")).items()}
        return _read(data, "device_id", "device_fqdn")
    return _read(obj["metadata"].get("annotations") or {}, meta.NODE_ID_ANNOTATION, meta.NODE_NAME_ANNOTATION)


def _told(ctx: Context, provider: Provider) -> Iterator[tuple[int, Identity]]:
    """Number and node of each replica that is heard."""
    for replica in replicas_of(ctx, provider.namespace, provider.name):
        number = replica.labels.get(meta.ORDINAL_LABEL, "")
        if number.isdecimal() and replica.report is not None:
            yield int(number), _read(replica.report.node, "id", "name")


def _read(said: Mapping[str, Any], id_: str, name: str) -> Identity:
    """Whoever may write a node's Secret may write anything into it."""
    found, called = str(said.get(id_, "")), str(said.get(name, "")).rstrip(".")
    return Identity(found if _ID.fullmatch(found) else "", called if _NAME.fullmatch(called) else "")
