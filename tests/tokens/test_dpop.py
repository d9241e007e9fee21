"""Proofs of possession (RFC 9449): what binds a token to a key, and every proof that does not."""

# ruff: noqa: ANN401 - keys, claims and cases are of many types
from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws as joserfc_jws
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from fakes.exchange import (
    JWT_TYPE,
    NOW,
    OURS,
    SETTINGS,
    SPEC,
    TARGET,
    Bench,
    call,
    claims,
    ec_key,
    ed_key,
    form,
    jwk,
    record,
    rsa_key,
    token,
)
from tailseal.domain.policy.compile import accepted
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.tokens.dpop import NONCE_SECONDS, Expected, Nonces, Proof, ProofError, check, same_place
from tailseal.tokens.exchange import Answered, Exchange
from tailseal.tokens.once import NeedOnce
from tailseal.tokens.signers import LocalSigner

ENDPOINT = SETTINGS.token_endpoint
NONCES = Nonces(b"s" * 32, OURS)
KEY = ec_key("caller")
PUBLIC = jwk(KEY, None, None)
GOOD_HEADER = {"typ": "dpop+jwt", "alg": "ES256", "jwk": PUBLIC}

VECTOR = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscE"
    "JoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19."
    "eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF"
    "0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
)
"""The example of RFC 9449 section 4.1."""


def said(**changes: object) -> dict[str, object]:
    content: dict[str, object] = {"jti": "-BwC3ESc6acc2lTc", "htm": "POST", "htu": ENDPOINT, "iat": int(NOW)}
    return {name: value for name, value in (content | changes).items() if value is not None}


def proof(header: dict[str, object] | None = None, key: Any = None, alg: str = "ES256", **changes: object) -> str:
    head = {name: value for name, value in (GOOD_HEADER | (header or {})).items() if value is not None}
    return token(said(**changes), head, key or KEY, alg)


def expected(*, nonce_needed: bool = False, now: float = NOW, url: str = ENDPOINT) -> Expected:
    return Expected(url, now, 60, lambda nonce: NONCES.accepts(nonce, now, 60), nonce_needed)


def reason(text: str, **rest: Any) -> str:
    try:
        check(text, expected(**rest))
    except ProofError as error:
        return error.reason if not any(len(part) > 12 and part in str(error) for part in text.split(".")) else "told"
    return ""


def test_the_example_of_the_rfc_binds_to_the_key_whose_thumbprint_it_gives() -> None:
    found = check(VECTOR, expected(now=1_562_262_616, url="https://server.example.com/token"))
    assert found.jkt == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
    assert found.jti == "-BwC3ESc6acc2lTc"


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # joserfc's opinion of the name (RFC 9864)
@pytest.mark.parametrize(
    ("key", "alg"),
    [
        (ECKey.generate_key("P-256"), "ES256"),
        (ECKey.generate_key("P-384"), "ES384"),
        (ECKey.generate_key("P-521"), "ES512"),
        (OKPKey.generate_key("Ed25519"), "EdDSA"),
        (RSAKey.generate_key(2048), "RS256"),
        (RSAKey.generate_key(2048), "PS256"),
    ],
)
def test_proofs_that_another_library_made_are_taken_with_its_thumbprint(key: Any, alg: str) -> None:
    public = key.as_dict(private=False)
    public.pop("kid", None)
    header = {"typ": "dpop+jwt", "alg": alg, "jwk": public}
    text = joserfc_jws.serialize_compact(header, json.dumps(said()).encode(), key, algorithms=[alg])
    assert check(text, expected()) == Proof(key.thumbprint(), "-BwC3ESc6acc2lTc", NOW + 120)


REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "empty": (lambda: "", "ProofMalformed"),
    "two headers, joined": (lambda: f"{proof()}, {proof()}", "ProofMalformed"),
    "an access token": (token, "ProofMalformed"),
    "typ JWT": (lambda: proof({"typ": "JWT"}), "ProofMalformed"),
    "typ in upper case": (lambda: proof({"typ": "DPOP+JWT"}), "ProofMalformed"),
    "typ missing": (lambda: proof({"typ": None}), "ProofMalformed"),
    "alg none": (lambda: proof({"alg": "none"}), "ProofKeyNotAllowed"),
    "alg HS256": (lambda: proof({"alg": "HS256"}), "ProofKeyNotAllowed"),
    "alg of another curve": (lambda: proof({"alg": "ES384"}), "ProofKeyNotAllowed"),
    "alg missing": (lambda: proof({"alg": None}), "ProofMalformed"),
    "jwk missing": (lambda: proof({"jwk": None}), "ProofKeyNotAllowed"),
    "jwk as a text": (lambda: proof({"jwk": "x"}), "ProofKeyNotAllowed"),
    "jwk private": (lambda: proof({"jwk": PUBLIC | {"d": "AAAA"}}), "ProofKeyNotAllowed"),
    "jwk symmetric": (lambda: proof({"jwk": {"kty": "oct", "k": "AAAA"}, "alg": "HS256"}), "ProofKeyNotAllowed"),
    "jwk with k": (lambda: proof({"jwk": PUBLIC | {"k": "AAAA"}}), "ProofKeyNotAllowed"),
    "jwk for encryption": (lambda: proof({"jwk": PUBLIC | {"use": "enc"}}), "ProofKeyNotAllowed"),
    "jwk bound to another alg": (lambda: proof({"jwk": PUBLIC | {"alg": "ES384"}}), "ProofKeyNotAllowed"),
    "jwk off the curve": (lambda: proof({"jwk": PUBLIC | {"y": PUBLIC["x"]}}), "ProofKeyNotAllowed"),
    "jwk too short": (
        lambda: proof({"jwk": jwk(rsa_key("weak", 1024), None, None), "alg": "RS256"}, rsa_key("weak", 1024), "RS256"),
        "ProofKeyNotAllowed",
    ),
    "jwk too long": (
        lambda: proof({"jwk": jwk(rsa_key("x"), None, None) | {"n": "A" * 700 + "AQ"}, "alg": "RS256"}),
        "ProofKeyNotAllowed",
    ),
    "another key": (lambda: proof(key=ec_key("attacker")), "ProofBadSignature"),
    "jku beside": (lambda: proof({"jku": "https://attacker.example"}), "ProofMalformed"),
    "x5c beside": (lambda: proof({"x5c": ["AAAA"]}), "ProofMalformed"),
    "crit": (lambda: proof({"crit": ["x"]}), "ProofMalformed"),
    "b64": (lambda: proof({"b64": True}), "ProofMalformed"),
    "jti missing": (lambda: proof(jti=None), "ProofMalformed"),
    "jti empty": (lambda: proof(jti=""), "ProofMalformed"),
    "jti too long": (lambda: proof(jti="x" * 257), "ProofMalformed"),
    "jti as a number": (lambda: proof(jti=7), "ProofMalformed"),
    "htm GET": (lambda: proof(htm="GET"), "ProofForAnotherRequest"),
    "htm in lower case": (lambda: proof(htm="post"), "ProofForAnotherRequest"),
    "htm missing": (lambda: proof(htm=None), "ProofMalformed"),
    "htu of another host": (lambda: proof(htu="https://attacker.example/token"), "ProofForAnotherRequest"),
    "htu of another path": (lambda: proof(htu=ENDPOINT + "/x"), "ProofForAnotherRequest"),
    "htu with credentials": (lambda: proof(htu=ENDPOINT.replace("//", "//a@")), "ProofForAnotherRequest"),
    "htu over http": (lambda: proof(htu=ENDPOINT.replace("https", "http")), "ProofForAnotherRequest"),
    "htu as a list": (lambda: proof(htu=[ENDPOINT]), "ProofMalformed"),
    "iat missing": (lambda: proof(iat=None), "ProofMalformed"),
    "iat as a float": (lambda: proof(iat=NOW + 0.5), "ProofMalformed"),
    "iat as a boolean": (lambda: proof(iat=True), "ProofMalformed"),
    "iat long ago": (lambda: proof(iat=int(NOW) - 121), "ProofOutdated"),
    "iat in the future": (lambda: proof(iat=int(NOW) + 61), "ProofOutdated"),
    "a nonce of somebody else": (lambda: proof(nonce=Nonces(b"x", OURS).make(NOW)), "ProofNonceNeeded"),
    "a nonce for another issuer": (lambda: proof(nonce=Nonces(b"s" * 32, "x").make(NOW)), "ProofNonceNeeded"),
    "an old nonce": (lambda: proof(nonce=NONCES.make(NOW - NONCE_SECONDS - 1)), "ProofNonceNeeded"),
    "a nonce of the future": (lambda: proof(nonce=NONCES.make(NOW + 62)), "ProofNonceNeeded"),
    "a nonce as a number": (lambda: proof(nonce=7), "ProofNonceNeeded"),
    "an empty nonce": (lambda: proof(nonce=""), "ProofNonceNeeded"),
    "a nonce beyond ASCII": (lambda: proof(nonce="é"), "ProofNonceNeeded"),
    "signature cut": (lambda: proof()[:-2], "ProofBadSignature"),
    "padding": (lambda: proof() + "=", "ProofMalformed"),
    "a line end": (lambda: proof() + "\n", "ProofMalformed"),
    "too long": (lambda: proof(x="x" * 5000), "ProofMalformed"),
    "not ASCII": (lambda: proof() + "é", "ProofMalformed"),
    "two htu": (
        lambda: token(json.dumps(said()).encode()[:-1] + b', "htu": "x"}', GOOD_HEADER, KEY, "ES256"),
        "ProofMalformed",
    ),
}


@pytest.mark.parametrize(("make", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_a_proof_that_binds_nothing_is_refused_for_its_reason(make: Callable[[], str], why: str) -> None:
    assert reason(make()) == why


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"iat": int(NOW) - 120},
        {"iat": int(NOW) + 60},
        {"nonce": NONCES.make(NOW)},
        {"nonce": NONCES.make(NOW - NONCE_SECONDS)},
        {"htu": ENDPOINT + "?a=b#c"},
        {"htu": ENDPOINT.replace("https://sts", "HTTPS://STS")},
        {"htu": ENDPOINT.replace(".example/", ".example:443/")},
        {"htu": ENDPOINT.replace("/token", "/x/../%74oken")},
        {"ath": "x", "unknown": 7},
    ],
)
def test_a_proof_for_this_request_is_taken(changes: dict[str, object]) -> None:
    assert reason(proof(**changes)) == ""


def test_where_a_nonce_is_needed_only_ours_will_do() -> None:
    assert reason(proof(), nonce_needed=True) == "ProofNonceNeeded"
    assert reason(proof(nonce=NONCES.make(NOW)), nonce_needed=True) == ""


@pytest.mark.parametrize(
    ("url", "other", "same"),
    [
        ("https://a.example", "https://a.example/", True),
        ("https://a.example/", "https://a.example:443/", True),
        ("https://a.example:/", "https://a.example/", True),
        ("http://a.example:80/x", "http://A.example/x", True),
        ("https://a.example/%7ex", "https://a.example/~x", True),
        ("https://a.example/%2fx", "https://a.example/%2Fx", True),
        ("https://a.example/%2Fx", "https://a.example//x", False),
        ("https://a.example/a/./b", "https://a.example/a/b", True),
        ("https://a.example/a/..", "https://a.example/", True),
        ("https://a.example/x", "https://a.example/X", False),
        ("https://a.example/x", "https://a.example/x/", False),
        ("https://a.example:8443/", "https://a.example/", False),
        ("https://a.example:x/", "https://a.example/", False),
        ("https://a.example\\@b.example/", "https://a.example/", False),
        (" https://a.example/", "https://a.example/", False),
        ("urn:x", "urn:x", False),
        ("", "", False),
    ],
)
def test_urls_are_compared_by_what_they_mean(url: str, other: str, *, same: bool) -> None:
    assert same_place(url, other) is same


@given(st.text(max_size=40))
def test_no_text_makes_the_comparison_fail(text: str) -> None:
    same_place(text, ENDPOINT)
    same_place(f"https://{text}", ENDPOINT)
    NONCES.accepts(text, NOW, 60)


def exchange(*, required: bool = False) -> Bench:
    bench = Bench()
    index = bench.index
    if required:
        (policy,) = (found for source in index.issuers(bench_issuer()) for found in index.all(source))
        index = type(index)([_requiring(policy)])
    bench.exchange = Exchange(
        SETTINGS, index, lambda _alg, _now: LocalSigner(ec_key("ours"), "ES256", "k1"), 3600, {"keys": []}, NONCES
    )
    return bench


def bench_issuer() -> str:
    return str(claims()["iss"])


def _requiring(policy: CompiledPolicy) -> CompiledPolicy:
    from dataclasses import replace  # noqa: PLC0415

    return replace(policy, grants=tuple(replace(grant, require_dpop=True) for grant in policy.grants))


def minted(outcome: Any) -> dict[str, Any]:
    issued = json.loads(outcome.response.body)["access_token"]
    return joserfc_jwt.decode(issued, import_key(jwk(ec_key("ours"), "k1", "ES256")), algorithms=["ES256"]).claims


def test_a_proof_that_is_offered_binds_the_token() -> None:
    outcome = exchange().step(call(dpop=proof()))
    answer, headers = json.loads(outcome.response.body), dict(outcome.response.headers)
    jkt = ECKey.import_key(PUBLIC).thumbprint()
    assert (outcome.response.status, answer["token_type"]) == (200, "DPoP")
    assert minted(outcome)["cnf"] == {"jkt": jkt} == {"jkt": outcome.audit["jkt"]}
    assert NONCES.accepts(headers[b"dpop-nonce"].decode(), NOW, 60)


def test_without_a_proof_nothing_is_bound_and_no_nonce_given() -> None:
    outcome = exchange().step(call())
    assert json.loads(outcome.response.body)["token_type"] == "Bearer"
    assert "cnf" not in minted(outcome)
    assert b"dpop-nonce" not in dict(outcome.response.headers)


def test_a_plain_jwt_is_bound_and_still_no_access_token() -> None:
    outcome = exchange().step(call(form(requested_token_type=JWT_TYPE), dpop=proof()))
    assert json.loads(outcome.response.body)["token_type"] == "N_A"
    assert "cnf" in minted(outcome)


@pytest.mark.parametrize(("make", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_proof_refuses_what_would_be_granted_without(make: Callable[[], str], why: str) -> None:
    outcome = exchange().step(call(dpop=make()))
    assert isinstance(outcome, Answered)
    assert (outcome.response.status, outcome.reason) == (400, why)
    error = "use_dpop_nonce" if why == "ProofNonceNeeded" else "invalid_dpop_proof"
    assert json.loads(outcome.response.body)["error"] == error
    assert dict(outcome.response.headers)[b"dpop-nonce"]


def test_a_grant_that_requires_a_proof_is_given_with_our_nonce_only() -> None:
    target = exchange(required=True)
    first = target.step(call())
    assert (json.loads(first.response.body)["error"], first.reason) == ("invalid_dpop_proof", "ProofMissing")
    second = target.step(call(dpop=proof()))
    assert (json.loads(second.response.body)["error"], second.reason) == ("use_dpop_nonce", "ProofNonceNeeded")
    for answered in (first, second):
        nonce = dict(answered.response.headers)[b"dpop-nonce"].decode()
        assert target.step(call(dpop=proof(nonce=nonce))).result == "granted"


def test_who_is_refused_anyway_is_told_so_and_his_proof_is_not_looked_at() -> None:
    assert exchange().step(call(form(token(claims(sub="x"))), dpop="x")).reason == "NoPolicyMatches"


@pytest.mark.parametrize(
    ("cnf", "sent", "why"),
    [
        ({"jkt": ECKey.import_key(PUBLIC).thumbprint()}, proof(), ""),
        ({"jkt": ECKey.import_key(PUBLIC).thumbprint()}, None, "ProofMissing"),
        ({"jkt": "another"}, proof(), "ProofOfAnotherKey"),
        ({"x5t#S256": "x"}, proof(), "ProofOfAnotherKey"),
        ({"x5t#S256": "x"}, None, "ProofOfAnotherKey"),
        ({}, None, "ProofOfAnotherKey"),
        ("x", None, "ProofOfAnotherKey"),
        (None, None, "ProofOfAnotherKey"),
        ({"jkt": 7}, proof(), "ProofOfAnotherKey"),
    ],
)
def test_a_subject_token_that_is_bound_is_exchanged_by_its_key_only(cnf: object, sent: str | None, why: str) -> None:
    outcome = exchange().step(call(form(token(claims() | {"cnf": cnf})), dpop=sent))
    assert outcome.reason == why


def test_a_key_may_have_a_name_and_be_of_any_kind() -> None:
    named = proof({"jwk": jwk(ed_key("caller"), "mine", "EdDSA"), "alg": "EdDSA"}, ed_key("caller"), "EdDSA")
    outcome = exchange().step(call(form(audience=TARGET), dpop=named))
    assert minted(outcome)["cnf"]["jkt"] == OKPKey.import_key(jwk(ed_key("caller"), None, None)).thumbprint()


_PROOF = proof()


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 127)), min_size=1, max_size=3))
def test_no_mutation_of_a_proof_raises_otherwise_or_binds(edits: list[tuple[int, int]]) -> None:
    text = bytearray(_PROOF.encode())
    for place, byte in edits:
        text[place % len(text)] = byte
    if text.decode() != _PROOF:
        assert reason(text.decode())


REQUIRING = SPEC | {"grants": [{"name": "api", "jwt": {"audiences": [TARGET], "requireDPoP": True}}]}


def test_a_required_proof_needs_storage_that_remembers_it() -> None:
    outcome = accepted(record(REQUIRING), SETTINGS)
    assert not isinstance(outcome, CompiledPolicy)
    assert [(finding.path, finding.reason) for finding in outcome] == [
        ("spec.grants[0].jwt.requireDPoP", "NeedsSharedState")
    ]


def test_a_required_proof_counts_once() -> None:
    settings = SETTINGS.model_copy(update={"state": "Postgres"})
    bench = Bench(record(REQUIRING), settings=settings)
    signer = LocalSigner(ec_key("ours"), "ES256", "k1")
    bench.exchange = Exchange(settings, bench.index, lambda _alg, _now: signer, 3600, {"keys": []}, NONCES)
    assert bench.step(call()).reason == "ProofMissing"
    assert bench.step(call(dpop=proof())).reason == "ProofNonceNeeded"
    sent = call(dpop=proof(nonce=NONCES.make(NOW)))
    need = bench.step(sent)
    assert isinstance(need, NeedOnce)
    assert need.replayed.reason == "ProofReplayed"
    assert [key.digest for key in bench.step(sent).keys] == [key.digest for key in need.keys]
    other = bench.step(call(dpop=proof(nonce=NONCES.make(NOW), jti="another")))
    assert other.keys[0].digest != need.keys[0].digest
    granted = bench.step(need.taken)
    assert json.loads(granted.response.body)["token_type"] == "DPoP"
