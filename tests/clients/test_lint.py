"""`tailseal lint` says of OAuthClients what a cluster would."""

from __future__ import annotations

from typing import Any

import pytest

from tailseal.domain.policy.review.lint import lint

PROVIDER = {
    "kind": "IdentityProvider",
    "metadata": {"name": "corp", "namespace": "identity"},
    "spec": {
        "issuer": "https://idp.corp.example",
        "signingKeys": [{"name": "corp"}],
        "bounds": [
            {
                "name": "team",
                "namespaces": {"from": "All"},
                "redirectHosts": ["app.example"],
                "grantTypes": ["authorization_code", "refresh_token"],
                "audiences": ["shared"],
            }
        ],
    },
}


def client(name: str = "app", **spec: Any) -> dict[str, Any]:  # noqa: ANN401 - as manifests have it
    members = {
        "identityProviderRef": {"name": "corp", "namespace": "identity"},
        "redirectURIs": ["https://app.example/cb"],
    }
    return {"kind": "OAuthClient", "metadata": {"name": name, "namespace": "team-a"}, "spec": members | spec}


def found(*objects: dict[str, Any], context: tuple[dict[str, Any], ...] = (PROVIDER,)) -> list[tuple[str, str]]:
    return [(entry.path, entry.rule) for entry in lint(objects, context, now=0.0)]


def test_nothing_is_said_of_a_good_client() -> None:
    assert found(client()) == []


@pytest.mark.parametrize(
    ("spec", "path", "rule"),
    [
        ({"redirectURIs": ["https://evil.example/cb"]}, "spec.redirectURIs[0]", "ExceedsBounds"),
        ({"redirectURIs": ["http://evil.example/cb"]}, "spec.redirectURIs[0]", "InvalidSpec"),
        ({"redirectURIs": []}, "spec", "InvalidSpec"),
        ({"claims": ["sub"]}, "spec.claims[0]", "InvalidSpec"),
    ],
)
def test_what_a_cluster_would_refuse_is_found(spec: dict[str, Any], path: str, rule: str) -> None:
    assert found(client(**spec)) == [(path, rule)]


def test_two_with_one_client_id_are_found() -> None:
    assert found(client(clientID="shared"), client("b", clientID="shared")) == [("spec.clientID", "ClientIDTaken")]


def test_a_provider_that_is_not_there_is_found_and_the_rest_is_judged() -> None:
    assert found(client(claims=["sub"]), context=()) == [
        ("spec.claims[0]", "InvalidSpec"),
        ("spec.identityProviderRef", "RefNotFound"),
    ]


def test_a_secret_without_the_label_is_found() -> None:
    secret = {"kind": "Secret", "metadata": {"name": "mine", "namespace": "team-a"}}
    assert found(client(secretRef={"name": "mine"}), secret) == [("spec.secretRef", "RefNotPermitted")]
