"""What clients may say of themselves when they register (RFC 7591), change it (RFC 7592), or publish it at a URL."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fakes import keyfiles, oauthclients
from tailseal.domain.clients import secrets
from tailseal.oauth import clientmetadata, introduction, registration
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.registration import Registered

NOW = 1_800_000_000.0
REDIRECT = {"redirect_uris": ["https://app.example/cb"]}
JWKS = oauthclients.jwks(keyfiles.key("Ed25519"))
URL = "https://app.example/client.json"


def kept(**document: Any) -> Registered:  # noqa: ANN401 - any JSON
    metadata = introduction.read(REDIRECT | document)
    secret = secrets.digest("registered.x", "s") if metadata.auth_method.startswith("client_secret") else ""
    return Registered("registered.x", metadata, secret, "aa", NOW, NOW + registration.SECONDS, "userid:1")


def test_defaults_are_those_of_the_rfc() -> None:
    found = introduction.told(introduction.read(REDIRECT))
    assert found["token_endpoint_auth_method"] == "client_secret_basic"
    assert found["grant_types"] == ("authorization_code",)
    assert found["response_types"] == ["code"]


def test_all_that_is_registered_is_told_again() -> None:
    document = {
        **REDIRECT,
        "client_name": "My app",
        "client_uri": "https://app.example",
        "contacts": ["ana@app.example"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "scope": "openid email",
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": JWKS,
        "post_logout_redirect_uris": ["https://app.example/bye"],
        "backchannel_logout_uri": "https://app.example/logout",
        "application_type": "web",
        "unknown": "ignored",
    }
    found = json.loads(json.dumps(registration.information(kept(**document), "https://idp.example", token="t")))
    assert {name: found[name] for name in document if name != "unknown"} == {
        name: value for name, value in document.items() if name != "unknown"
    }
    assert "unknown" not in found
    assert found["registration_client_uri"] == "https://idp.example/register/registered.x"
    assert found["client_id_issued_at"] == int(NOW)
    assert "client_secret" not in found
    assert "client_secret_expires_at" not in found


def test_a_secret_comes_with_its_end() -> None:
    found = registration.information(kept(), "https://idp.example", secret="s")
    assert found["client_secret"] == "s"
    assert found["client_secret_expires_at"] == int(NOW + registration.SECONDS)


def test_what_is_kept_reads_as_it_was() -> None:
    one = kept(token_endpoint_auth_method="none", client_name="App")
    assert Registered.from_bytes(one.to_bytes()) == one
    client = registration.client_of(one)
    assert client.public
    assert client.pkce_required
    assert (client.name, client.introduced, client.allow) == ("App", "registered", None)


BAD = {
    "no redirect": ({"redirect_uris": []}, "invalid_redirect_uri"),
    "javascript": ({"redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri"),
    "http elsewhere": ({"redirect_uris": ["http://app.example/cb"]}, "invalid_redirect_uri"),
    "a fragment": ({"redirect_uris": ["https://app.example/cb#x"]}, "invalid_redirect_uri"),
    "a user": ({"redirect_uris": ["https://app.example@evil.example/"]}, "invalid_redirect_uri"),
    "no list": ({"redirect_uris": "https://app.example/cb"}, "invalid_redirect_uri"),
    "numbers": ({"redirect_uris": [1]}, "invalid_redirect_uri"),
    "implicit": ({"response_types": ["token"]}, "invalid_client_metadata"),
    "hybrid": ({"response_types": ["code", "code id_token"]}, "invalid_client_metadata"),
    "another grant": ({"grant_types": ["client_credentials"]}, "invalid_client_metadata"),
    "password": ({"grant_types": ["authorization_code", "password"]}, "invalid_client_metadata"),
    "refresh alone": ({"grant_types": ["refresh_token"], "redirect_uris": []}, "invalid_client_metadata"),
    "another method": ({"token_endpoint_auth_method": "client_secret_jwt"}, "invalid_client_metadata"),
    "no keys": ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
    "both kinds of keys": ({"jwks": JWKS, "jwks_uri": "https://app.example/k"}, "invalid_client_metadata"),
    "keys that are none": ({"jwks": {"keys": []}}, "invalid_client_metadata"),
    "keys by http": ({"jwks_uri": "http://app.example/k"}, "invalid_client_metadata"),
    "scope of another form": ({"scope": "a\nb"}, "invalid_client_metadata"),
    "no scope that we have": ({"scope": "root"}, "invalid_client_metadata"),
    "a name of another type": ({"client_name": 1}, "invalid_client_metadata"),
    "a name that moves": ({"client_name": "a\u202eb"}, "invalid_client_metadata"),
    "a long name": ({"client_name": "a" * 101}, "invalid_client_metadata"),
    "a logo that is a script": ({"logo_uri": "javascript:alert(1)"}, "invalid_client_metadata"),
    "unsigned ID tokens": ({"id_token_signed_response_alg": "none"}, "invalid_client_metadata"),
    "a software statement": ({"software_statement": "x.y.z"}, "invalid_software_statement"),
}


@pytest.mark.parametrize(("document", "error"), BAD.values(), ids=BAD)
def test_what_makes_no_sense_or_no_safe_client_is_refused(document: dict[str, Any], error: str) -> None:
    with pytest.raises(OAuthError) as refused:
        introduction.read(REDIRECT | document)
    assert (refused.value.error, refused.value.status) == (error, 400)


def test_a_client_for_devices_needs_no_redirect() -> None:
    found = introduction.read({"grant_types": [introduction.GRANT_TYPES[2]], "response_types": []})
    assert introduction.told(found)["response_types"] == []


def test_a_change_replaces_everything_and_lasts_as_long_again() -> None:
    one = kept(client_name="App", client_uri="https://app.example")
    two = registration.changed(one, {"client_id": "registered.x", "client_secret": "s", **REDIRECT}, NOW + 5)
    assert two.metadata.name == ""
    assert two.expires_at == NOW + 5 + registration.SECONDS
    assert two.secret == one.secret


CHANGES = {
    "of another client": {"client_id": "other"},
    "another secret": {"client_id": "registered.x", "client_secret": "t"},
    "a time that is ours": {"client_id": "registered.x", "client_id_issued_at": 5},
    "a token that is ours": {"client_id": "registered.x", "registration_access_token": "t"},
}


@pytest.mark.parametrize("document", CHANGES.values(), ids=CHANGES)
def test_a_change_of_what_is_ours_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(OAuthError, match="invalid_request"):
        registration.changed(kept(), REDIRECT | document, NOW)


def test_a_client_cannot_give_away_its_secret() -> None:
    with pytest.raises(OAuthError, match="invalid_client_metadata"):
        registration.changed(
            kept(), {"client_id": "registered.x", "token_endpoint_auth_method": "none", **REDIRECT}, NOW
        )


URLS = {
    URL: True,
    "https://app.example/": True,
    "https://APP.example/x": True,
    "https://app.example": False,
    "http://app.example/x": False,
    "https://other.example/x": False,
    "https://app.example.evil/x": False,
    "https://u@app.example/x": False,
    "https://app.example/a/../b": False,
    "https://app.example/a/%2e%2e/b": False,
    "https://app.example/x#y": False,
    "https://app.example/x\n": False,
    "https://app.example/" + "x" * 600: False,
}


@pytest.mark.parametrize(("url", "fetched"), URLS.items())
def test_only_urls_of_allowed_hosts_are_clients(url: str, *, fetched: bool) -> None:
    assert clientmetadata.is_one(url, {"app.example"}) is fetched
    assert not clientmetadata.is_one(url, set())


def test_a_document_is_a_public_client() -> None:
    client = clientmetadata.read(URL, json.dumps({"client_id": URL, **REDIRECT}).encode())
    assert (client.client_id, client.public, client.introduced) == (URL, True, "metadata")
    assert not clientmetadata.is_local(client)
    local = replace(client, redirect_uris=("http://localhost/cb", "http://127.0.0.1/cb"))
    assert clientmetadata.is_local(local)


DOCUMENTS = {
    "of another URL": {"client_id": "https://app.example/other", **REDIRECT},
    "with a secret": {"client_id": URL, "client_secret": "x", **REDIRECT},
    "that proves itself by one": {"client_id": URL, "token_endpoint_auth_method": "client_secret_post", **REDIRECT},
    "without redirects": {"client_id": URL},
}


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_that_is_no_client_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(OAuthError):
        clientmetadata.read(URL, json.dumps(document).encode())


@pytest.mark.parametrize("content", [b"", b"[]", b"<html>", b'{"a":1,"a":2}', b"\xff"])
def test_what_is_no_document_is_refused(content: bytes) -> None:
    with pytest.raises(OAuthError):
        clientmetadata.read(URL, content)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", clientmetadata.USUAL),
        ("max-age=600", 600),
        ("public, max-age=0", clientmetadata.SHORTEST),
        ("max-age=999999999", clientmetadata.LONGEST),
        ("no-store, max-age=600", clientmetadata.SHORTEST),
        ("x-max-age=5", clientmetadata.USUAL),
    ],
)
def test_a_document_counts_as_long_as_its_server_says_within_limits(header: str, seconds: int) -> None:
    assert clientmetadata.seconds({"cache-control": header}) == seconds
