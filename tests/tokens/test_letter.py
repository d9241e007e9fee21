"""RFC 8693 to the letter, with what it takes over from RFC 6749 and RFC 8707: one row a rule."""

from __future__ import annotations

import json
from urllib.parse import quote_plus

import pytest

from fakes.exchange import JWT_TYPE, SPEC, TARGET, Bench, call, form, record, token
from tailseal.tokens.verify import ACCESS_TOKEN, ID_TOKEN

OTHER = "https://other.corp.example"
ISSUED = {ACCESS_TOKEN: ("Bearer", ACCESS_TOKEN), JWT_TYPE: ("N_A", JWT_TYPE)}


def bench() -> Bench:
    grant = {"name": "api", "jwt": {"audiences": [TARGET, OTHER], "scopes": ["read", "write"], "ttl": "5m"}}
    return Bench(record(SPEC | {"grants": [grant]}))


ROWS: list[tuple[str, dict[str, object], str]] = [
    # section 2.1
    ("grant_type is required", {"grant_type": None}, "ParameterMissing"),
    ("grant_type is compared byte by byte", {"grant_type": "URN:ietf:params:oauth:grant-type:token-exchange"}, "Un"),
    ("subject_token is required", {"subject_token": None}, "ParameterMissing"),
    ("subject_token_type is required", {"subject_token_type": None}, "ParameterMissing"),
    ("access_token as subject", {"subject_token_type": ACCESS_TOKEN}, ""),
    ("id_token as subject", {"subject_token_type": ID_TOKEN}, ""),
    ("refresh_token as subject", {"subject_token_type": ACCESS_TOKEN.replace("access", "refresh")}, "UnsupportedToken"),
    ("saml2 as subject", {"subject_token_type": ACCESS_TOKEN.replace("access_token", "saml2")}, "UnsupportedToken"),
    ("requested access_token", {"requested_token_type": ACCESS_TOKEN}, ""),
    ("requested jwt", {"requested_token_type": JWT_TYPE}, ""),
    ("requested id_token", {"requested_token_type": ID_TOKEN}, "TokenTypeNotGranted"),
    ("requested something", {"requested_token_type": "urn:x"}, "TokenTypeNotGranted"),
    ("actor_token needs its type", {"actor_token": "a.b.c"}, "ParameterMissing"),
    ("no actor_token_type without the token", {"actor_token_type": JWT_TYPE}, "ParameterMissing"),
    # audience and resource (RFC 8707 section 2)
    ("several audiences", {"audience": [TARGET, OTHER]}, ""),
    ("an audience twice", {"audience": [TARGET, TARGET]}, ""),
    ("a resource", {"resource": TARGET}, ""),
    ("several resources", {"resource": [TARGET, OTHER]}, ""),
    ("audience and resource", {"audience": TARGET, "resource": OTHER}, ""),
    ("one of two not granted", {"audience": [TARGET, "https://x.example"]}, "TargetNotGranted"),
    ("a resource not granted", {"resource": "https://x.example"}, "TargetNotGranted"),
    ("a resource that is relative", {"resource": "/api"}, "ParameterMalformed"),
    ("a resource with a fragment", {"resource": TARGET + "#x"}, "ParameterMalformed"),
    ("a resource with an empty fragment", {"resource": TARGET + "#"}, "ParameterMalformed"),
    ("a resource with a blank", {"resource": TARGET + " x"}, "ParameterMalformed"),
    ("a resource in another case", {"resource": TARGET.upper()}, "TargetNotGranted"),
    # scope (RFC 6749 section 3.3)
    ("one scope", {"scope": "read"}, ""),
    ("scopes in any order", {"scope": "write read"}, ""),
    ("a scope twice", {"scope": "read read"}, ""),
    ("a scope nobody knows", {"scope": "admin"}, "ScopeNotGranted"),
    ("a scope in another case", {"scope": "Read"}, "ScopeNotGranted"),
    ("scopes by commas", {"scope": "read,write"}, "ScopeNotGranted"),
    ("two blanks", {"scope": "read  write"}, "ParameterMalformed"),
    ("a tabulator", {"scope": "read\twrite"}, "ParameterMalformed"),
    ("beyond ASCII", {"scope": "réad"}, "ParameterMalformed"),
    # parameters (RFC 6749 section 3.2)
    ("unknown ones are ignored", {"foo": "bar"}, ""),
    ("client_id alone authenticates nobody", {"client_id": "x"}, ""),
    ("an empty secret is none", {"client_secret": ""}, ""),
    ("a secret", {"client_id": "x", "client_secret": "y"}, "ClientAuthenticationNotSupported"),
    ("an assertion", {"client_assertion": "x.y.z"}, "ClientAuthenticationNotSupported"),
]


@pytest.mark.parametrize(("fields", "reason"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_each_rule_of_a_request(fields: dict[str, object], reason: str) -> None:
    outcome = bench().step(call(form(**fields)))
    assert outcome.reason.startswith(reason)
    assert bool(outcome.reason) == bool(reason)
    headers = dict(outcome.response.headers)
    assert (headers[b"cache-control"], headers[b"pragma"]) == (b"no-store", b"no-cache")
    assert headers[b"content-type"] == b"application/json"


@pytest.mark.parametrize(
    "name",
    [
        *("grant_type", "subject_token", "subject_token_type", "requested_token_type", "scope", "actor_token"),
        *("actor_token_type", "policy", "grant", "tags", "client_id", "unknown"),
    ],
)
def test_a_parameter_stands_once_but_for_audience_and_resource(name: str) -> None:
    body = form() + f"&{name}=x&{name}=x".encode()
    outcome = bench().step(call(body))
    assert (outcome.response.status, outcome.reason) == (400, "MalformedForm")
    assert json.loads(outcome.response.body)["error"] == "invalid_request"


@pytest.mark.parametrize("name", ["subject_token", "subject_token_type", "grant_type"])
def test_an_empty_parameter_counts_as_left_out_and_not_as_a_repetition(name: str) -> None:
    assert bench().step(call(form(**{name: ""}))).reason == "ParameterMissing"
    assert bench().step(call(f"{name}=&".encode() + form())).result == "granted"


@pytest.mark.parametrize("requested", [None, ACCESS_TOKEN, JWT_TYPE])
def test_the_answer_always_says_what_was_issued(requested: str | None) -> None:
    status, answer = bench().answer(call(form(requested_token_type=requested, audience=TARGET)))
    assert status == 200
    assert (answer["token_type"], answer["issued_token_type"]) == ISSUED[requested or ACCESS_TOKEN]
    assert answer["expires_in"] == 300
    assert "refresh_token" not in answer


def test_the_answer_says_the_scope_where_it_is_another_than_was_asked_for() -> None:
    assert bench().answer()[1]["scope"] == "read write"
    assert bench().answer(call(form(scope="write read")))[1]["scope"] == "read write"


def test_who_authenticates_is_told_by_which_scheme_he_need_not() -> None:
    outcome = bench().step(call(authorization=True))
    answer, headers = json.loads(outcome.response.body), dict(outcome.response.headers)
    assert (outcome.response.status, answer["error"]) == (401, "invalid_client")
    assert headers[b"www-authenticate"].startswith(b"Basic ")


def test_names_and_values_are_decoded_once() -> None:
    body = form().replace(b"subject_token=", b"subject%5Ftoken=")
    assert bench().step(call(body)).result == "granted"
    twice = quote_plus(quote_plus(token().replace(".", "%2E")))
    assert bench().step(call(form(subject_token=twice))).reason == "TokenMalformed"
