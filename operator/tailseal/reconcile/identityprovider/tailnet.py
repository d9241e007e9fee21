"""An IdentityProvider's nodes in the tailnet: what they join by, and what was seen of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from tailseal.api import meta
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.reasons import Reason
from tailseal.domain.evidence import Replica
from tailseal.domain.render.sidecar import AUTH_FILE
from tailseal.reconcile.conditions import Fact
from tailseal.reconcile.context import Context, Objects
from tailseal.reconcile.identityprovider.nodes import replicas_of
from tailseal.reconcile.identityprovider.refs import Files, copied, files_of

_RUNNING: Final = "Running"

_SHARED: Final = {
    "Serve": "set spec.tailnet.service",
    "Direct": "let DNS lead from the issuer to all their addresses, and say so by spec.tailnet.sharedBy: DNS",
}
"""How several nodes come to answer for one issuer, by mode."""


def joining(objects: Objects, namespace: str, provider: str, spec: IdentityProviderSpec) -> Files | None:
    """What nodes join by; the last good of it where the reference fails; None where they need nothing stored."""
    if spec.tailnet is None:
        return None
    auth, path = spec.tailnet.auth, "spec.tailnet.auth"
    if auth.auth_key_secret_ref is not None:
        given = copied(objects, namespace, auth.auth_key_secret_ref.name, ("authkey",), f"{path}.authKeySecretRef")
        joins = given.files.get("authkey", b"").strip()
    elif auth.oauth_client_secret_ref is not None:
        needed, name = ("client_secret",), auth.oauth_client_secret_ref.name
        given = copied(objects, namespace, name, needed, f"{path}.oauthClientSecretRef")
        # By default the keys that an OAuth client makes are for nodes that are forgotten once they are offline.
        terms = b"?ephemeral=false&preauthorized=true"
        joins = given.files.get("client_secret", b"").strip()
        joins = joins + terms if joins else b""
    else:
        return None
    kept = files_of(objects, namespace, meta.tailnet_secret(provider))
    return Files({AUTH_FILE: joins} if joins else kept, given.problems)


def facts(ctx: Context, namespace: str, provider: str, spec: IdentityProviderSpec) -> Iterator[Fact]:
    """What people should know of the nodes; each condition is there only while something is to be said."""
    if spec.tailnet is None or not spec.idp.enabled:
        return
    down = [
        f"{replica.name}: {state}"
        for replica in replicas_of(ctx, namespace, provider)
        if (state := _state(replica)) not in {"", _RUNNING}
    ]
    if down:
        text = f"{'; '.join(down)}; see the log of the container tailscale"
        yield Fact("TailnetJoined", status=False, reason=Reason.NODE_NOT_RUNNING, message=text)
    elif text := _otherwise(ctx, namespace, provider, spec):
        yield Fact("TailnetJoined", status=False, reason=Reason.NODE_NAMED_OTHERWISE, message=text)
    if (spec.idp.replicas or 1) > 1 and not (spec.tailnet.service or spec.tailnet.shared_by):
        text = f"each replica is a node with a name of its own: {_SHARED[spec.tailnet.mode]}"
        yield Fact("IssuerShared", status=False, reason=Reason.ISSUER_NOT_SHARED, message=text)
    if spec.tailnet.mode == "Serve":
        text = "the node beside the worker runs as user 0 without any capability: the namespace must admit `baseline`"
        yield Fact("Restricted", status=False, reason=Reason.SERVE_NEEDS_ROOT, message=text)


def names(ctx: Context, namespace: str, provider: str, spec: IdentityProviderSpec) -> dict[str, str]:
    """Where each node is reached, or all of them are by the name of their Service: URL by endpoint name."""
    nodes = {
        f"tailnet-{replica.labels.get(meta.ORDINAL_LABEL, '0')}": replica.report.node["name"]
        for replica in replicas_of(ctx, namespace, provider)
        if replica.report is not None and replica.report.node.get("name")
    }
    if spec.tailnet is not None and spec.tailnet.service is not None:
        return {"tailnet": spec.issuer} if nodes else {}
    port = spec.tailnet.port if spec.tailnet is not None else None
    scheme = "http" if port is not None and spec.serving.tls is None else "https"
    suffix = "" if port is None else f":{port}"
    return {name: f"{scheme}://{host}{suffix}" for name, host in nodes.items()}


def _otherwise(ctx: Context, namespace: str, provider: str, spec: IdentityProviderSpec) -> str:
    """What is to be done where `tailscale serve` answers by another name than the issuer's; empty: nothing."""
    if spec.tailnet is None or spec.tailnet.mode == "Direct" or spec.tailnet.service is not None:
        return ""
    found = {url.removeprefix("https://") for url in names(ctx, namespace, provider, spec).values()}
    host = urlsplit(spec.issuer).hostname
    if not found or host in found:
        return ""
    text = f"the issuer is {host}, and the node is called {', '.join(sorted(found))}: set spec.tailnet.hostname"
    return f"{text}, or remove the node that has the name in the tailnet, and delete the pod"


def _state(replica: Replica) -> str:
    """State of its node; empty: nothing was heard."""
    return replica.report.node.get("state", "") if replica.report is not None else ""
