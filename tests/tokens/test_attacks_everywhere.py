"""The same attacks at every other entrance: as actor token, as one of our own tokens, as proof of possession."""

# ruff: noqa: ANN401, FBT001 - keys, claims and cases are of many types
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jwt
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from joserfc import jws as joserfc_jws
from joserfc.jwk import import_key

from fakes.attacks import ATTACKS, FOREIGN_JWK, PUBLIC
from fakes.exchange import (
    FOREIGN,
    JWT_TYPE,
    NOW,
    OURS,
    SETTINGS,
    SPEC,
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
    segment,
    token,
)
from tailseal.tokens import form as forms
from tailseal.tokens.compact import split, split_proof
from tailseal.tokens.dpop import Expected, ProofError, check
from tailseal.tokens.errors import KeySetError, TokenError
from tailseal.tokens.exchange import Answered, Exchange
from tailseal.tokens.keyset import parse_jwks
from tailseal.tokens.signers import LocalSigner

CASES = {name: case for name, case in ATTACKS.items() if name != "another algorithm of the same key"}
E1 = jwk(ec_key("foreign"), "e1", "ES256")
TRUST = {"oidc": SPEC["from"]["oidc"] | {"algorithms": ["RS256", "ES256"]}}
AS_ACTOR = {
    "UnknownIssuer": "UnknownActorIssuer",
    "AudienceNotTrusted": "ActorNotTrusted",
    "NoPolicyMatches": "ActorNotTrusted",
}
BEFORE_CLAIMS = {
    *("TokenMalformed", "TokenTooLarge", "TokenTooDeep", "DuplicateMember", "UnsupportedHeader", "EmbeddedKey"),
    *("UnknownIssuer", "UnknownKey", "AlgorithmNotAllowed", "BadSignature", "WrongTokenType"),
}


def acting() -> Bench:
    bench = Bench(record(SPEC | {"actors": [TRUST]}), keys=foreign_set(E1))
    bench.keys.sets |= dict.fromkeys(bench.index.actors(FOREIGN), foreign_set(E1))
    return bench


def ours() -> Bench:
    """The attackers' favourite issuer is ourselves."""
    published = {"keys": [FOREIGN_JWK, E1]}
    settings = SETTINGS.model_copy(update={"issuer": FOREIGN})
    return Bench(record(SPEC | {"from": {"session": {"audiences": [OURS]}}}), settings=settings, published=published)


@pytest.mark.parametrize(("make", "reason"), CASES.values(), ids=CASES.keys())
def test_as_an_actor_token_it_is_refused_for_the_same_reason(make: Callable[[], str], reason: str) -> None:
    attack = make()
    outcome = acting().step(call(form(actor_token=attack, actor_token_type=JWT_TYPE)))
    assert isinstance(outcome, Answered), "nothing may be fetched for it"
    assert (outcome.response.status, outcome.reason) == (400, AS_ACTOR.get(reason, f"Actor{reason}"))
    shown = outcome.response.body.decode() + str(outcome.audit)
    for part in attack.split("."):
        assert len(part) < 12 or part not in shown


@pytest.mark.parametrize(("make", "reason"), CASES.values(), ids=CASES.keys())
def test_as_a_token_of_our_own_it_is_refused_and_nothing_fetched(make: Callable[[], str], reason: str) -> None:
    target = ours()
    outcome = target.step(call(form(make())))
    assert isinstance(outcome, Answered)
    assert outcome.response.status == 400
    assert target.keys.asked == []
    if reason in BEFORE_CLAIMS:
        assert outcome.reason == reason


@pytest.mark.parametrize("make", [case[0] for case in ATTACKS.values()], ids=ATTACKS.keys())
def test_as_a_proof_it_binds_nothing(make: Callable[[], str]) -> None:
    outcome = acting().step(call(dpop=make()))
    assert outcome.response.status == 400
    assert outcome.reason.startswith("Proof")


def test_the_entrances_are_open_for_what_is_right() -> None:
    assert acting().step(call(form(actor_token=token(), actor_token_type=JWT_TYPE))).result == "granted"
    assert ours().step(call(form(token(claims(client_id="x"))))).result == "granted"


PROOF_KEY = ec_key("caller")
PROOF_JWK = jwk(PROOF_KEY, None, None)
ZEROES = {"zeros": bytes(64), "r of zero": bytes(32) + b"\x01" * 32, "s of zero": b"\x01" * 32 + bytes(32)}


def expected() -> Expected:
    return Expected(SETTINGS.token_endpoint, NOW, 60, lambda _: False)


@pytest.mark.parametrize("signature", ZEROES.values(), ids=ZEROES.keys())
def test_a_proof_signed_with_nothing_is_refused(signature: bytes) -> None:
    said = {"jti": "j", "htm": "POST", "htu": SETTINGS.token_endpoint, "iat": int(NOW)}
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": PROOF_JWK}
    text = b".".join((segment(head), segment(said), segment(signature))).decode()
    with pytest.raises(ProofError) as found:
        check(text, expected())
    assert found.value.reason == "ProofBadSignature"


def mostly(good: Any, *bad: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([*[good] * 6, *bad])


@given(
    st.fixed_dictionaries(
        {
            "typ": mostly("dpop+jwt", "JWT", ""),
            "alg": mostly("ES256", "ES384", "HS256", "none", "RS256", "", 7),
            "jwk": mostly(PROOF_JWK, PROOF_JWK | {"alg": "ES256"}, PROOF_JWK | {"use": "enc"}, E1, FOREIGN_JWK, {}),
        },
        optional={"kid": st.sampled_from(["x", "", None]), "crit": st.just(["exp"])},
    ),
    st.fixed_dictionaries(
        {"htm": mostly("POST", "GET"), "iat": mostly(int(NOW), 0, True, 1.5), "jti": mostly("j", "", 7)},
        optional={"x": st.booleans(), "nonce": st.just("n")},
    ),
    mostly(True, False),
)
def test_what_proof_is_taken_two_other_libraries_take(head: dict[str, Any], said: dict[str, Any], honest: bool) -> None:
    content = said | {"htu": SETTINGS.token_endpoint}
    text = token(content, head, PROOF_KEY if honest else ec_key("attacker"), "ES256")
    try:
        check(text, expected())
    except ProofError as error:
        event(error.reason)
        return
    event("taken")
    key = jwt.PyJWK(head["jwk"], "ES256")
    assert jwt.decode_complete(text, key, algorithms=["ES256"], options={"verify_iat": False})["payload"] == content
    assert joserfc_jws.deserialize_compact(text, import_key(head["jwk"]), algorithms=["ES256"]).payload


@given(
    st.fixed_dictionaries(
        {"alg": st.sampled_from(["RS256", "RS256", "none", "HS256", "PS256"])},
        optional={"kid": st.sampled_from(["f1", "e1", ""]), "typ": st.sampled_from(["JWT", "at+jwt", "dpop+jwt"])},
    ),
    st.fixed_dictionaries({}, optional={"iss": st.sampled_from([FOREIGN, "x"]), "sub": st.sampled_from(["a", None])}),
    st.booleans(),
)
def test_what_actor_is_taken_pyjwt_takes(head: dict[str, Any], changes: dict[str, Any], honest: bool) -> None:
    payload = {name: value for name, value in (claims() | changes).items() if value is not None}
    actor = token(payload, head, rsa_key("foreign" if honest else "attacker"))
    outcome = _ACTING.step(call(form(actor_token=actor, actor_token_type=JWT_TYPE)))
    event(outcome.reason or "taken")
    if outcome.result == "granted":
        options: Any = {"verify_exp": False, "verify_iat": False}
        jwt.decode(actor, PUBLIC, algorithms=["RS256"], audience=OURS, issuer=FOREIGN, options=options)


_ACTING = acting()
_bytes = st.binary(max_size=60) | st.lists(st.sampled_from([b"%", b"&", b"=", b"+", b"%2", b"%41", b"a", b"."])).map(
    b"".join
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(_bytes)
def test_no_form_raises_otherwise(body: bytes) -> None:
    try:
        forms.parse(body, {"audience"})
    except forms.FormError:
        return


@given(_bytes, _json, _json)
def test_no_compact_text_raises_otherwise(text: bytes, head: Any, payload: Any) -> None:
    made = b".".join((segment(head), segment(payload), b"AAAA")) if _plain(head) and _plain(payload) else text
    for candidate in (text, made, made + b"." + text):
        for read in (split, split_proof):
            try:
                read(candidate.decode("latin-1"))
            except TokenError:
                continue


def _plain(value: Any) -> bool:
    try:
        segment(value)
    except (TypeError, ValueError):
        return False
    return True


_members = st.dictionaries(
    st.sampled_from(["kty", "crv", "x", "y", "n", "e", "alg", "use", "key_ops", "kid"]),
    st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "AQAB", "AA", "", "sig", "ES256", "RS256"]) | _json,
    max_size=8,
)


@given(st.lists(_members | _json, max_size=4), _bytes)
def test_no_key_set_raises_otherwise(keys: list[Any], document: bytes) -> None:
    sets: list[Any] = [{"keys": keys}, {"keys": [E1 | key for key in keys if isinstance(key, dict)]}, document]
    for found in sets:
        try:
            parse_jwks(found)
        except KeySetError:
            continue


@given(_json)
def test_no_claims_of_a_session_raise_otherwise(extra: Any) -> None:
    names = ("act", "may_act", "cnf", "client_id", "aud", "groups", "username")
    for name in names:
        if _plain(extra):
            outcome = _OURS.step(call(form(token(claims(client_id="x") | {name: extra}))))
            assert isinstance(outcome, Answered)


_OURS = ours()


def test_a_step_without_the_features_does_nothing_for_them() -> None:
    bench = Bench()
    bench.exchange = Exchange(
        SETTINGS, bench.index, lambda _alg, _now: LocalSigner(ec_key("ours"), "ES256", "k1"), 3600, {"keys": "broken"}
    )
    bench.keys = Keys(dict.fromkeys(bench.index.issuers(FOREIGN), foreign_set()))
    assert bench.step().result == "granted"
