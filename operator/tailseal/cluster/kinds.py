"""The resource types that Tailseal reads or writes, each named once."""

from __future__ import annotations

from tailseal.cluster.port import Kind, Object, Ref

GROUP = "tailseal.dev"
VERSION = "v1alpha1"

SIGNING_KEY = Kind(GROUP, VERSION, "signingkeys", "SigningKey")
IDENTITY_PROVIDER = Kind(GROUP, VERSION, "identityproviders", "IdentityProvider")
OAUTH_CLIENT = Kind(GROUP, VERSION, "oauthclients", "OAuthClient")
TRUST_POLICY = Kind(GROUP, VERSION, "trustpolicies", "TrustPolicy")

CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap")
SECRET = Kind("", "v1", "secrets", "Secret")
NAMESPACE = Kind("", "v1", "namespaces", "Namespace")
PERSISTENT_VOLUME_CLAIM = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SERVICE = Kind("", "v1", "services", "Service")
SERVICE_ACCOUNT = Kind("", "v1", "serviceaccounts", "ServiceAccount")
POD = Kind("", "v1", "pods", "Pod")
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
POD_DISRUPTION_BUDGET = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
ROLE = Kind("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDING = Kind("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")

PLATFORM = (SIGNING_KEY, IDENTITY_PROVIDER)
"""Kinds that live where keys are; the other custom kinds are tenants' and may be anywhere."""

CUSTOM = (SIGNING_KEY, IDENTITY_PROVIDER, TRUST_POLICY, OAUTH_CLIENT)
OWNED = (
    CONFIG_MAP,
    SECRET,
    PERSISTENT_VOLUME_CLAIM,
    SERVICE,
    SERVICE_ACCOUNT,
    ROLE,
    ROLE_BINDING,
    DEPLOYMENT,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
)

_BY_NAME = {(kind.api_version, kind.kind): kind for kind in (*CUSTOM, *OWNED, POD, LEASE, NAMESPACE)}


def of(obj: Object) -> Kind:
    """The kind of an object.

    Raises:
        KeyError: it is none of ours.
    """
    return _BY_NAME[obj["apiVersion"], obj["kind"]]


def ref(obj: Object) -> Ref:
    """The address of an object."""
    metadata = obj["metadata"]
    return Ref(of(obj), metadata.get("namespace", ""), metadata["name"])
