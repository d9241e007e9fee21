"""The authorization request: where its answer may go, and which faults are told there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import oauthclients, trust
from tailseal.oauth import authorize, parameters, response, wishes
from tailseal.oauth.authorize import AuthorizationRequest, RedirectedError
from tailseal.oauth.errors import OAuthError
from tailseal.tokens import form as forms

SETTINGS = trust.settings(bounds=())
CALLBACK = "https://app.example/cb"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
CLIENT = oauthclients.client(audiences=["https://api.example"])
NATIVE = oauthclients.client("native", type="Public", redirectURIs=["http://127.0.0.1/cb", "com.example.app:/cb"])
LENIENT = oauthclients.client("lenient", pkce="OptionalWithNonce")
MACHINE = oauthclients.client("machine", grantTypes=["client_credentials"], redirectURIs=None)

Form = dict[str, list[str]]


def form(**changes: Any) -> Form:  # noqa: ANN401 - a text, several, or None
    asked: dict[str, Any] = {
        "client_id": "grafana",
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "openid",
        "state": "s",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    found = {name: value for name, value in (asked | changes).items() if value is not None}
    return {name: value if isinstance(value, list) else [value] for name, value in found.items()}


def read(client: Any = CLIENT, **changes: Any) -> AuthorizationRequest:  # noqa: ANN401
    asked = form(**changes)
    return authorize.read(asked, authorize.target(asked, client), SETTINGS)


@pytest.mark.parametrize(
    "uri",
    [
        None,
        "",
        [CALLBACK, CALLBACK],
        "https://app.example/cb/",
        "https://app.example/CB",
        "https://APP.example/cb",
        "https://app.example/cb?x=1",
        "https://app.example/cb#",
        "https://app.example/cb#@evil.example",
        "https://app.example:443/cb",
        "https://app.example/cb/../evil",
        "https://app.example/x/../cb",
        "https://app.example/%63b",
        "https://app.example\\@evil.example/cb",
        "https://app.example@evil.example/cb",
        "https://user@app.example/cb",
        "https://app.example.evil.example/cb",
        "https://evil.example/?https://app.example/cb",
        "//app.example/cb",
        "http://app.example/cb",
        " https://app.example/cb",
        "https://app.example/cb ",
        "https://app.example/cb\r\nset-cookie: a=b",
        "https://app.example/cb\x00",
        "javascript:alert(1)",
        "data:text/html,x",
        "http://127.0.0.1:8080/cb",
    ],
)
def test_nobody_is_sent_where_the_client_did_not_register(uri: Any) -> None:  # noqa: ANN401
    with pytest.raises(OAuthError) as refused:
        authorize.target(form(redirect_uri=uri), CLIENT)
    assert refused.value.error == "invalid_request"
    assert not isinstance(refused.value, RedirectedError)


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_is_around_a_registered_uri_it_is_another(before: str, after: str) -> None:
    uri = before + CALLBACK + after
    if uri == CALLBACK:
        return
    with pytest.raises(OAuthError):
        authorize.target(form(redirect_uri=uri), CLIENT)


@given(st.binary(max_size=300))
def test_no_query_makes_the_reader_stumble(query: bytes) -> None:
    try:
        asked = forms.parse(query, parameters.ALL)
        authorize.read(asked, authorize.target(asked, CLIENT), SETTINGS)
    except (forms.FormError, OAuthError):
        pass


@pytest.mark.parametrize("port", ["", ":1", ":8080", ":65535"])
def test_an_installed_application_may_listen_on_any_port(port: str) -> None:
    uri = f"http://127.0.0.1{port}/cb"
    assert authorize.target(form(redirect_uri=uri), NATIVE).redirect_uri == uri


@pytest.mark.parametrize(
    "uri",
    [
        "http://localhost/cb",
        "http://127.0.0.2/cb",
        "http://127.0.0.1:8080@evil.example/cb",
        "http://127.0.0.1.evil.example/cb",
        "http://127.0.0.1:123456/cb",
        "http://127.0.0.1:80 80/cb",
        "http://127.0.0.1:/cb",
        "https://127.0.0.1:8080/cb",
        "com.example.app://cb",
    ],
)
def test_but_only_the_port_is_free(uri: str) -> None:
    with pytest.raises(OAuthError):
        authorize.target(form(redirect_uri=uri), NATIVE)


def test_an_unknown_client_is_no_place_to_go() -> None:
    with pytest.raises(OAuthError, match="no such client") as refused:
        authorize.target(form(), None)
    assert not isinstance(refused.value, RedirectedError)


@pytest.mark.parametrize(
    ("error", "changes"),
    [
        ("invalid_request", {"nonce": ["a", "b"]}),
        ("invalid_request", {"unheard_of": ["a", "b"]}),
        ("invalid_request", {"state": ["a", "b"]}),
        ("request_not_supported", {"request": "e30.e30."}),
        ("request_uri_not_supported", {"request_uri": "https://app.example/request"}),
        ("registration_not_supported", {"registration": "{}"}),
        ("invalid_request", {"response_type": None}),
        ("unsupported_response_type", {"response_type": "token"}),
        ("unsupported_response_type", {"response_type": "code id_token"}),
        ("unsupported_response_type", {"response_type": "none"}),
        ("invalid_request", {"response_mode": "web_message"}),
        ("invalid_request", {"code_challenge": None, "code_challenge_method": None}),
        ("invalid_request", {"code_challenge_method": None}),
        ("invalid_request", {"code_challenge_method": "plain"}),
        ("invalid_request", {"code_challenge_method": "s256"}),
        ("invalid_request", {"code_challenge": None}),
        ("invalid_request", {"code_challenge": CHALLENGE[:-1]}),
        ("invalid_request", {"code_challenge": CHALLENGE + "="}),
        ("invalid_request", {"code_challenge": "é" * 43}),
        ("invalid_scope", {"scope": "openid  email"}),
        ("invalid_scope", {"scope": 'open"id'}),
        ("invalid_scope", {"scope": " ".join(f"s{n}" for n in range(40))}),
        ("invalid_request", {"prompt": "none login"}),
        ("invalid_request", {"prompt": "create"}),
        ("invalid_request", {"max_age": "-1"}),
        ("invalid_request", {"max_age": "1.5"}),
        ("invalid_request", {"max_age": "٣"}),
        ("invalid_target", {"resource": "https://api.example/other"}),
        ("invalid_target", {"resource": "https://api.example#x"}),
        ("invalid_target", {"resource": "api"}),
        ("invalid_target", {"resource": ["https://api.example", "https://evil.example"]}),
        ("invalid_request", {"claims": "[]"}),
        ("invalid_request", {"claims": '{"id_token": []}'}),
        ("invalid_request", {"claims": '{"id_token": {"acr": 1}}'}),
        ("invalid_request", {"claims": '{"id_token": {"acr": {"values": "1"}}}'}),
        ("invalid_request", {"claims": '{"id_token": {}, "id_token": {}}'}),
        ("invalid_request", {"claims": "{" + '"a":{' * 40 + "}" * 41}),
        ("invalid_request", {"dpop_jkt": "short"}),
        ("invalid_request", {"nonce": "n" * 3000}),
    ],
)
def test_the_client_is_told_of_other_faults(error: str, changes: dict[str, Any]) -> None:
    with pytest.raises(RedirectedError) as refused:
        read(**changes)
    assert refused.value.error == error
    assert refused.value.target.redirect_uri == CALLBACK


def test_what_nobody_knows_is_ignored() -> None:
    assert read(unheard_of="x", ui_locales="de", display="page", acr_values="1").scopes == ("openid",)


@pytest.mark.parametrize(
    ("mode", "taken"), [(None, "query"), ("query", "query"), ("fragment", "fragment"), ("form_post", "form_post")]
)
def test_the_answer_travels_as_asked(mode: str | None, taken: str) -> None:
    assert read(response_mode=mode).target.mode == taken


def test_without_pkce_a_lenient_client_needs_a_nonce() -> None:
    bare = {"client_id": "lenient", "code_challenge": None, "code_challenge_method": None}
    assert read(LENIENT, **bare, nonce="n").code_challenge == ""
    for changes in ({}, {"nonce": "n", "scope": "email"}, {"nonce": "n", "code_challenge_method": "plain"}):
        with pytest.raises(RedirectedError):
            read(LENIENT, **(bare | changes))


def test_a_client_of_machines_logs_nobody_in() -> None:
    with pytest.raises(OAuthError):
        read(MACHINE, client_id="machine")


def test_answers_keep_the_query_that_a_uri_has() -> None:
    client = oauthclients.client(redirectURIs=["https://app.example/cb?tenant=a%26b"])
    asked = form(redirect_uri="https://app.example/cb?tenant=a%26b", state="x&y=z")
    where = authorize.target(asked, client)
    answer = response.redirect(where, response.parameters(where, "https://idp.example", code="c"))
    location = dict(answer.headers)[b"location"].decode()
    expected = "https://app.example/cb?tenant=a%26b&code=c&state=x%26y%3Dz&iss=https%3A%2F%2Fidp.example"
    assert (answer.status, location) == (303, expected)


def test_wishes_are_kept_as_they_came() -> None:
    text = '{"userinfo": {"email": {"essential": true}}, "id_token": {"acr": {"values": ["a"]}, "sub": {"value": "u"}}}'
    found = wishes.read(text)
    assert found.userinfo["email"].essential
    assert (found.id_token["acr"].values, found.id_token["sub"].values) == (("a",), ("u",))
    again = wishes.read(found.text)
    assert (again.id_token, again.userinfo) == (found.id_token, found.userinfo)
    assert wishes.read("") == wishes.NOTHING
