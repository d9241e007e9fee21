"""Names that cross a boundary (labels, annotations, owned objects), each said in exactly one place."""

from __future__ import annotations

from typing import Final

GROUP: Final = "tailseal.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
"""Label of everything we own; its value is `MANAGER`."""

MANAGER: Final = "tailseal"

PROVIDER_LABEL: Final = "tailseal.dev/identity-provider"
"""Label of everything an IdentityProvider owns; its value is the provider's name."""

SIGNING_KEY_LABEL: Final = "tailseal.dev/signing-key"
"""Label of everything a SigningKey owns; its value is the key's name."""

OAUTH_CLIENT_LABEL: Final = "tailseal.dev/oauth-client"
"""Label of everything an OAuthClient owns; its value is the client's name."""

COMPONENT_LABEL: Final = "app.kubernetes.io/component"
"""Label of workloads and their pods: `sts` or `idp`."""

ORDINAL_LABEL: Final = "tailseal.dev/ordinal"
"""Label of a workload that is one numbered replica, with a file or an identity of its own; its value is the number."""

ALLOW_LABEL: Final = "tailseal.dev/allow"
"""Label that a Secret must carry (value `true`) before we read it."""

ROTATE_ANNOTATION: Final = "tailseal.dev/rotate"
"""On a SigningKey or OAuthClient: an RFC 3339 time; a signer, or secret, created after it is asked for."""

CLIENT_LEDGER_ANNOTATION: Final = "tailseal.dev/client-secret"
"""On an OAuthClient's Secret: hashes and times of the secrets that count."""

APPLIED_ANNOTATION: Final = "tailseal.dev/applied"
"""On an owned object with a spec: the digest of what was applied last, so that what was taken out since is dropped."""

NODE_ID_ANNOTATION: Final = "tailseal.dev/node-id"
"""On the PersistentVolumeClaim that keeps a node's identity, which nobody sees into: its id in the tailnet."""

NODE_NAME_ANNOTATION: Final = "tailseal.dev/node-name"
"""Beside it: what the tailnet calls the node."""

BUNDLE_ANNOTATION: Final = "tailseal.dev/bundle"
"""On worker pods: the digest of the wanted bundle, written so that the kubelet projects it at once."""

SHARDS: Final = 64
"""How many shards a provider's policies are spread over. Changing it needs a new bundle version."""


def key_secret(signing_key: str) -> str:
    """Secret with a SigningKey's material and ledger."""
    return f"{signing_key}-signingkey"


def jwks_config_map(signing_key: str) -> str:
    """ConfigMap with a SigningKey's public share."""
    return f"{signing_key}-jwks"


def issuer_secret(provider: str) -> str:
    """Secret with an IdentityProvider's ledger, salt and poll key; survives the provider."""
    return f"{provider}-issuer"


def signing_secret(provider: str) -> str:
    """Secret mounted as the bundle's `signing/`."""
    return f"{provider}-signing"


def credentials_secret(provider: str) -> str:
    """Secret mounted as the bundle's `credentials/`."""
    return f"{provider}-credentials"


def tls_secret(provider: str) -> str:
    """Secret mounted as the workers' TLS directory: a copy of the one that `serving.tls` names."""
    return f"{provider}-tls"


def accepted_config_map(provider: str) -> str:
    """ConfigMap with the last accepted spec of an IdentityProvider: what holds while a later one is refused."""
    return f"{provider}-accepted"


def publish_config_map(provider: str) -> str:
    """ConfigMap with the places that an IdentityProvider's keys were ever put at and were not yet taken from."""
    return f"{provider}-publish"


def client_secret(client: str) -> str:
    """Secret with an OAuthClient's id, secret and endpoints, where its spec names no other."""
    return f"{client}-oauthclient"


def clients_config_map(provider: str) -> str:
    """ConfigMap with an IdentityProvider's clients, part of the bundle's `policies/`."""
    return f"{provider}-clients"


def policies_config_map(provider: str) -> str:
    """ConfigMap with manifest and settings, part of the bundle's `policies/`."""
    return f"{provider}-policies"


def shard_config_map(provider: str, shard: int) -> str:
    """ConfigMap with one shard, part of the bundle's `policies/`."""
    return f"{provider}-policies-{shard:02d}"


def workload(provider: str, component: str) -> str:
    """Deployment, Service, ServiceAccount, NetworkPolicy and PDB of a component (`sts` or `idp`)."""
    return f"{provider}-{component}"


def ordinal(provider: str, number: int) -> str:
    """Deployment of one numbered replica of the identity provider; its node's account and rights, if that has any.

    The names of all that it keeps begin with it.
    """
    return f"{workload(provider, 'idp')}-{number}"


def state_claim(provider: str, number: int) -> str:
    """PersistentVolumeClaim with the logins that one replica keeps in a file; survives the provider."""
    return f"{ordinal(provider, number)}-state"


def tailnet_state(provider: str, number: int) -> str:
    """Secret or PersistentVolumeClaim with the identity of one replica's node; survives the provider."""
    return f"{ordinal(provider, number)}-tailnet"


def tailnet_secret(provider: str) -> str:
    """Secret with what nodes join the tailnet by: a copy, mounted where the node runs and nowhere else."""
    return f"{provider}-tailnet"


def serve_config_map(provider: str) -> str:
    """ConfigMap with what `tailscale serve` is to do on the identity provider's nodes."""
    return f"{provider}-serve"
