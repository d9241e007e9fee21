"""What a client may be, under which bounds, and with which defaults."""

from __future__ import annotations

from typing import Any

import pytest

from fakes import trust
from tailseal.api.findings import Finding
from tailseal.domain.bundle.model import Bound, ClientRecord, Settings
from tailseal.domain.clients.compile import CompiledClient, accepted, compile_client
from tailseal.domain.clients.credentials import FILES, credentials

TEAM = Bound(
    name="team",
    namespaces=("team-a",),
    redirect_hosts=("grafana.corp.example", "localhost"),
    grant_types=("authorization_code", "refresh_token"),
    audiences=("https://billing.corp.example", "grafana"),
    key_sources=("https://*.corp.example/**",),
)


def settings(*bounds: Bound) -> Settings:
    return trust.settings(bounds=bounds or (TEAM,))


def record(namespace: str = "team-a", **members: Any) -> ClientRecord:  # noqa: ANN401 - as manifests have it
    spec = {
        "identityProviderRef": {"name": "corp", "namespace": "identity"},
        "redirectURIs": ["https://grafana.corp.example/cb"],
    }
    return ClientRecord(namespace=namespace, name="grafana", uid="u", generation=1, spec=spec | members)


def test_the_smallest_client_has_the_safe_defaults() -> None:
    client = compile_client(record(), settings())
    assert client.client_id == "oauthclient.team-a.grafana"
    assert not client.public
    assert client.has_secret
    assert client.auth_methods == ("client_secret_basic", "client_secret_post")
    assert client.pkce_required
    assert client.grant_types == {"authorization_code", "refresh_token"}
    assert client.scopes == {"openid", "profile", "email", "groups"}
    assert not client.audiences
    assert not client.opaque
    assert client.sector == ""
    assert client.allow is None


def test_a_public_client_has_no_secret_and_must_use_pkce() -> None:
    client = compile_client(record(type="Public", redirectURIs=["http://localhost/cb"]), settings())
    assert client.auth_methods == ("none",)
    assert not client.has_secret
    assert client.pkce_required


def test_a_client_with_keys_has_no_secret() -> None:
    members = {"authMethod": "private_key_jwt", "jwksURI": "https://grafana.corp.example/jwks"}
    assert not compile_client(record(**members), settings()).has_secret


def test_where_a_client_leads_people_after_logout_and_what_it_is_are_within_bounds() -> None:
    members: dict[str, Any] = {
        "postLogoutRedirectURIs": ["https://grafana.corp.example/bye"],
        "backchannelLogoutURI": "https://grafana.corp.example/logout",
        "resources": ["https://billing.corp.example"],
    }
    client = compile_client(record(**members), settings())
    assert client.post_logout_redirect_uris == ("https://grafana.corp.example/bye",)
    assert client.backchannel_logout_uri == "https://grafana.corp.example/logout"
    assert client.resources == {"https://billing.corp.example"}
    beyond: dict[str, Any] = {
        "postLogoutRedirectURIs": ["https://other.example/bye"],
        "backchannelLogoutURI": "https://other.example/logout",
        "resources": ["https://other.example"],
    }
    findings = accepted(record(**beyond), settings())
    assert not isinstance(findings, CompiledClient)
    paths = {finding.path for finding in findings}
    assert paths == {"spec.postLogoutRedirectURIs[0]", "spec.backchannelLogoutURI", "spec.resources[0]"}
    (finding,) = _findings(record(resources=["https://idp.corp.example/x"]))
    assert finding.path == "spec.resources[0]"


def _findings(one: ClientRecord) -> tuple[Finding, ...]:
    found = accepted(one, settings(TEAM.model_copy(update={"audiences": ("**",)})))
    assert not isinstance(found, CompiledClient)
    return found


def test_who_may_log_in_is_ready_to_be_asked() -> None:
    allow = {"users": ["*@corp.example"], "capability": {"action": "login", "resource": "client/grafana"}}
    client = compile_client(record(allow=allow), settings())
    assert client.allow
    assert client.allow.users[0]("ana@corp.example")
    assert not client.allow.users[0]("ana@corp.example.evil")
    assert client.allow.capability == ("login", "client/grafana")


@pytest.mark.parametrize(
    ("members", "path", "reason"),
    [
        ({"redirectURIs": ["https://evil.example/cb"]}, "spec.redirectURIs[0]", "ExceedsBounds"),
        ({"redirectURIs": ["com.example.app:/cb"]}, "spec.redirectURIs[0]", "ExceedsBounds"),
        ({"grantTypes": ["authorization_code", "client_credentials"]}, "spec.grantTypes[1]", "ExceedsBounds"),
        ({"audiences": ["https://other.corp.example"]}, "spec.audiences[0]", "ExceedsBounds"),
        ({"clientID": "kubernetes"}, "spec.clientID", "ExceedsBounds"),
        (
            {"authMethod": "private_key_jwt", "jwksURI": "https://evil.example/jwks"},
            "spec.jwksURI",
            "ExceedsBounds",
        ),
        (
            {"authMethod": "private_key_jwt", "jwksURI": "https://a.corp.example/../jwks"},
            "spec.jwksURI",
            "ExceedsBounds",
        ),
        ({"redirectURIs": ["http://evil.example/cb"]}, "spec.redirectURIs[0]", "InvalidSpec"),
        ({"claims": ["node", "sub"]}, "spec.claims[1]", "InvalidSpec"),
        ({"allow": {"users": ["***"]}}, "spec.allow.users[0]", "InvalidSpec"),
        (
            {"subjectType": "Pairwise", "redirectURIs": ["https://grafana.corp.example/cb", "http://localhost/cb"]},
            "spec.subjectType",
            "InvalidSpec",
        ),
    ],
)
def test_what_must_not_be_is_named_with_its_path(members: dict[str, Any], path: str, reason: str) -> None:
    (found,) = accepted(record(**members), settings())  # type: ignore[misc]
    assert (found.path, found.reason) == (path, reason)


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"audiences": [trust.OURS]}, "spec.audiences[0]"),
        ({"audiences": ["oauthclient.team-b.other"]}, "spec.audiences[0]"),
        ({"audiences": ["tailseal:upstream:x"]}, "spec.audiences[0]"),
        ({"audiences": ["registered.abc"]}, "spec.audiences[0]"),
        ({"clientID": "registered.abc"}, "spec.clientID"),
        ({"clientID": "idp.corp.example"}, "spec.clientID"),
    ],
)
def test_what_is_reserved_is_not_had_even_by_the_provider_s_own_namespace(members: dict[str, Any], path: str) -> None:
    unbounded = settings().model_copy(update={"bounds": ()})
    (found,) = accepted(record("identity", **members), unbounded)  # type: ignore[misc]
    assert (found.path, found.reason) == (path, "ReservedAudience")


def test_without_bounds_the_provider_s_own_namespace_may_do_everything_and_others_nothing() -> None:
    unbounded = settings().model_copy(update={"bounds": ()})
    everything = {"grantTypes": ["client_credentials"], "redirectURIs": [], "audiences": ["x"], "clientID": "any"}
    assert isinstance(accepted(record("identity", **everything), unbounded), CompiledClient)
    (found,) = accepted(record(), unbounded)  # type: ignore[misc]
    assert (found.path, found.reason) == ("spec.identityProviderRef", "ExceedsBounds")


def test_two_rules_do_not_add_up_to_what_neither_allows() -> None:
    hosts = Bound(name="hosts", namespaces=("*",), redirect_hosts=("evil.example",))
    assert not isinstance(
        accepted(record(redirectURIs=["https://evil.example/cb"]), settings(TEAM, hosts)), CompiledClient
    )


def test_an_application_is_told_all_that_a_library_asks_for() -> None:
    told = credentials("https://idp.corp.example", "grafana", "s", ["https://a.example/cb", "http://localhost/cb"])
    assert told.keys() == FILES
    assert len(FILES) == 9
    assert told["redirect_uris"] == "https://a.example/cb http://localhost/cb"
    assert "client_secret" not in credentials("https://idp.corp.example", "grafana", "", [])


def test_keys_that_expire_count_until_then() -> None:
    jwks = {"keys": [{"kty": "EC"}], "expiryTime": "2026-12-20T10:00:00Z"}
    client = compile_client(record(authMethod="private_key_jwt", jwks=jwks), settings())
    assert client.jwks_expire_at == 1_797_760_800


def test_no_client_may_ask_for_tokens_that_are_for_another_client() -> None:
    taken = settings().model_copy(update={"client_ids": frozenset({"grafana"})})
    (found,) = accepted(record(audiences=["grafana"]), taken)  # type: ignore[misc]
    assert (found.path, found.reason) == ("spec.audiences[0]", "ReservedAudience")
    assert isinstance(accepted(record(clientID="grafana", audiences=["grafana"]), taken), CompiledClient)
