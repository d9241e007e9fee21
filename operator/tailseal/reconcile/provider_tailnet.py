"""What an IdentityProvider's nodes join their tailnet by: a copy of what its spec names, as containerboot takes it."""

from __future__ import annotations

from tailseal.api import meta
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.domain.render.sidecar import AUTH_FILE
from tailseal.reconcile.context import Objects
from tailseal.reconcile.provider_refs import Files, copied, files_of


def joining(objects: Objects, namespace: str, provider: str, spec: IdentityProviderSpec) -> Files | None:
    """The nodes' Secret; the last good one where the reference fails; None where there is no tailnet."""
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
        ephemeral = b"false" if spec.tailnet.volume is not None else b"true"
        terms = b"?ephemeral=" + ephemeral + b"&preauthorized=true"
        joins = given.files.get("client_secret", b"").strip()
        joins = joins + terms if joins else b""
    else:
        return Files({})
    kept = files_of(objects, namespace, meta.tailnet_secret(provider))
    return Files({AUTH_FILE: joins} if joins else kept, given.problems)
