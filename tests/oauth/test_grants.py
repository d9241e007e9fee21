"""Redeeming codes and refreshing, and what tokens then say."""

from __future__ import annotations

import base64
from hashlib import sha256
from ipaddress import ip_address

import pytest

from fakes import oauthclients
from tailseal.domain.caller import Known
from tailseal.oauth import accesstoken, code, idtoken, metadata, refresh
from tailseal.oauth.accesstoken import Terms
from tailseal.oauth.errors import OAuthError
from tailseal.oauth.metadata import Offered
from tailseal.oauth.records import Code, Login, Refreshing

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
"""Of RFC 7636 appendix B."""
CALLBACK = "https://app.example/cb"
CODE = Code(CALLBACK, CHALLENGE, "n", "")
LOGIN = Login(
    "userid:7",
    "userid:7",
    "grafana",
    Known("nX", "7", ip_address("100.64.0.1")),
    ("openid", "email"),
    ("https://a.example", "https://b.example"),
    1000,
    "sid",
    "",
    2000,
)


def checked(kept: Code = CODE, jkt: str = "", **sent: str) -> str:
    form = {"redirect_uri": CALLBACK, "code_verifier": VERIFIER} | sent
    try:
        code.check(kept, {name: [value] for name, value in form.items() if value}, jkt)
    except OAuthError as error:
        return error.error
    return ""


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({}, ""),
        ({"redirect_uri": ""}, "invalid_grant"),
        ({"redirect_uri": "https://app.example/cb/"}, "invalid_grant"),
        ({"redirect_uri": "https://app.example/çb"}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_grant"),
        ({"code_verifier": CHALLENGE}, "invalid_grant"),
        ({"code_verifier": VERIFIER[:-1] + "l"}, "invalid_grant"),
        ({"code_verifier": VERIFIER[:-1]}, "invalid_request"),
        ({"code_verifier": "v" * 129}, "invalid_request"),
        ({"code_verifier": VERIFIER[:-1] + "+"}, "invalid_request"),
        ({"code_verifier": VERIFIER + "\n"}, "invalid_request"),
    ],
)
def test_a_code_is_for_who_began(sent: dict[str, str], error: str) -> None:
    assert checked(CODE, "", **sent) == error


def test_a_verifier_without_a_challenge_is_somebodys_downgrade() -> None:
    bare = Code(CALLBACK, "", "n", "")
    assert checked(bare) == "invalid_grant"
    assert checked(bare, code_verifier="") == ""


def test_a_bound_code_needs_its_key() -> None:
    bound = Code(CALLBACK, CHALLENGE, "n", "k1")
    assert [checked(bound, jkt) for jkt in ("k1", "k2", "")] == ["", "invalid_grant", "invalid_grant"]


def test_a_refresh_narrows_and_never_widens() -> None:
    assert refresh.scopes(LOGIN, {}) == ("openid", "email")
    assert refresh.scopes(LOGIN, {"scope": ["email"]}) == ("email",)
    with pytest.raises(OAuthError, match="invalid_scope"):
        refresh.scopes(LOGIN, {"scope": ["email profile"]})
    assert refresh.resources(LOGIN.resources, {"resource": ["https://b.example"]}) == ("https://b.example",)
    assert refresh.resources(LOGIN.resources, {}) == LOGIN.resources
    with pytest.raises(OAuthError, match="invalid_target"):
        refresh.resources(LOGIN.resources, {"resource": ["https://c.example"]})


def test_a_bound_refresh_token_needs_its_key() -> None:
    refresh.check_key(Refreshing(""), "any")
    refresh.check_key(Refreshing("k"), "k")
    for jkt in ("", "j"):
        with pytest.raises(OAuthError, match="invalid_grant"):
            refresh.check_key(Refreshing("k"), jkt)


def test_an_access_token_is_by_rfc_9068() -> None:
    terms = Terms("https://idp.example", "userid:7", ("openid",), (), b"f" * 16, "jkt", 1000)
    found = accesstoken.claims(terms, oauthclients.client(), 5000, 60, b"r" * 12)
    assert found == {
        "iss": "https://idp.example",
        "sub": "userid:7",
        "aud": "https://idp.example",
        "client_id": "grafana",
        "iat": 5000,
        "exp": 5060,
        "jti": base64.urlsafe_b64encode(b"f" * 16).decode().rstrip("=") + "." + "cnJycnJycnJycnJy",
        "scope": "openid",
        "cnf": {"jkt": "jkt"},
        "auth_time": 1000,
        "acr": idtoken.ACR,
        "amr": ["swk"],
    }


@pytest.mark.parametrize(
    ("algorithm", "size"), [("RS256", 16), ("PS256", 16), ("ES256", 16), ("ES384", 24), ("EdDSA", 32)]
)
def test_an_access_token_is_hashed_as_the_id_token_is_signed(algorithm: str, size: int) -> None:
    found = base64.urlsafe_b64decode(idtoken.half_hash("token", algorithm) + "==")
    assert len(found) == size
    if size == 16:
        assert found == sha256(b"token").digest()[:16]


def test_nothing_is_said_of_a_session_that_is_not_there() -> None:
    bare = Login(*(getattr(LOGIN, name) for name in LOGIN.__slots__))
    assert idtoken.claims(bare, oauthclients.client(), {}, "t", "RS256")["sid"] == "sid"
    none = Login("s", "s", "c", LOGIN.known, (), (), 1, "", "", 2)
    assert "sid" not in idtoken.claims(none, oauthclients.client(), {}, "t", "RS256")


def test_claims_about_people_set_none_of_the_protocols() -> None:
    found = idtoken.claims(LOGIN, oauthclients.client(), {"sub": "x", "aud": "y", "acr": "z"}, "t", "RS256")
    assert (found["sub"], found["aud"], found["acr"]) == ("userid:7", "grafana", idtoken.ACR)


def test_metadata_says_only_what_is_on() -> None:
    full = metadata.document(Offered("https://idp.example", {"RS256", "ES256"}, logins=True, registers=True))
    bare = metadata.document(Offered("https://idp.example/", {"ES256"}, logins=False))
    assert full["code_challenge_methods_supported"] == ["S256"]
    assert full["registration_endpoint"] == "https://idp.example/register"
    assert "none" not in full["token_endpoint_auth_signing_alg_values_supported"]
    assert {"authorization_endpoint", "userinfo_endpoint", "scopes_supported"}.isdisjoint(bare)
    assert "authorization_code" not in bare["grant_types_supported"]
    assert bare["token_endpoint"] == "https://idp.example/token"
    assert not [name for document in (full, bare) for name, value in document.items() if value == []]
