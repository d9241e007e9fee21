"""An exchange asks for its marks one after the other, the proof's first, and gives nothing before it has them all."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest

from fakes.exchange import FOREIGN, JWT_TYPE, NOW, SETTINGS, Bench, call, claims, ec_key, form, record, spec, token
from tailseal.domain.keys.public import thumbprint
from tailseal.tokens.dpop import Nonces
from tailseal.tokens.exchange import Exchange
from tailseal.tokens.once import ACTOR_REPLAYED, PROOF_REPLAYED, TOKEN_REPLAYED, NeedOnce
from tailseal.tokens.outcomes import Answered, Call
from tailseal.tokens.signers import LocalSigner

SHARED = SETTINGS.model_copy(update={"state": "Postgres"})
NONCES = Nonces(b"k" * 32, SETTINGS.issuer)
JWK: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(ec_key("caller").public_key(), as_dict=True)


def bench(*, one_time: bool = True, signer: bool = True) -> Bench:
    made = Bench(record(spec(replay={"oneTime": one_time})), settings=SHARED)
    held = LocalSigner(ec_key("ours"), "ES256", "k1") if signer else None
    made.exchange = Exchange(SHARED, made.index, lambda _alg, _now: held, 3600, {"keys": []}, NONCES)
    return made


def proof() -> str:
    said = {"jti": "p1", "htm": "POST", "htu": SHARED.token_endpoint, "iat": int(NOW), "nonce": NONCES.make(NOW)}
    public = {name: JWK[name] for name in ("kty", "crv", "x", "y")}
    return token(said, {"alg": "ES256", "typ": "dpop+jwt", "jwk": public}, ec_key("caller"), "ES256")


def test_a_token_is_given_after_its_mark_was_taken() -> None:
    target = bench()
    need = target.step()
    assert isinstance(need, NeedOnce)
    assert need.replayed is TOKEN_REPLAYED
    assert need.audit["policy"]
    assert target.step(need.taken).result == "granted"


def test_another_request_has_its_own_mark_to_take() -> None:
    target = bench()
    assert isinstance(target.step(), NeedOnce)
    assert isinstance(target.step(), NeedOnce)


def test_the_proof_is_taken_before_the_token_it_came_with() -> None:
    target = bench()
    first = target.step(call(dpop=proof()))
    assert isinstance(first, NeedOnce)
    assert first.replayed is PROOF_REPLAYED
    second = target.step(first.taken)
    assert isinstance(second, NeedOnce)
    assert second.replayed is TOKEN_REPLAYED
    granted = target.step(second.taken)
    assert json.loads(granted.response.body)["token_type"] == "DPoP"
    assert granted.audit["jkt"] == thumbprint(JWK)


def test_a_proof_counts_once_under_a_policy_whose_tokens_do_not() -> None:
    target = bench(one_time=False)
    need = target.step(call(dpop=proof()))
    assert isinstance(need, NeedOnce)
    assert target.step(need.taken).result == "granted"


def delegating(*entries: dict[str, Any], one_time: bool) -> Bench:
    content = spec(replay={"oneTime": one_time}) | {"actors": list(entries)}
    return Bench(record(content), settings=SHARED)


def delegated(actor: str) -> Call:
    return call(form(token(), actor_token=actor, actor_token_type=JWT_TYPE))


def test_an_actor_token_counts_once_where_the_entry_that_means_it_says_so() -> None:
    once = {"oidc": {"issuer": FOREIGN, "subject": {"exact": "robot"}, "replay": {"oneTime": True}}}
    often = {"oidc": {"issuer": FOREIGN}}
    robot, other = token(claims(sub="robot", jti="a1")), token(claims(sub="other", jti="a2"))
    need = delegating(once, often, one_time=False).step(delegated(robot))
    assert isinstance(need, NeedOnce)
    assert need.replayed is ACTOR_REPLAYED
    assert need.replayed.reason == "ActorTokenReplayed"
    assert delegating(once, often, one_time=False).step(need.taken).result == "granted"
    assert delegating(once, often, one_time=False).step(delegated(other)).result == "granted"


def test_the_subjects_mark_is_taken_before_the_actors_and_a_token_in_both_places_once() -> None:
    once = {"oidc": {"issuer": FOREIGN, "replay": {"oneTime": True}}}
    target = delegating(once, one_time=True)
    first = target.step(delegated(token(claims(sub="robot", jti="a1"))))
    assert isinstance(first, NeedOnce)
    assert first.replayed is TOKEN_REPLAYED
    second = target.step(first.taken)
    assert isinstance(second, NeedOnce)
    assert second.replayed is ACTOR_REPLAYED
    assert target.step(second.taken).result == "granted"
    alone = target.step(delegated(token()))
    assert isinstance(alone, NeedOnce)
    assert target.step(alone.taken).result == "granted"


@pytest.mark.parametrize("scope", ["admin", "read admin"])
def test_a_request_that_is_refused_uses_nothing_up(scope: str) -> None:
    outcome = bench().reason(token(), scope=scope)
    assert outcome == "ScopeNotGranted"


def test_without_a_key_to_sign_with_nothing_is_used_up() -> None:
    outcome = bench(signer=False).step()
    assert isinstance(outcome, Answered)
    assert outcome.reason == "NoActiveKey"
