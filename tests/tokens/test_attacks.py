"""The attacks that JWT libraries have fallen to, each against the whole core: refused for the right reason."""

# ruff: noqa: ANN401, FBT001 - keys, claims and cases are of many types
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import jwt
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from fakes.attacks import ATTACKS, GOOD, PUBLIC
from fakes.exchange import (
    FOREIGN,
    OURS,
    Bench,
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
from tailseal.tokens.exchange import Answered


def bench() -> Bench:
    return Bench(record(spec(algorithms=["RS256", "ES256"])), keys=foreign_set(jwk(ec_key("foreign"), "e1", "ES256")))


@pytest.mark.parametrize(("make", "reason"), ATTACKS.values(), ids=ATTACKS.keys())
def test_the_attack_is_refused_for_its_reason(make: Callable[[], str], reason: str) -> None:
    subject = make()
    target = bench()
    outcome = target.step(call(form(subject)))
    assert isinstance(outcome, Answered), "nothing may be fetched for it"
    assert (outcome.response.status, outcome.reason) == (400, reason)
    shown = outcome.response.body.decode() + str(outcome.audit)
    for part in subject.split("."):
        assert len(part) < 12 or part not in shown


def test_nothing_is_asked_about_keys_before_the_issuer_is_known() -> None:
    early = {"TokenMalformed", "TokenTooLarge", "TokenTooDeep", "DuplicateMember", "UnsupportedHeader", "EmbeddedKey"}
    for make, reason in ATTACKS.values():
        if reason in early | {"UnknownIssuer", "WrongTokenType"}:
            target = bench()
            target.step(call(form(make())))
            assert target.keys.asked == []


def test_the_same_core_grants_what_is_right() -> None:
    assert bench().reason(token()) == ""
    good = token(header={"alg": "ES256", "kid": "e1"}, key=ec_key("foreign"), alg="ES256")
    assert bench().reason(good) == ""


_mutations = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=4)


@given(_mutations)
def test_no_mutation_of_a_request_raises_or_is_granted_with_another_token(edits: list[tuple[int, int]]) -> None:
    body = bytearray(_BODY)
    for place, byte in edits:
        body[place % len(body)] = byte
    outcome = _BENCH.step(call(bytes(body)))
    if outcome.result == "granted":
        assert _TOKEN.encode() in bytes(body)


_TOKEN = token()
_BODY = form(_TOKEN)
_BENCH = bench()

_header_members: Any = st.just(GOOD) | st.fixed_dictionaries(
    {"alg": st.sampled_from(["RS256", "none", "HS256", "ES256", "PS256", "", 7, None])},
    optional={
        "kid": st.sampled_from(["f1", "e1", "", "x", None, 7]),
        "typ": st.sampled_from(["JWT", "at+jwt", "", None, "dpop+jwt"]),
        "crit": st.sampled_from([[], ["exp"], None]),
        "cty": st.sampled_from(["JWT", None]),
    },
)
_times = st.sampled_from([None, True, 1.5, "1", -1, 10**18]) | st.integers(1_799_999_900, 1_800_000_100)
_payloads = st.fixed_dictionaries(
    {},
    optional={
        "iss": st.sampled_from([FOREIGN, "x", None, 7]),
        "sub": st.sampled_from(["repo:acme/app", "", None, 7]),
        "aud": st.sampled_from([OURS, [OURS], [], [OURS, 7], None, 7]),
        "exp": _times,
        "iat": _times,
        "nbf": _times,
        "jti": st.sampled_from(["x", 7, None]),
    },
)


@given(_header_members, _payloads, st.booleans())
def test_what_is_accepted_pyjwt_accepts(header: dict[str, object], changes: dict[str, object], honest: bool) -> None:
    """PyJWT is the oracle: our reader may be stricter, never laxer."""
    payload = {name: value for name, value in (claims() | changes).items() if value is not None}
    subject = token(payload, header, key=rsa_key("foreign" if honest else "attacker"))
    refused = _BENCH.reason(subject)
    event(refused or "accepted")
    if refused:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jwt.api_jwt.datetime", _Frozen)
        jwt.decode(
            subject,
            PUBLIC,
            algorithms=["RS256"],
            audience=OURS,
            issuer=FOREIGN,
            leeway=60,
            options={"require": ["exp", "iat", "aud", "sub", "iss"]},
        )


class _Frozen:
    """The clock of the oracle."""

    @staticmethod
    def now(tz: Any = None) -> Any:
        return datetime.fromtimestamp(1_800_000_000, tz)
