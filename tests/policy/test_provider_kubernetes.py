"""The `kubernetes` block against real tokens of service accounts, and against tokens that come near."""

from __future__ import annotations

from typing import Any

import pytest

from fakes import jobs
from fakes.jobs import CLUSTER, Claims, policy, trusts

SHOP = {"issuer": CLUSTER, "namespaces": ["shop"]}
DEPLOYER = SHOP | {"serviceAccounts": ["deployer"]}
UID = DEPLOYER | {"serviceAccountUIDs": ["a087d5a0-e1dd-43ec-93ac-f13d89cd13af"]}
POD = DEPLOYER | {"boundTo": "Pod", "pods": ["deploy-*"]}
NODE = DEPLOYER | {"nodes": ["node-a"], "nodeUIDs": ["58456cb0-dd00-45ed-b797-5578fdceaced"]}
INSIDE = jobs.kubernetes()["kubernetes.io"]


def inside(**changes: Any) -> Claims:  # noqa: ANN401
    """A token with other members of `kubernetes.io`; None takes one away."""
    content = {name: value for name, value in (INSIDE | changes).items() if value is not None}
    return jobs.kubernetes() | {"kubernetes.io": content}


@pytest.mark.parametrize(
    ("block", "claims"),
    [
        (SHOP, jobs.kubernetes()),
        (SHOP | {"namespaces": ["other", "shop"]}, jobs.kubernetes()),
        (DEPLOYER, jobs.kubernetes()),
        (DEPLOYER, inside(pod=None, node=None)),
        (SHOP | {"serviceAccounts": ["deploy*"]}, jobs.kubernetes()),
        (UID, jobs.kubernetes()),
        (POD, jobs.kubernetes()),
        (NODE, jobs.kubernetes()),
        (NODE | {"boundTo": "Node"}, inside(pod=None)),
    ],
)
def test_the_service_accounts_that_are_meant_are_trusted(block: dict[str, Any], claims: Claims) -> None:
    assert trusts("kubernetes", block, claims)


@pytest.mark.parametrize(
    ("attack", "block", "claims"),
    [
        ("another namespace's account of that name", DEPLOYER, jobs.kubernetes("evil")),
        ("an account of another namespace", SHOP, jobs.kubernetes("evil")),
        ("a namespace that begins alike", DEPLOYER, jobs.kubernetes("shop-2")),
        ("another account", DEPLOYER, jobs.kubernetes(name="default")),
        ("the account in another case", DEPLOYER, jobs.kubernetes(name="Deployer")),
        ("a star that meets a colon", SHOP | {"serviceAccounts": ["d*"]}, jobs.kubernetes(name="d:x")),
        ("a subject that says otherwise", DEPLOYER, jobs.kubernetes(sub="system:serviceaccount:evil:deployer")),
        ("a subject with more", DEPLOYER, jobs.kubernetes(sub="system:serviceaccount:shop:deployer:x")),
        ("a subject of a person", SHOP, jobs.kubernetes(sub="system:admin")),
        ("the subject alone", DEPLOYER, jobs.without(jobs.kubernetes(), "kubernetes.io")),
        (
            "dots taken for a path",
            DEPLOYER,
            jobs.without(jobs.kubernetes(), "kubernetes.io")
            | {"kubernetes": {"io": INSIDE}, "kubernetes.io.namespace": "shop"},
        ),
        (
            "a token of old, without an end",
            DEPLOYER,
            jobs.without(jobs.kubernetes(), "kubernetes.io")
            | {
                "kubernetes.io/serviceaccount/namespace": "shop",
                "kubernetes.io/serviceaccount/service-account.name": "deployer",
            },
        ),
        ("an object that is none", DEPLOYER, jobs.kubernetes() | {"kubernetes.io": ["shop"]}),
        ("an account that is no object", DEPLOYER, inside(serviceaccount="deployer")),
        ("a namespace that is no text", DEPLOYER, inside(namespace=["shop"])),
        ("an account made anew", UID, inside(serviceaccount={"name": "deployer", "uid": "new"})),
        ("an account without uid", UID, inside(serviceaccount={"name": "deployer"})),
        ("a token that no pod holds", POD, inside(pod=None)),
        ("another pod", POD, inside(pod={"name": "x-deploy-1", "uid": "u"})),
        ("a pod without uid", POD, inside(pod={"name": "deploy-1"})),
        ("another node", NODE, inside(node={"name": "node-b", "uid": NODE["nodeUIDs"][0]})),
        ("a node made anew", NODE, inside(node={"name": "node-a", "uid": "new"})),
        ("no node", NODE, inside(node=None)),
        ("another cluster", DEPLOYER, jobs.kubernetes(iss="https://kubernetes.default.svc")),
        ("a token for the API server", DEPLOYER, jobs.kubernetes(aud=[CLUSTER])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_comes_near_is_refused(attack: str, block: dict[str, Any], claims: Claims) -> None:
    assert not trusts("kubernetes", block, claims), attack


def test_keys_come_from_where_the_cluster_shows_them() -> None:
    certificates = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    url = "https://api.cluster.example/.well-known/openid-configuration"
    found = policy(
        "kubernetes", SHOP | {"keys": {"discovery": {"discoveryURL": url}}, "caBundle": certificates}
    ).trust.source
    assert (found.issuer, found.kind, found.location, found.ca_bundle) == (CLUSTER, "discovery", url, certificates)
    key = {"kty": "EC", "crv": "P-256", "kid": "k", "x": "eA", "y": "eQ"}
    written = policy("kubernetes", SHOP | {"keys": {"jwks": {"keys": [key]}}})
    assert (written.trust.source.kind, written.trust.algorithms) == ("jwks", {"RS256", "ES256", "ES384", "ES512"})


def test_literal_names_make_the_policy_found_by_its_subjects() -> None:
    (subject, *_) = policy("kubernetes", SHOP | {"namespaces": ["a", "b"], "serviceAccounts": ["x"]}).trust.rules
    assert subject.keys == {"system:serviceaccount:a:x", "system:serviceaccount:b:x"}
