"""The synchronous core: every refusal has its reason, every grant is exactly what the policy says."""

# ruff: noqa: ANN401 - keys, claims and cases are of many types
from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import import_key

from fakes.exchange import (
    FOREIGN,
    JWT_TYPE,
    NOW,
    OURS,
    SETTINGS,
    SPEC,
    TARGET,
    Bench,
    Keys,
    call,
    claims,
    ec_key,
    foreign_set,
    form,
    jwk,
    record,
    rsa_key,
    spec,
    token,
)
from tailseal.domain.bundle.model import TailscaleUpstream, Upstream
from tailseal.tokens.exchange import Answered, NeedKeys, NeedUpstream, finish, unavailable
from tailseal.tokens.keyset import parse_jwks
from tailseal.tokens.request import MAX_BODY_BYTES
from tailseal.tokens.verify import ACCESS_TOKEN, ID_TOKEN

PUBLISHED = jwk(ec_key("ours"), "k1", "ES256")
TAILSCALE = SPEC | {"grants": [{"name": "tail", "tailscale": {"upstream": "prod", "scopes": ["devices:read"]}}]}
WITH_UPSTREAM = SETTINGS.model_copy(
    update={
        "upstreams": (Upstream(name="prod", tailscale=TailscaleUpstream(api_url="https://ts.example", credential="c")),)
    }
)


def verified(answer: dict[str, Any]) -> Any:
    """The issued token, verified by a library that had no part in making it."""
    return joserfc_jwt.decode(answer["access_token"], import_key(PUBLISHED), algorithms=["ES256"])


def test_a_trusted_token_is_exchanged_for_an_access_token_of_rfc_9068() -> None:
    status, answer = Bench().answer(call(form(audience=TARGET, scope="read")))
    assert status == 200
    found = verified(answer)
    assert found.header == {"alg": "ES256", "kid": "k1", "typ": "at+jwt"}
    assert found.claims == {
        "iss": OURS,
        "sub": "policy:identity/ci",
        "client_id": "policy:identity/ci",
        "aud": TARGET,
        "scope": "read",
        "iat": int(NOW),
        "exp": int(NOW) + 300,
        "jti": "d1",
    }
    assert {name: answer[name] for name in answer if name != "access_token"} == {
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "read",
    }


def test_a_plain_jwt_is_no_access_token() -> None:
    status, answer = Bench().answer(call(form(requested_token_type=JWT_TYPE)))
    assert status == 200
    assert (answer["issued_token_type"], answer["token_type"]) == (JWT_TYPE, "N_A")
    assert verified(answer).header["typ"] == "JWT"


def test_answers_are_never_stored() -> None:
    for body in (form(), b""):
        headers = dict(Bench().step(call(body)).response.headers)
        assert headers[b"cache-control"] == b"no-store"
        assert headers[b"content-type"] == b"application/json"


def test_text_is_the_bare_token_for_a_curl_line() -> None:
    outcome = Bench().step(call(accept="text/plain"))
    assert outcome.response.body.count(b".") == 2
    assert dict(outcome.response.headers)[b"content-type"] == b"text/plain; charset=utf-8"
    refused = Bench().step(call(form("x.y.z"), accept="text/plain"))
    assert refused.response.status == 400
    assert refused.response.body.startswith(b"invalid_request: ")
    assert b"TokenMalformed, decision d1" in refused.response.body
    assert Bench().step(call(accept="application/json, text/plain, */*")).response.body.startswith(b"{")


@pytest.mark.parametrize(
    ("fields", "error", "reason"),
    [
        ({"grant_type": None}, "invalid_request", "ParameterMissing"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type", "UnsupportedGrantType"),
        ({"subject_token": None}, "invalid_request", "ParameterMissing"),
        ({"subject_token": ""}, "invalid_request", "ParameterMissing"),
        ({"subject_token_type": None}, "invalid_request", "ParameterMissing"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request", "UnsupportedTokenType"),
        ({"actor_token_type": JWT_TYPE}, "invalid_request", "ParameterMissing"),
        ({"client_secret": "x"}, "invalid_client", "ClientAuthenticationNotSupported"),
        ({"client_assertion": "x"}, "invalid_client", "ClientAuthenticationNotSupported"),
        ({"scope": ["read", "write"]}, "invalid_request", "MalformedForm"),
        ({"unknown": ["1", "2"]}, "invalid_request", "MalformedForm"),
        ({"scope": "read  write"}, "invalid_scope", "ParameterMalformed"),
        ({"scope": 'read"'}, "invalid_scope", "ParameterMalformed"),
        ({"scope": " ".join(map(str, range(40)))}, "invalid_scope", "ParameterMalformed"),
        ({"resource": "api"}, "invalid_target", "ParameterMalformed"),
        ({"resource": TARGET + "#x"}, "invalid_target", "ParameterMalformed"),
        ({"audience": [f"a{n}" for n in range(40)]}, "invalid_target", "ParameterMalformed"),
        ({"audience": "x" * 600}, "invalid_target", "ParameterMalformed"),
        ({"policy": "ci"}, "invalid_request", "ParameterMalformed"),
        ({"policy": "../ci/x"}, "invalid_request", "ParameterMalformed"),
        ({"grant": "A b"}, "invalid_request", "ParameterMalformed"),
        ({"audience": "https://other.example"}, "invalid_target", "TargetNotGranted"),
        ({"audience": [TARGET, "https://other.example"]}, "invalid_target", "TargetNotGranted"),
        ({"scope": "admin"}, "invalid_scope", "ScopeNotGranted"),
        ({"scope": "read admin"}, "invalid_scope", "ScopeNotGranted"),
        ({"grant": "other"}, "invalid_target", "GrantNotFound"),
        ({"requested_token_type": "urn:x"}, "invalid_request", "TokenTypeNotGranted"),
        ({"policy": "identity/other"}, "invalid_request", "NoPolicyMatches"),
    ],
)
def test_each_refusal_has_its_error_code_and_reason(fields: dict[str, object], error: str, reason: str) -> None:
    outcome = Bench().step(call(form(**{"subject": token(), **fields})))
    answer = json.loads(outcome.response.body)
    assert (answer["error"], answer["tailseal_reason"]) == (error, reason)
    assert answer["decision_id"] == outcome.audit["decision"] == "d1"
    assert outcome.audit["reason"] == outcome.reason == reason
    assert (outcome.audit["result"], outcome.result) == ("refused", "refused")
    assert outcome.response.status == (401 if error == "invalid_client" else 400)
    assert "access_token" not in answer


@pytest.mark.parametrize("name", ["audience", "resource", "scope", "policy", "grant", "tags", "requested_token_type"])
def test_an_empty_parameter_is_an_absent_one(name: str) -> None:
    assert Bench().answer(call(form(**{name: ""})))[0] == 200


def test_unknown_parameters_are_ignored() -> None:
    assert Bench().answer(call(form(client_id="somebody", foo="bar")))[0] == 200


def test_a_body_beyond_its_cap_is_refused_unread() -> None:
    outcome = Bench().step(call(b"a" * (MAX_BODY_BYTES + 1)))
    assert (outcome.response.status, outcome.reason) == (413, "RequestTooLarge")


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data", "text/plain"])
def test_only_forms_are_read(content_type: str) -> None:
    assert Bench().step(call(content_type=content_type)).reason == "UnsupportedMediaType"


def test_parameters_of_the_media_type_do_not_matter() -> None:
    content_type = "Application/x-www-form-urlencoded; charset=UTF-8"
    assert Bench().answer(call(content_type=content_type))[0] == 200


def test_a_client_that_authenticates_is_told_that_nobody_does() -> None:
    outcome = Bench().step(call(authorization=True))
    assert outcome.response.status == 401
    assert b"www-authenticate" in dict(outcome.response.headers)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://other.example"}, "UnknownIssuer"),
        ({"iss": FOREIGN + "/"}, "UnknownIssuer"),
        ({"iss": None}, "ClaimMissing"),
        ({"sub": None}, "ClaimMissing"),
        ({"aud": "https://elsewhere.example"}, "AudienceNotTrusted"),
        ({"aud": [OURS, 7]}, "ClaimMalformed"),
        ({"exp": int(NOW) - 60}, "TokenExpired"),
        ({"iat": int(NOW) + 61}, "TokenNotYetValid"),
        ({"nbf": int(NOW) + 61}, "TokenNotYetValid"),
        ({"exp": True}, "ClaimMalformed"),
        ({"sub": "repo:acme/other"}, "NoPolicyMatches"),
        ({"repository_id": 42}, "NoPolicyMatches"),
    ],
)
def test_a_token_that_is_not_trusted_is_an_invalid_request(changes: dict[str, object], reason: str) -> None:
    outcome = Bench().step(call(form(token(claims(**changes)))))
    assert outcome.reason == reason
    assert json.loads(outcome.response.body)["error"] == "invalid_request"


def test_an_unknown_issuer_ends_before_any_key_is_asked_for() -> None:
    bench = Bench()
    outcome = bench.step(call(form(token(claims(iss="https://attacker.example")))))
    assert isinstance(outcome, Answered)
    assert outcome.audit["issuer"] == "https://attacker.example"
    assert "subject" not in outcome.audit
    assert bench.keys.asked == []


def test_an_id_token_is_not_taken_as_what_it_is_not() -> None:
    subject = token(header={"alg": "RS256", "kid": "f1", "typ": "at+jwt"})
    assert Bench().reason(subject) == ""
    assert Bench().reason(subject, subject_token_type=ID_TOKEN) == "WrongTokenType"


def test_only_algorithms_that_the_policy_lists_are_trusted() -> None:
    keys = foreign_set(jwk(ec_key("foreign"), "e1", "ES256"))
    subject = token(header={"alg": "ES256", "kid": "e1"}, key=ec_key("foreign"), alg="ES256")
    assert Bench(keys=keys).reason(subject) == "AlgorithmNotAllowed"
    assert Bench(record(spec(algorithms=["ES256"])), keys=keys).reason(subject) == ""


def test_keys_that_are_not_in_hand_are_asked_for_by_source_and_kid() -> None:
    bench = Bench()
    (source,) = bench.index.issuers(FOREIGN)
    bench.keys = Keys()
    assert bench.step() == NeedKeys((source,), "f1")


def test_keys_that_cannot_be_had_are_nobodys_fault_but_grant_nothing() -> None:
    bench = Bench()
    (source,) = bench.index.issuers(FOREIGN)
    bench.keys = Keys()
    outcome = bench.step(unavailable={source: "KeysUnreachable"})
    assert outcome.response.status == 503
    assert json.loads(outcome.response.body)["error"] == "temporarily_unavailable"
    assert (outcome.reason, outcome.result) == ("KeysUnreachable", "error")
    assert b"retry-after" in dict(outcome.response.headers)


def two_tenants() -> tuple[Bench, str]:
    """A policy on the issuer's own keys, and another tenant's with a set of its own for the same issuer."""
    forged = jwk(rsa_key("attacker"), "f1", "RS256")
    theirs = spec(keys={"jwks": {"keys": [forged]}}, subject={"exact": "repo:evil/app"})
    bench = Bench(record(), record(theirs, name="evil"))
    sources = {source.kind: source for source in bench.index.issuers(FOREIGN)}
    bench.keys = Keys({sources["discovery"]: foreign_set(), sources["jwks"]: parse_jwks({"keys": [forged]})})
    return bench, token(key=rsa_key("attacker"))


def test_a_key_source_never_forges_for_a_policy_that_names_another() -> None:
    bench, forged = two_tenants()
    assert bench.reason(forged) == "NoPolicyMatches"
    assert bench.reason(forged, policy="identity/ci") != ""
    assert bench.reason(token()) == ""
    assert bench.reason(token(claims(sub="repo:evil/app"))) == "NoPolicyMatches"
    assert bench.reason(token(claims(sub="repo:evil/app"), key=rsa_key("attacker"))) == ""


def test_a_source_that_cannot_be_had_does_not_stand_in_the_way_of_another() -> None:
    bench, _ = two_tenants()
    sources = {source.kind: source for source in bench.index.issuers(FOREIGN)}
    del bench.keys.sets[sources["jwks"]]
    assert bench.step().result == "granted"
    assert bench.step(call(form(token(claims(sub="x"))))) == NeedKeys((sources["jwks"],), "f1")
    outcome = bench.step(call(form(token(claims(sub="x")))), unavailable={sources["jwks"]: "KeysUnreachable"})
    assert outcome.reason == "NoPolicyMatches"


def test_a_refusal_is_an_outage_where_a_source_out_of_reach_would_grant() -> None:
    bench, _ = two_tenants()
    sources = {source.kind: source for source in bench.index.issuers(FOREIGN)}
    del bench.keys.sets[sources["jwks"]]
    away = {sources["jwks"]: "KeysUnreachable"}
    theirs = token(claims(sub="repo:evil/app"))
    outcome = bench.step(call(form(theirs)), unavailable=away)
    assert (outcome.response.status, outcome.reason) == (503, "KeysUnreachable")
    assert b"retry-after" in dict(outcome.response.headers)
    for refused in (form(theirs, scope="admin"), form(token(claims(sub="repo:evil/other")))):
        assert bench.step(call(refused), unavailable=away).response.status == 400


def test_who_names_a_policy_does_not_wait_for_the_keys_of_others() -> None:
    bench, _ = two_tenants()
    sources = {source.kind: source for source in bench.index.issuers(FOREIGN)}
    del bench.keys.sets[sources["jwks"]]
    stranger = token(claims(sub="x"))
    assert bench.reason(stranger, policy="identity/ci") == "NoPolicyMatches"
    assert bench.step(call(form(stranger, policy="identity/nobody"))) == NeedKeys((sources["jwks"],), "f1")


@pytest.mark.parametrize(("grant_ttl", "cap", "expected"), [("5m", 3600, 300), ("5m", 120, 120), (None, 3600, 600)])
def test_a_lifetime_is_the_least_of_grant_settings_and_overlap(grant_ttl: str | None, cap: int, expected: int) -> None:
    grant = {"audiences": [TARGET]} | ({"ttl": grant_ttl} if grant_ttl else {})
    bench = Bench(record(SPEC | {"grants": [{"name": "api", "jwt": grant}]}), max_token_ttl=cap)
    _, answer = bench.answer()
    content = verified(answer).claims
    assert answer["expires_in"] == content["exp"] - content["iat"] == expected


def test_without_an_active_key_nothing_is_signed() -> None:
    outcome = Bench(signer=None).step()
    assert (outcome.response.status, outcome.reason) == (503, "NoActiveKey")
    assert Bench(signer=None).reason(token(claims(sub="x"))) == "NoPolicyMatches"


def test_a_tailscale_grant_asks_the_upstream_for_no_more_than_the_request() -> None:
    bench = Bench(record(TAILSCALE), settings=WITH_UPSTREAM)
    need = bench.step()
    assert isinstance(need, NeedUpstream)
    assert (need.upstream, need.scopes, need.tags) == ("prod", ("devices:read",), ())
    assert "subject_token" not in repr(need)
    outcome = finish(need, "tskey-secret", expires_in=3600, scopes=("devices:read",))
    answer = json.loads(outcome.response.body)
    assert answer == {
        "access_token": "tskey-secret",
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": "devices:read",
    }
    assert "tskey-secret" not in str(outcome.audit)
    assert bench.reason(token(), scope="devices:write") == "ScopeNotGranted"


def test_the_audit_line_names_who_and_what_and_holds_no_token() -> None:
    subject = token()
    outcome = Bench().step(call(form(subject, audience=TARGET, scope="read")))
    line = outcome.audit
    assert {name: line[name] for name in line if name != "tokenHash"} == {
        "time": NOW,
        "decision": "d1",
        "caller": "127.0.0.9",
        "issuer": FOREIGN,
        "subject": "repo:acme/app",
        "policy": "identity/ci",
        "generation": 3,
        "grant": "api",
        "claims": ("sub", "repository_id"),
        "scope": "read",
        "audience": (TARGET,),
        "kid": "k1",
        "result": "granted",
        "expiresIn": 300,
    }
    issued = json.loads(outcome.response.body)["access_token"]
    for part in (*subject.split("."), *issued.split(".")):
        assert part not in str(line)


def test_a_policy_that_is_only_tried_out_grants_nothing_and_is_noted() -> None:
    outcome = Bench(record(SPEC | {"enforcement": "Audit"})).step()
    assert outcome.reason == "AuditOnly"
    assert outcome.audit["wouldAllow"] == ("identity/ci",)


def test_an_outage_is_answered_like_any_decision() -> None:
    outcome = unavailable(call(), "Stale", NOW)
    assert (outcome.response.status, outcome.reason, outcome.audit["decision"]) == (503, "Stale", "d1")
