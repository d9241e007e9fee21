"""Which keys a change wakes: pure, so that what a missed case would cost can be tested without a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from tailseal.api import meta
from tailseal.cluster import kinds
from tailseal.cluster.port import Kind, Object, Ref
from tailseal.runtime.key import Key

SIGNING_KEY = "SigningKey"
IDENTITY_PROVIDER = "IdentityProvider"
TRUST_POLICY = "TrustPolicy"
OAUTH_CLIENT = "OAuthClient"
BUNDLE = "Bundle"
PROPAGATION = "Propagation"
PUBLISH = "Publish"


class Known(Protocol):
    """The part of the store that is looked into."""

    def get(self, ref: Ref) -> Object | None:
        """The object, if there is one."""
        ...

    def select(self, kind: Kind, namespace: str = "", labels: Mapping[str, str] | None = None) -> Iterable[Object]:
        """All objects of the kind."""
        ...


def wakes(before: Object | None, after: Object | None, known: Known) -> set[Key]:
    """The keys that must look again after an object changed from `before` to `after` (None: there is none)."""
    present = after or before
    if present is None:
        return set()
    kind = kinds.of(present)
    found: set[Key] = set()
    for obj in (before, after):
        if obj is not None:
            found.update(_ROUTES[kind](obj, known, told=_told(before, after)))
    return found


def reported(namespace: str, provider: str, known: Known) -> set[Key]:
    """The keys that must look again after a replica of the provider reported something new."""
    found = {Key(IDENTITY_PROVIDER, namespace, provider), Key(PROPAGATION, namespace, provider)}
    for policy in _policies(namespace, provider, known):
        if not _programmed(policy):
            found.add(_key(TRUST_POLICY, policy))
    for client in _clients(namespace, provider, known):
        if not _programmed(client):
            found.add(_key(OAUTH_CLIENT, client))
    found.update(_signing_keys(known.get(Ref(kinds.IDENTITY_PROVIDER, namespace, provider))))
    return found


def everything(known: Known) -> set[Key]:
    """Every key that the known objects give rise to: what runs after a start.

    What we own counts, too: its owner may have been deleted while nobody looked.
    """
    found: set[Key] = set()
    for kind in (*kinds.CUSTOM, *kinds.OWNED):
        for obj in known.select(kind):
            found.update(wakes(None, obj, known))
    return found


def provider_of(policy: Object) -> tuple[str, str] | None:
    """Namespace and name of the IdentityProvider that a TrustPolicy or OAuthClient names."""
    ref = (policy.get("spec") or {}).get("identityProviderRef") or {}
    name = ref.get("name")
    return (ref.get("namespace") or policy["metadata"]["namespace"], name) if name else None


def _told(before: Object | None, after: Object | None) -> bool:
    """Whether the user changed it (spec, labels, annotations, existence), not only its status."""
    if before is None or after is None:
        return True
    return _essence(before) != _essence(after)


def _essence(obj: Object) -> tuple[Any, ...]:
    metadata = obj["metadata"]
    names = ("uid", "generation", "labels", "annotations", "deletionTimestamp")
    return tuple(metadata.get(name) for name in names)


def _key(controller: str, obj: Object) -> Key:
    return Key(controller, obj["metadata"]["namespace"], obj["metadata"]["name"])


def _signing_key(obj: Object, known: Known, *, told: bool) -> Iterator[Key]:
    yield _key(SIGNING_KEY, obj)
    if told:
        yield from _all(IDENTITY_PROVIDER, kinds.IDENTITY_PROVIDER, obj["metadata"]["namespace"], known)


def _all(controller: str, kind: Kind, namespace: str, known: Known) -> Iterator[Key]:
    """All of the kind in the namespace.

    What a provider lists is not all that it uses: a key that it lists no more is published, and can be revoked, until
    nothing that it signed is valid any more.
    """
    return (_key(controller, obj) for obj in known.select(kind, namespace))


def _names_of_keys(provider: Object) -> list[str]:
    return [ref.get("name", "") for ref in (provider.get("spec") or {}).get("signingKeys") or ()]


def _signing_keys(provider: Object | None) -> list[Key]:
    if provider is None:
        return []
    return [Key(SIGNING_KEY, provider["metadata"]["namespace"], name) for name in _names_of_keys(provider)]


def _identity_provider(obj: Object, known: Known, *, told: bool) -> Iterator[Key]:
    yield _key(IDENTITY_PROVIDER, obj)
    if told:
        yield _key(BUNDLE, obj)
        yield _key(PROPAGATION, obj)
        yield _key(PUBLISH, obj)
        yield from _signing_keys(obj)
        for policy in _policies(obj["metadata"]["namespace"], obj["metadata"]["name"], known):
            yield _key(TRUST_POLICY, policy)
        for client in _clients(obj["metadata"]["namespace"], obj["metadata"]["name"], known):
            yield _key(OAUTH_CLIENT, client)


def _clients(namespace: str, provider: str, known: Known) -> Iterator[Object]:
    return (client for client in known.select(kinds.OAUTH_CLIENT) if provider_of(client) == (namespace, provider))


def _policies(namespace: str, provider: str, known: Known) -> Iterator[Object]:
    return (policy for policy in known.select(kinds.TRUST_POLICY) if provider_of(policy) == (namespace, provider))


def _programmed(policy: Object) -> bool:
    """Whether its status says that all replicas serve it as it is now."""
    conditions = (policy.get("status") or {}).get("conditions") or ()
    return any(
        condition.get("type") == "Programmed"
        and condition.get("status") == "True"
        and condition.get("observedGeneration") == policy["metadata"].get("generation")
        for condition in conditions
    )


def _trust_policy(obj: Object, _known: Known, *, told: bool) -> Iterator[Key]:
    yield _key(TRUST_POLICY, obj)
    provider = provider_of(obj)
    if told and provider is not None:
        yield Key(BUNDLE, *provider)


def _oauth_client(obj: Object, known: Known, *, told: bool) -> Iterator[Key]:
    yield _key(OAUTH_CLIENT, obj)
    provider = provider_of(obj)
    if not told or provider is None:
        return
    yield Key(BUNDLE, *provider)
    client_id = (obj.get("spec") or {}).get("clientID")
    for other in _clients(*provider, known) if client_id else ():
        if (other.get("spec") or {}).get("clientID") == client_id:
            yield _key(OAUTH_CLIENT, other)


def _client_secret(obj: Object, client: str, known: Known) -> Iterator[Key]:
    """A client's Secret wakes it, and the bundle that its hashes go to."""
    namespace = obj["metadata"]["namespace"]
    yield Key(OAUTH_CLIENT, namespace, client)
    owner = known.get(Ref(kinds.OAUTH_CLIENT, namespace, client))
    provider = provider_of(owner) if owner is not None else None
    if provider is not None:
        yield Key(BUNDLE, *provider)


def _owned(obj: Object, known: Known, *, told: bool) -> Iterator[Key]:
    """What we own wakes its owners, by label: drift is theirs to repair, new content theirs to propagate."""
    del told
    metadata = obj["metadata"]
    namespace, labels = metadata["namespace"], metadata.get("labels", {})
    provider, signing_key = labels.get(meta.PROVIDER_LABEL), labels.get(meta.SIGNING_KEY_LABEL)
    if provider:
        yield Key(IDENTITY_PROVIDER, namespace, provider)
        if obj["kind"] in ("ConfigMap", "Secret"):
            yield Key(BUNDLE, namespace, provider)
            yield Key(PROPAGATION, namespace, provider)
        if metadata["name"] in (meta.issuer_secret(provider), meta.publish_config_map(provider)):
            yield Key(PUBLISH, namespace, provider)
        if metadata["name"] == meta.issuer_secret(provider):
            yield from _all(SIGNING_KEY, kinds.SIGNING_KEY, namespace, known)
        if metadata["name"] == meta.signing_secret(provider):
            yield from _waiting_for_keys(namespace, provider, known)
    if (client := labels.get(meta.OAUTH_CLIENT_LABEL)) and obj["kind"] == "Secret":
        yield from _client_secret(obj, client, known)
    if signing_key:
        yield Key(SIGNING_KEY, namespace, signing_key)
        yield from _all(IDENTITY_PROVIDER, kinds.IDENTITY_PROVIDER, namespace, known)


def _waiting_for_keys(namespace: str, provider: str, known: Known) -> Iterator[Key]:
    """What signs now may be what a client's ID tokens ask for, or no longer be it."""
    for client in _clients(namespace, provider, known):
        if (client.get("spec") or {}).get("idTokenAlgorithm"):
            yield _key(OAUTH_CLIENT, client)


def _secret(obj: Object, known: Known, *, told: bool) -> Iterator[Key]:
    """Ours, or one that a user has opened to the providers and SigningKeys of its namespace."""
    yield from _owned(obj, known, told=told)
    if obj["metadata"].get("labels", {}).get(meta.ALLOW_LABEL) == "true":
        for provider in known.select(kinds.IDENTITY_PROVIDER, obj["metadata"]["namespace"]):
            yield _key(IDENTITY_PROVIDER, provider)
            yield _key(BUNDLE, provider)
            yield _key(PUBLISH, provider)
        for signing_key in known.select(kinds.SIGNING_KEY, obj["metadata"]["namespace"]):
            if obj["metadata"]["name"] in _needed(signing_key):
                yield _key(SIGNING_KEY, signing_key)
        for client in known.select(kinds.OAUTH_CLIENT, obj["metadata"]["namespace"]):
            if ((client.get("spec") or {}).get("secretRef") or {}).get("name") == obj["metadata"]["name"]:
                yield _key(OAUTH_CLIENT, client)


def _needed(signing_key: Object) -> set[str]:
    """The Secrets that the SigningKey's key, or what opens it, comes from."""
    source = (signing_key.get("spec") or {}).get("source") or {}
    named = (("import", "secretRef"), ("pkcs11", "pinSecretRef"))
    return {((source.get(member) or {}).get(ref) or {}).get("name", "") for member, ref in named}


def _pod(obj: Object, known: Known, *, told: bool) -> Iterator[Key]:
    del known, told
    metadata = obj["metadata"]
    provider = metadata.get("labels", {}).get(meta.PROVIDER_LABEL)
    if provider:
        yield Key(IDENTITY_PROVIDER, metadata["namespace"], provider)
        yield Key(PROPAGATION, metadata["namespace"], provider)


def _namespace(obj: Object, known: Known, *, told: bool) -> Iterator[Key]:
    """Its labels decide which bounds are for it: so for its policies and clients, and for whom these stand in the way.

    What holds may be an earlier spec than the present one, so every provider looks.
    """
    if not told:
        return
    name = obj["metadata"]["name"]
    yield from _all(BUNDLE, kinds.IDENTITY_PROVIDER, "", known)
    yield from _all(IDENTITY_PROVIDER, kinds.IDENTITY_PROVIDER, "", known)
    yield from _all(TRUST_POLICY, kinds.TRUST_POLICY, name, known)
    for client in known.select(kinds.OAUTH_CLIENT):
        if client["metadata"]["namespace"] == name or (client.get("spec") or {}).get("clientID"):
            yield _key(OAUTH_CLIENT, client)


_ROUTES = {
    kinds.SIGNING_KEY: _signing_key,
    kinds.IDENTITY_PROVIDER: _identity_provider,
    kinds.TRUST_POLICY: _trust_policy,
    kinds.OAUTH_CLIENT: _oauth_client,
    **dict.fromkeys(kinds.OWNED, _owned),
    kinds.SECRET: _secret,
    kinds.POD: _pod,
    kinds.NAMESPACE: _namespace,
}
