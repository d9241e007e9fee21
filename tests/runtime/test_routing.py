"""Which change wakes which controller."""

from __future__ import annotations

from typing import Any

import pytest

from tailseal.cluster import kinds
from tailseal.cluster.port import Object
from tailseal.runtime.key import Key
from tailseal.runtime.routing import everything, reported, wakes
from tailseal.runtime.store import Store

OWNED = {"app.kubernetes.io/managed-by": "tailseal"}
OF_CORP = OWNED | {"tailseal.dev/identity-provider": "corp"}


def made(api: str, kind: str, namespace: str, name: str, labels: dict[str, str] | None = None, **rest: Any) -> Object:  # noqa: ANN401
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "resourceVersion": "1", "generation": 1}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}


def custom(kind: str, namespace: str, name: str, **spec: Any) -> Object:  # noqa: ANN401
    return made("tailseal.dev/v1alpha1", kind, namespace, name, spec=spec)


PROVIDER = custom("IdentityProvider", "id", "corp", signingKeys=[{"name": "k1"}, {"name": "k2"}])
OTHER = custom("IdentityProvider", "id", "other", signingKeys=[{"name": "k3"}])
SIGNING_KEY = custom("SigningKey", "id", "k1")
NEAR = custom("TrustPolicy", "id", "near", identityProviderRef={"name": "corp"})
FAR = custom("TrustPolicy", "team", "far", identityProviderRef={"name": "corp", "namespace": "id"})
CLIENT = custom("OAuthClient", "team", "app", identityProviderRef={"name": "corp", "namespace": "id"}, clientID="a")
TWIN = custom("OAuthClient", "id", "twin", identityProviderRef={"name": "corp"}, clientID="a", idTokenAlgorithm="ES384")
STRANGER = custom("TrustPolicy", "team", "stranger", identityProviderRef={"name": "corp"})


@pytest.fixture
def store() -> Store:
    store = Store(lambda before, after: None)
    for obj in (PROVIDER, OTHER, SIGNING_KEY, NEAR, FAR, STRANGER, CLIENT, TWIN):
        store.put(obj)
    return store


def said(keys: set[Key]) -> set[str]:
    return {f"{key.controller} {key.namespace}/{key.name}" for key in keys}


CORP = "IdentityProvider id/corp"
BUNDLE = "Bundle id/corp"
PROPAGATION = "Propagation id/corp"
PUBLISH = "Publish id/corp"
POLICIES = {"TrustPolicy id/near", "TrustPolicy team/far"}
KEYS = {"SigningKey id/k1", "SigningKey id/k2"}
CLIENTS = {"OAuthClient team/app", "OAuthClient id/twin"}
CASES = {
    "a policy wakes itself and the bundle of its provider": (FAR, {"TrustPolicy team/far", BUNDLE}),
    "a policy names providers of its own namespace by default": (
        STRANGER,
        {"TrustPolicy team/stranger", "Bundle team/corp"},
    ),
    "a malformed policy wakes itself": (custom("TrustPolicy", "team", "bad"), {"TrustPolicy team/bad"}),
    "the labels of a namespace decide for its policies and clients, and for whom a client id is free": (
        made("v1", "Namespace", "", "team", {"tailseal": "yes"}),
        {
            *(f"{controller} id/{name}" for controller in ("Bundle", "IdentityProvider") for name in ("corp", "other")),
            "TrustPolicy team/far",
            "TrustPolicy team/stranger",
            "OAuthClient team/app",
            "OAuthClient id/twin",
        },
    ),
    "a key wakes itself and all providers beside it: one that lists it no more may still publish it": (
        SIGNING_KEY,
        {"SigningKey id/k1", CORP, "IdentityProvider id/other"},
    ),
    "a provider wakes all that hangs on it": (
        PROVIDER,
        {CORP, BUNDLE, PROPAGATION, PUBLISH, *POLICIES, *CLIENTS, *KEYS},
    ),
    "a Deployment of ours wakes its provider": (made("apps/v1", "Deployment", "id", "corp-sts", OF_CORP), {CORP}),
    "a shard wakes those who write, stamp and judge it": (
        made("v1", "ConfigMap", "id", "corp-policies-07", OF_CORP),
        {CORP, BUNDLE, PROPAGATION},
    ),
    "what signs wakes the clients that ask for an algorithm": (
        made("v1", "Secret", "id", "corp-signing", OF_CORP),
        {CORP, BUNDLE, PROPAGATION, "OAuthClient id/twin"},
    ),
    "the issuer's ledger wakes the keys beside it": (
        made("v1", "Secret", "id", "corp-issuer", OF_CORP),
        {CORP, BUNDLE, PROPAGATION, PUBLISH, "SigningKey id/k1"},
    ),
    "the list of places that keys were put at wakes who publishes": (
        made("v1", "ConfigMap", "id", "corp-publish", OF_CORP),
        {CORP, BUNDLE, PROPAGATION, PUBLISH},
    ),
    "a key's Secret wakes the key and all providers beside it": (
        made("v1", "Secret", "id", "k1-signingkey", OWNED | {"tailseal.dev/signing-key": "k1"}),
        {"SigningKey id/k1", CORP, "IdentityProvider id/other"},
    ),
    "a Secret opened to us wakes the providers of its namespace": (
        made("v1", "Secret", "id", "tls", {"tailseal.dev/allow": "true"}),
        {CORP, BUNDLE, PUBLISH, "IdentityProvider id/other", "Bundle id/other", "Publish id/other"},
    ),
    "a Secret that a SigningKey imports from wakes that, too": (
        made("v1", "Secret", "id", "mine", {"tailseal.dev/allow": "true"}),
        {
            CORP,
            BUNDLE,
            PUBLISH,
            "IdentityProvider id/other",
            "Bundle id/other",
            "Publish id/other",
            "SigningKey id/k4",
        },
    ),
    "a Secret of another namespace wakes no importer": (
        made("v1", "Secret", "team", "mine", {"tailseal.dev/allow": "true"}),
        set(),
    ),
    "a client wakes itself, those of the same client id, and the bundle": (CLIENT, {*CLIENTS, BUNDLE}),
    "a client's Secret wakes it and the bundle": (
        made("v1", "Secret", "team", "app-oauthclient", OWNED | {"tailseal.dev/oauth-client": "app"}),
        {"OAuthClient team/app", BUNDLE},
    ),
    "a pod wakes who stamps and who judges it": (made("v1", "Pod", "id", "p", OF_CORP), {CORP, PROPAGATION}),
    "a pod without our label wakes nobody": (made("v1", "Pod", "id", "p"), set()),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("event", ["added", "deleted"])
def test_a_change_wakes(store: Store, name: str, event: str) -> None:
    obj, expected = CASES[name]
    if name.startswith("a Secret"):
        store.put(custom("SigningKey", "id", "k4", source={"import": {"secretRef": {"name": "mine"}}}))
    before, after = (None, obj) if event == "added" else (obj, None)
    assert said(wakes(before, after, store)) == expected


def test_a_policy_that_moves_wakes_the_bundles_of_both_providers(store: Store) -> None:
    moved = custom("TrustPolicy", "team", "far", identityProviderRef={"name": "other", "namespace": "id"})
    moved["metadata"]["generation"] = 2
    assert said(wakes(FAR, moved, store)) == {"TrustPolicy team/far", BUNDLE, "Bundle id/other"}


def test_an_object_that_loses_our_label_wakes_its_former_owner(store: Store) -> None:
    before = made("v1", "ConfigMap", "id", "corp-policies", OF_CORP)
    assert said(wakes(before, made("v1", "ConfigMap", "id", "corp-policies"), store)) == {CORP, BUNDLE, PROPAGATION}


@pytest.mark.parametrize("obj", [PROVIDER, SIGNING_KEY, FAR], ids=lambda obj: obj["kind"])
def test_a_status_wakes_only_who_keeps_it(store: Store, obj: Object) -> None:
    after = obj | {"status": {"x": 1}}
    assert len(wakes(obj, after, store)) == 1


def test_a_report_wakes_the_policies_that_wait_for_it_and_no_others(store: Store) -> None:
    programmed = {"type": "Programmed", "status": "True", "observedGeneration": 1}
    store.put(NEAR | {"metadata": NEAR["metadata"] | {"resourceVersion": "2"}, "status": {"conditions": [programmed]}})
    assert said(reported("id", "corp", store)) == {CORP, PROPAGATION, "TrustPolicy team/far", *CLIENTS, *KEYS}


def test_a_start_wakes_everything(store: Store) -> None:
    found = said(everything(store))
    assert {CORP, BUNDLE, PROPAGATION, "SigningKey id/k1", "IdentityProvider id/other", *POLICIES} <= found


def test_every_watched_kind_has_a_route(store: Store) -> None:
    for kind in (*kinds.CUSTOM, *kinds.OWNED, kinds.POD):
        wakes(None, made(kind.api_version, kind.kind, "id", "x"), store)
    assert wakes(None, None, store) == set()
